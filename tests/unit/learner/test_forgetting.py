"""Ids whose rows begin again: in the learner, in what undoes its steps, and in copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from guarded_run import GuardedRun, flipped
from learning import LAYOUT, NO_DENSE, Files, examples, gradient
from source_offsets import upto

from freshrank.actors.messages import Delta, Examples, Gradient, Ids, Version
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.forgetting import without_ids
from freshrank.learner.guard.states import GuardState
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

MODEL = LogisticRegression().bind(NO_DENSE)
DEEP = DeepFM(embedding_dim=4, hidden=(8,)).bind(LAYOUT)


def learner() -> Learner:
    return Learner(MODEL, Adagrad(0.1), LearnerSettings())


def forgetting(work: Gradient, *ids: int) -> Gradient:
    return replace(work, offset_range=replace(work.offset_range, forgotten=ids))


def nothing(begin: int, end: int, *ids: int) -> Gradient:
    """An offset range without examples, by which `ids` are forgotten."""
    empty = gradient(begin, end, keys=())
    none = np.zeros(0, np.float32)
    made = replace(empty, labels=none, scores=none, dense=np.zeros(1, np.float32))
    return forgetting(made, *ids)


def step(one: Learner) -> Delta:
    delta = one.step(5_000, 0.0)
    assert delta is not None
    return delta


def known(one: Learner, *ids: int) -> list[bool]:
    return [place >= 0 for place in one.weights.table.find(np.array(ids))]


def follow(*deltas: Delta) -> ModelWeights:
    copy = ModelWeights(MODEL)
    for delta in deltas:
        copy.apply(delta)
    return copy


def test_a_row_begins_again_after_its_range_was_learned_and_copies_follow() -> None:
    one = learner()
    first = one.snapshot(0)
    one.offer(gradient(0, 2, keys=(3, 7)), 0.0)
    learned = step(one)
    one.offer(forgetting(gradient(2, 4, base=one.version, keys=(3, 7, 9)), 7, 11), 0.0)
    delta = step(one)
    assert delta.keys.tolist() == [3, 9] and delta.evicted.tolist() == [7]
    assert known(one, 3, 7, 9) == [True, False, True]
    copy = follow(first, learned, delta)
    assert copy.checksum() == copy.expected_checksum == delta.checksum
    assert copy.table.read(np.array([7])).tolist() == [[0.0]]


def test_a_range_without_examples_makes_a_version_at_once_if_a_row_is_dropped() -> None:
    one = learner()
    one.offer(gradient(0, 2, keys=(3, 7)), 0.0)
    step(one)
    one.offer(nothing(2, 3, 7), 9.0)
    assert one.due_in_s(9.0) == 0.0
    delta = step(one)
    assert (delta.version, delta.keys.tolist(), delta.evicted.tolist()) == ((1, 2), [], [7])
    one.offer(nothing(3, 4, 7, 8), 9.0)
    assert one.step(5_000, 9.0) is None, "there is no row of either"
    assert one.version == Version(1, 2)
    assert one.applied == {0: upto(4)} and one.due_in_s(9.0) is None


FORGOTTEN = 7 * 7919
"""An id of the examples of a guarded run."""


def without_it(work: Examples) -> Examples:
    inputs = replace(work.inputs, ids=np.where(work.inputs.ids == FORGOTTEN, 0, work.inputs.ids))
    return replace(work, inputs=inputs)


def forgetting_it(work: Examples) -> Examples:
    return replace(work, offset_range=replace(work.offset_range, forgotten=(FORGOTTEN,)))


def flipped_without_it(work: Examples) -> Examples:
    return flipped(without_it(work))


def anywhere(run: GuardedRun) -> bool:
    """Whether the weights, or a checkpoint of them, hold the id."""
    arrays = checkpoints.take(run.learner).arrays
    kept = any(FORGOTTEN in array for array in arrays.values() if array.dtype == np.int64)
    return kept or known(run.learner, FORGOTTEN) == [True]


@pytest.mark.parametrize("when", ["before it became worse", "in the trial"])
def test_neither_a_rollback_nor_learning_again_brings_a_row_back(when: str) -> None:
    run, undisturbed = GuardedRun(), GuardedRun()
    run.feed(60)
    assert anywhere(run)
    if when == "before it became worse":
        run.feed(1, forgetting_it)
        assert not anywhere(run)
    while run.trips == 0:
        run.feed(1, flipped_without_it)
    if when == "in the trial":
        assert anywhere(run) and run.state is GuardState.TRIAL
        run.feed(1, forgetting_it)
    for _ in range(40):
        assert not anywhere(run)
        run.feed(1, without_it)
    assert run.state is GuardState.WATCHING and run.learner.metrics.learned_later > 0
    run.check_accounts()
    undisturbed.feed(3)
    assert anywhere(undisturbed), "the id is one of the examples"


def test_a_learner_that_goes_on_from_its_checkpoint_has_forgotten() -> None:
    one, store = learner(), Files()
    one.offer(forgetting(gradient(0, 2, keys=(3, 7)), 7), 0.0)
    step(one)
    store.save(checkpoints.NAME, checkpoints.take(one).pieces())
    resumed = learner()
    checkpoints.restore(resumed, store)
    assert known(resumed, 3, 7) == [True, False]


@pytest.mark.parametrize("seed", range(3))
def test_probes_of_kept_gradients_have_no_forgotten_input(seed: int) -> None:
    weights = ModelWeights(DEEP)
    weights.version = Version(1, 0)
    found: Examples = examples(LAYOUT, 50, seed=seed)
    made = CompiledDifferentiator(DEEP, weights).gradient(found)
    assert made.probes is not None
    gone: Ids = tuple(np.unique(made.probes.inputs.ids[:, 0]).tolist())
    left = without_ids(made, np.array(gone))
    assert left.probes is not None
    assert not np.isin(left.probes.inputs.ids[:, 0], [key for key in gone if key]).any()
    assert not np.isin(left.keys, gone).any() and len(left.keys) < len(made.keys)
    assert len(left.rows) == len(left.row_squares) == len(left.keys)
