from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import LAYOUT, NO_DENSE, contents

from freshrank.learner.models.base import Model
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import CosineDecay, StepDecay
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.gradient_sum import SummedGradient
from freshrank.learner.parameters.input_moments import moments_of, no_moments
from freshrank.learner.parameters.served_weights import served_checksum
from freshrank.learner.parameters.training_state import Change, TrainingState

STEPS = st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=20), min_size=1, max_size=12)


def summed(model: Model, keys: set[int], seed: int) -> SummedGradient:
    random = np.random.default_rng(seed)
    dense = random.normal(size=model.dense_size).astype(np.float32)
    rows = random.normal(size=(len(keys), model.rows.width)).astype(np.float32)
    return SummedGradient(
        dense,
        np.array(sorted(keys)),
        rows,
        np.square(dense),
        np.square(rows),
        np.full(len(keys), 2, np.float32),
        moments_of(random.normal(size=(3, len(model.layout.dense))).astype(np.float32)),
        examples=3,
    )


State = tuple[bytes, bytes, dict[int, list[float]], dict[int, int], int, str | None, int]


def everything(trained: TrainingState) -> State:
    table = trained.weights.table
    stamps = dict(zip(table.keys.tolist(), table.stamps.tolist(), strict=True))
    rows = contents(table.keys, table.rows)
    moments = trained.weights.moments.tobytes()
    dense, checksum = trained.dense_state.tobytes(), table.expected_checksum
    served = served_checksum(trained.weights)
    return dense, moments, rows, stamps, checksum, served, trained.examples


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1),
        Adagrad(0.1),
        AutoAdagrad(),
        Adam(0.1),
        FTRL(0.1, l1=0.2),
        FTRL(0.1, l1=0.2, schedule=CosineDecay(30)),
        Averaged(AutoAdagrad(), examples=20),
        Averaged(SGD(0.1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "model",
    [LogisticRegression().bind(NO_DENSE), DeepFM(embedding_dim=3, hidden=(4,)).bind(LAYOUT)],
    ids=["logistic regression", "DeepFM"],
)
@given(steps=STEPS)
def test_steps_are_taken_back_to_the_last_bit(
    model: Model, optimizer: Optimizer, steps: list[set[int]]
) -> None:
    """Rows that came, went and came back included: there is room for 24 of 40."""
    trained = TrainingState(model, optimizer, max_rows=24)
    before: list[tuple[Change, State]] = []
    for seed, keys in enumerate(steps):
        state = everything(trained)
        change, _ = trained.update(summed(model, keys, seed))
        trained.evict(change)
        before.append((change, state))
        assert trained.weights.checksum() == trained.weights.expected_checksum
    for change, state in reversed(before):
        trained.undo(change)
        assert everything(trained) == state
        assert trained.weights.checksum() == trained.weights.expected_checksum


def test_the_rate_is_that_of_the_examples_learned_and_not_undone() -> None:
    """Each step has three; the rate is that of the middle one, and falls after each fourth."""
    model = LogisticRegression().bind(NO_DENSE)
    trained = TrainingState(model, SGD(1.0, schedule=StepDecay(4, share=0.5)), max_rows=100)

    def step() -> tuple[Change, float]:
        before = trained.weights.dense.copy()
        given = summed(model, {1}, 0)
        change, _ = trained.update(given)
        return change, float(((before - trained.weights.dense) / given.dense)[0])

    (_, first), (_, second), (third, of_third) = step(), step(), step()
    assert [first, second, of_third] == pytest.approx([1.0, 0.5, 0.5], rel=1e-5)
    trained.undo(third)
    assert trained.examples == 6
    again, of_fourth = step(), step()[1]
    assert [again[1], of_fourth] == pytest.approx([0.5, 0.25], rel=1e-5)
    trained.reset()
    assert step()[1] == pytest.approx(1.0, rel=1e-5), "weights that begin anew, with their schedule"


def test_what_is_present_is_told_apart_from_what_is_gone() -> None:
    model = LogisticRegression().bind(NO_DENSE)
    trained = TrainingState(model, SGD(1.0), max_rows=100)
    none, rows = np.zeros(1, np.float32), _rows(1.0, 2.0)
    keys = np.array([3, 5])
    once, moments = np.ones(2, np.float32), no_moments(0)
    trained.update(SummedGradient(none, keys, rows, none, np.square(rows), once, moments, 2))
    changed = trained.present(np.array([9, 5, 3, 5]))
    assert (changed.keys.tolist(), changed.evicted.tolist()) == ([3, 5], [9])
    assert changed.rows.tolist() == [[-1.0], [-2.0]]


def _rows(*values: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(values, np.float32).reshape(-1, 1)


@pytest.mark.parametrize(
    ("published", "with_state", "there"),
    [(False, False, False), (False, True, True), (True, False, True)],
)
def test_deltas_have_the_state_where_somebody_needs_it(
    published: bool, with_state: bool, there: bool
) -> None:
    model = LogisticRegression().bind(LAYOUT)
    trained = TrainingState(model, Adagrad(0.1), 100, publishes_state=published)
    base = trained.weights.version
    _, changed = trained.update(summed(model, {3, 5}, 1))
    delta = trained.delta(base, changed, with_state=with_state)
    assert (delta.row_state is not None, delta.dense_state is not None) == (there, there)
    if delta.row_state is not None:
        assert (
            delta.row_state.tolist() == trained.weights.table.read_whole(delta.keys)[:, 1:].tolist()
        )
