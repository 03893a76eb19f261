"""The guard protects from poison and not from the world.

An honest change is followed and loses no row. Poison that is shorter than a trial leaves no trace.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest

from freshrank.actors.alerts import AlertKind
from freshrank.actors.messages import Inputs
from freshrank.benchmarks.robust.drift import BURST, BURSTS, CHANGES, PARTITIONED, ROWS, SUITE
from freshrank.benchmarks.robust.learning_run import UNGUARDED, LearningRun, Played, Setup
from freshrank.benchmarks.robust.streams import StreamRows, honest
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD

LEARNERS: dict[str, tuple[ModelSpec, Optimizer]] = {
    "logistic regression, default": (LogisticRegression(), DEFAULT_OPTIMIZER),
    "DeepFM, default": (DeepFM(), DEFAULT_OPTIMIZER),
    "logistic regression, FTRL": (LogisticRegression(), FTRL()),
    "logistic regression, SGD": (LogisticRegression(), SGD()),
    "DeepFM, FTRL": (DeepFM(), FTRL()),
    "DeepFM, Adagrad": (DeepFM(), Adagrad()),
    "DeepFM, SGD": (DeepFM(), SGD()),
}

SOME = ("logistic regression, FTRL", "logistic regression, default", "DeepFM, SGD")
"""Learners with rates that adapt and with a fixed rate."""


@functools.cache
def played(learner: str, stream: str, guarded: bool = True) -> Played:
    """A stream of the drift suite."""
    rows, first = SUITE[stream](ROWS), honest(ROWS, 1)
    if not begins_with(rows, first):
        return new_run(learner, guarded).play(rows)
    run, before = copy.deepcopy(after_first_part(learner, guarded))
    more = run.play(since(rows, ROWS))
    return replace(
        more,
        scores=np.concatenate([before.scores, more.scores]),
        rows=rows,
        lost=np.concatenate([before.lost, more.lost]),
        seen=before.seen + more.seen,
    )


def begins_with(rows: StreamRows, first: StreamRows) -> bool:
    count = len(first.labels)
    return (
        np.array_equal(rows.inputs.dense[:count], first.inputs.dense)
        and np.array_equal(rows.inputs.ids[:count], first.inputs.ids)
        and np.array_equal(rows.labels[:count], first.labels)
    )


def since(rows: StreamRows, begin: int) -> StreamRows:
    """The rows of a stream from row `begin` on."""
    inputs = Inputs(rows.inputs.dense[begin:], rows.inputs.ids[begin:])
    return StreamRows(inputs, rows.labels[begin:], rows.truth[begin:], rows.poisoned[begin:])


@functools.cache
def after_first_part(learner: str, guarded: bool) -> tuple[LearningRun, Played]:
    """What has learned the part that most streams begin with: it is the same in all of them."""
    run = new_run(learner, guarded)
    return run, run.play(honest(ROWS, 1))


def new_run(learner: str, guarded: bool) -> LearningRun:
    spec, optimizer = LEARNERS[learner]
    guard = GuardSettings() if guarded else UNGUARDED
    return LearningRun(Setup(spec, optimizer, guard=guard))


@pytest.mark.repeats
@pytest.mark.parametrize("stream", CHANGES)
@pytest.mark.parametrize("learner", LEARNERS)
def test_an_honest_change_is_followed_and_loses_no_row(learner: str, stream: str) -> None:
    run, free = played(learner, stream), played(learner, stream, guarded=False)
    assert run.refused == 0
    assert run.learned + run.refused == len(run.rows.labels)
    last = len(run.rows.labels) - ROWS // 2
    assert run.auc(last) > free.auc(last) - 0.01, "it has caught up"
    assert run.loss(last) < free.loss(last) + 0.02
    assert run.auc() > free.auc() - 0.05, "though it waited"


def test_a_change_is_followed_in_steps_of_one_example() -> None:
    """Thousands of examples that were held back agree: one by one they would leap too far."""
    run = LearningRun(Setup(LogisticRegression(), DEFAULT_OPTIMIZER, batch=1, shards=1))
    found = run.play(honest(2_500, 1) + honest(4_000, 2, flip=True))
    assert AlertKind.REGIME_ACCEPTED in found.seen
    assert found.refused == 0
    assert found.loss(5_500) < 0.55


@pytest.mark.parametrize("stream", BURSTS)
@pytest.mark.parametrize("learner", SOME)
def test_a_burst_of_poison_leaves_no_trace(learner: str, stream: str) -> None:
    run, free = played(learner, stream), played(learner, stream, guarded=False)
    assert run.learned == len(run.rows.labels) - BURST
    assert (run.lost == run.rows.poisoned).all(), "all of the poison, and no honest row"
    assert run.loss(ROWS) < free.loss(ROWS) + 0.002
    assert run.loss(ROWS) < run.loss() + 0.002, "it is as good as before"
    assert AlertKind.GUARD_TRIPPED in run.seen


@pytest.mark.parametrize("stream", PARTITIONED)
@pytest.mark.parametrize("learner", SOME)
def test_a_poisoned_partition_is_isolated_until_it_is_well_again(learner: str, stream: str) -> None:
    run, free = played(learner, stream), played(learner, stream, guarded=False)
    assert (run.lost == run.rows.poisoned).all(), "all of the poison, and no honest row"
    assert run.learned + run.refused == len(run.rows.labels)
    harm = 0.02 if stream == "poisoned partition" else 0.002  # a quarter of rows without meaning
    assert run.loss(ROWS) < free.loss(ROWS) - harm
    assert not str(run.learner.rollback_log.isolated)


def test_weights_that_are_worse_than_the_base_rate_are_reset_and_named() -> None:
    run = LearningRun(Setup(LogisticRegression(), FTRL()))
    run.play(honest(ROWS, 1))
    trained = run.learner.trained
    trained.dense_state[0, : trained.weights.model.dense_size] *= -1.0
    trained.dense_state[0, trained.weights.model.dense_size :] = 1e12  # it cannot learn any more
    run.copy.dense_state[:] = trained.dense_state
    run.learner.rollback_log.loss_drift.start_over()
    end = run.play(honest(ROWS, 2))
    assert AlertKind.WEIGHTS_RESET in end.seen
    assert end.seen.count(AlertKind.WEIGHTS_RESET) == 1
    assert end.loss(ROWS // 2) < 0.5
