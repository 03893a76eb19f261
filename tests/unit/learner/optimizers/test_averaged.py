"""How far the average of a row is behind its weights."""

from __future__ import annotations

import numpy as np
import pytest

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.averaged import Averaged, stepping
from freshrank.learner.optimizers.base import Optimizer, SummedRows
from freshrank.learner.optimizers.schedules import StepDecay
from freshrank.learner.optimizers.sgd import SGD


def pull(value: float, count: float) -> SummedRows:
    sums = np.full((1, 1), value, np.float32)
    return SummedRows(sums, np.square(sums), np.full(1, count, np.float32))


def rows_of(averaged: Averaged, width: int = 1) -> Floats:
    return np.zeros((1, width + averaged.state_width(width)), np.float32)


ROW = np.array([0])


@pytest.mark.parametrize("examples", [30.0, 1e6], ids=["of the last", "of all"])
def test_one_step_averages_as_many_small_ones(examples: float) -> None:
    """Where the weights stand still, their average comes nearer by examples and not by steps."""
    averaged, found = Averaged(SGD(1.0), examples), []
    for steps in (1, 20):
        rows = rows_of(averaged)
        averaged.update(rows, ROW, pull(-1.0, count=1_000.0))
        averaged.update(rows, ROW, pull(-1.0, count=10.0))
        for _ in range(steps):
            averaged.update(rows, ROW, pull(0.0, count=20.0 / steps))
        found.append(float(averaged.averages(rows, 1)[0, 0]))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    kept = (1_000 / 1_030) ** 4 if examples > 1e3 else np.exp(-30 / 30)
    assert found[0] == pytest.approx(2.0 - kept, rel=1e-5)


def test_a_row_without_an_example_keeps_its_average() -> None:
    averaged = Averaged(SGD(1.0))
    rows = rows_of(averaged)
    for _ in range(3):
        averaged.update(rows, ROW, pull(-1.0, count=1.0))
    before = rows.copy()
    averaged.update(rows, ROW, pull(0.0, count=0.0))
    assert rows.tolist() == before.tolist()


def test_its_rate_follows_the_schedule_of_what_steps() -> None:
    falling = SGD(1.0, schedule=StepDecay(10, share=0.5))
    averaged = Averaged(falling)
    assert averaged.at(15.0).of == falling.at(15.0)
    assert repr(averaged.at(15.0)) != repr(averaged)
    still = Averaged(SGD(1.0))
    assert still.at(15.0) is still


def test_it_passes_on_what_a_model_is() -> None:
    assert Averaged(AutoAdagrad()).for_model(9, 1, 0.25).of == AutoAdagrad().for_model(9, 1, 0.25)
    assert Averaged(Adam()).for_model(9, 1, 0.25) == Averaged(Adam())
    assert stepping(Averaged(Adam())) == Adam() == stepping(Adam())


@pytest.mark.parametrize(
    "of", [Averaged(SGD()), SGD, "SGD"], ids=["an average", "a class", "no optimiser"]
)
def test_what_cannot_be_averaged_is_refused(of: Optimizer) -> None:
    with pytest.raises(ConfigError, match=r"Averaged\.of"):
        Averaged(of)


@pytest.mark.parametrize("examples", [0.0, -1.0, True])
def test_it_reaches_back_over_some_examples(examples: float) -> None:
    with pytest.raises(ConfigError, match=r"Averaged\.examples"):
        Averaged(SGD(), examples)
