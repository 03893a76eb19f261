from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank import (
    FTRL,
    SGD,
    Adagrad,
    Adam,
    ConstantRate,
    CosineDecay,
    InverseRootDecay,
    StepDecay,
    WarmUp,
)
from freshrank.actors.errors import ConfigError
from freshrank.learner.optimizers.base import of_one_example
from freshrank.learner.optimizers.schedules import Schedule

SCHEDULES: list[Schedule] = [
    ConstantRate(),
    StepDecay(1_000),
    StepDecay(700, share=0.9, least=0.5),
    CosineDecay(1_000),
    CosineDecay(1_000, least=0.5),
    InverseRootDecay(1_000),
    WarmUp(1_000),
    WarmUp(1_000, then=CosineDecay(5_000)),
]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
EXAMPLES = st.floats(0, 1e12)


@every
@given(EXAMPLES, EXAMPLES)
def test_a_factor_is_a_share_that_falls_but_for_a_warm_up(
    schedule: Schedule, some: float, more: float
) -> None:
    fewer, more = sorted((some, more))
    before, after = schedule.factor(fewer), schedule.factor(more)
    assert 0.0 <= after <= 1.0 and 0.0 <= before <= 1.0
    if not isinstance(schedule, WarmUp):
        assert after <= before + 1e-12
        assert schedule.factor(0) == 1.0


@every
def test_a_schedule_is_equal_to_its_copy_in_another_process(schedule: Schedule) -> None:
    copy = pickle.loads(pickle.dumps(schedule))
    assert (copy, repr(copy)) == (schedule, repr(schedule))
    assert " object at " not in repr(schedule)


@given(EXAMPLES)
def test_each_is_its_formula(examples: float) -> None:
    half = CosineDecay(500, least=0.2).factor(examples)
    way = math.pi * min(examples, 500) / 500
    assert half == pytest.approx(0.2 + 0.8 * (1 + math.cos(way)) / 2)
    root = InverseRootDecay(100, least=1e-9).factor(examples)
    assert root == pytest.approx(max(1e-9, math.sqrt(100 / (100 + examples))))
    steps = StepDecay(300, share=0.5, least=0.1).factor(examples)
    assert steps == max(0.1, 0.5 ** min(20, examples // 300))
    assert ConstantRate().factor(examples) == 1.0


def test_after_a_warm_up_the_next_schedule_begins_at_its_begin() -> None:
    then = StepDecay(100, share=0.5)
    warm = WarmUp(50, then)
    assert [warm.factor(n) for n in (0, 25, 49)] == pytest.approx([0.0, 0.5, 0.98])
    assert [warm.factor(50 + n) for n in range(0, 400, 10)] == [
        then.factor(n) for n in range(0, 400, 10)
    ]


NO_SCHEDULES: list[Any] = [0.5, None, CosineDecay, "cosine"]


@pytest.mark.parametrize("wrong", NO_SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", [SGD, Adagrad, Adam, FTRL])
def test_what_is_no_schedule_is_refused_by_name(
    kind: type[SGD | Adagrad | Adam | FTRL], wrong: Any
) -> None:
    with pytest.raises(ConfigError, match="is no schedule") as caught:
        kind(schedule=wrong)
    assert caught.value.place == f"{kind.__name__}.schedule"
    with pytest.raises(ConfigError, match=r"WarmUp\.then: .* is no schedule"):
        WarmUp(10, then=wrong)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: StepDecay(0), "StepDecay.every"),
        (lambda: StepDecay(10, share=1.0), "StepDecay.share"),
        (lambda: StepDecay(10, share=0.0), "StepDecay.share"),
        (lambda: StepDecay(10, least=0.0), "StepDecay.least"),
        (lambda: CosineDecay(-1), "CosineDecay.examples"),
        (lambda: CosineDecay(10, least=0.0), "CosineDecay.least"),
        (lambda: CosineDecay(10, least=1.5), "CosineDecay.least"),
        (lambda: InverseRootDecay(float("nan")), "InverseRootDecay.examples"),
        (lambda: InverseRootDecay(10, least=0.0), "InverseRootDecay.least"),
        (lambda: WarmUp(0), "WarmUp.examples"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(make: type[Schedule], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.place == place


def test_optimizers_without_a_schedule_are_shown_as_those_of_before_there_were_any() -> None:
    """Fingerprints of checkpoints are made of it."""
    assert repr(SGD()) == "SGD(rate=0.01)"
    assert repr(Adagrad(0.1)) == "Adagrad(rate=0.1, epsilon=1e-06)"
    assert repr(Adam()) == "Adam(rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)"
    assert repr(FTRL(l1=1.0)) == "FTRL(alpha=0.05, beta=1.0, l1=1.0, l2=0.0)"
    shown = repr(SGD(0.1, schedule=WarmUp(5)))
    assert shown == "SGD(rate=0.1, schedule=WarmUp(examples=5, then=ConstantRate()))"


def test_a_rate_follows_its_schedule_and_is_never_nothing() -> None:
    decay = CosineDecay(1_000, least=0.1)
    assert SGD(2.0, schedule=decay).at(500).rate == pytest.approx(1.1)
    assert Adagrad(2.0, schedule=decay).at(1_000).rate == pytest.approx(0.2)
    assert Adam(2.0, schedule=decay).at(0).rate == 2.0
    assert FTRL(2.0, schedule=decay).at(9_999).alpha == pytest.approx(0.2)
    assert 0.0 < FTRL(2.0, schedule=WarmUp(1_000)).at(0).alpha < 1e-6


@dataclass(frozen=True)
class Alternating:
    """A schedule of one's own, with a rate that grows and falls."""

    def factor(self, examples: float) -> float:
        return 0.5 if int(examples) % 2 else 2.0


def proximal(gradients: list[float], l1: float, l2: float) -> list[float]:
    """FTRL-proximal of McMahan et al. with a rate of its own for each step, by its definition.

    Each weight minimises the gradients' sum, the distances from the weights before (weighted by
    how much the inverse rate grew) and both penalties.
    """
    z = n = inverse = w = 0.0
    weights = []
    for step, g in enumerate(gradients):
        n += g * g
        grown = (1.0 + math.sqrt(n)) / (0.1 * Alternating().factor(step))
        z += g - (grown - inverse) * w
        inverse = grown
        w = -(z - math.copysign(l1, z)) / (inverse + l2) if abs(z) > l1 else 0.0
        weights.append(w)
    return weights


@given(
    st.lists(st.floats(0.25, 3, width=32), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 0.5]),
)
def test_ftrl_with_a_schedule_is_the_papers_algorithm_at_rates_that_change(
    gradients: list[float], l1: float, l2: float
) -> None:
    """Weights leave zero for good: at zero the distances no longer matter to the paper's z."""
    optimizer = FTRL(alpha=0.1, l1=l1, l2=l2, schedule=Alternating())
    row, found = np.zeros((1, 3), np.float32), []
    for step, one in enumerate(gradients):
        gradient = of_one_example(np.array([[one]], np.float32))
        optimizer.at(step).update(row, np.array([0]), gradient)
        found.append(float(row[0, 0]))
    assert found == pytest.approx(proximal(gradients, l1, l2), rel=1e-3, abs=1e-5)
