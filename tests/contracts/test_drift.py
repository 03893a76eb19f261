"""The guard protects from poison and not from the world.

An honest change is followed and loses no row. Poison that is shorter than a trial leaves no trace.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from drifting_stream import (
    PARTITIONS,
    RANGE,
    UNGUARDED,
    DriftingRun,
    Played,
    Rows,
    honest,
    label_noise,
    poisoned,
    with_dense,
)

from freshrank.actors.alerts import AlertKind
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD

ROWS = RANGE * 312
BURST = 1_024
LEARNERS: dict[str, tuple[ModelSpec, Optimizer]] = {
    "logistic regression, FTRL": (LogisticRegression(), FTRL()),
    "logistic regression, SGD": (LogisticRegression(), SGD()),
    "DeepFM, FTRL": (DeepFM(), FTRL()),
    "DeepFM, Adagrad": (DeepFM(), Adagrad()),
    "DeepFM, SGD": (DeepFM(), SGD()),
}

SOME = ("logistic regression, FTRL", "DeepFM, SGD")
"""Learners with rates that adapt and with a fixed rate."""


def flipped(rows: Rows) -> Rows:
    return poisoned(rows, np.ones(len(rows.labels), np.bool_), 1.0 - rows.labels)


HONEST: dict[str, Callable[[], Rows]] = {
    "label rate 1 % to 30 % and back": lambda: (
        honest(ROWS, 1, rate=0.01) + honest(ROWS, 2) + honest(ROWS, 3, rate=0.01)
    ),
    "sign flip": lambda: honest(ROWS, 1) + honest(ROWS, 2, flip=True),
    "covariate shift": lambda: honest(ROWS, 1) + honest(ROWS, 2, moved=3.0),
    "no change": lambda: honest(2 * ROWS, 1),
}
POISON: dict[str, Callable[[Rows], Rows]] = {
    "label noise": label_noise,
    "flipped labels": flipped,
    "NaN": lambda rows: with_dense(rows, np.nan),
    "exploded inputs": lambda rows: with_dense(rows, 0.0, 1e6),
}


@functools.cache
def played(learner: str, stream: str, guarded: bool = True) -> Played:
    """A stream of `HONEST`, or a burst of `POISON` between honest rows."""
    rows = (
        HONEST[stream]()
        if stream in HONEST
        else honest(ROWS, 1) + POISON[stream](honest(BURST, 2)) + honest(ROWS, 3)
    )
    spec, optimizer = LEARNERS[learner]
    return DriftingRun(spec, optimizer, GuardSettings() if guarded else UNGUARDED).play(rows)


@pytest.mark.parametrize("stream", HONEST)
@pytest.mark.parametrize("learner", LEARNERS)
def test_an_honest_change_is_followed_and_loses_no_row(learner: str, stream: str) -> None:
    run, free = played(learner, stream), played(learner, stream, guarded=False)
    diverges = "SGD" in learner and stream == "covariate shift"  # its rate is fixed
    assert run.refused <= (256 if diverges else 0)
    assert run.learned + run.refused == len(run.rows.labels)
    last = len(run.rows.labels) - ROWS // 2
    assert run.auc(last) > free.auc(last) - 0.01, "it has caught up"
    assert run.loss(last) < free.loss(last) + 0.02
    assert run.auc() > free.auc() - 0.05, "though it waited"


@pytest.mark.parametrize("stream", POISON)
@pytest.mark.parametrize("learner", SOME)
def test_a_burst_of_poison_leaves_no_trace(learner: str, stream: str) -> None:
    run, free = played(learner, stream), played(learner, stream, guarded=False)
    clean = len(run.rows.labels) - BURST
    assert run.learned + run.refused == len(run.rows.labels)
    assert run.refused >= BURST - RANGE
    assert run.learned > clean - (3_500 if stream == "exploded inputs" else 2 * RANGE)
    assert run.loss(ROWS) < free.loss(ROWS) + 0.002
    assert run.loss(ROWS) < run.loss() + 0.002, "it is as good as before"
    assert AlertKind.GUARD_TRIPPED in run.seen


@pytest.mark.parametrize("learner", SOME)
def test_a_poisoned_partition_is_isolated_until_it_is_well_again(learner: str) -> None:
    middle = honest(ROWS, 2)
    middle = poisoned(middle, middle.partitions() == 2, 1.0 - middle.labels)
    rows = honest(ROWS, 1) + middle + honest(ROWS, 3)
    spec, optimizer = LEARNERS[learner]
    run = DriftingRun(spec, optimizer).play(rows)
    free = DriftingRun(spec, optimizer, UNGUARDED).play(rows)
    poison = ROWS // PARTITIONS
    assert 0.9 * poison < run.refused < 2.0 * poison
    assert run.loss(ROWS) < free.loss(ROWS) - 0.02
    assert not str(run.learner.rollback_log.isolated)


def test_weights_that_are_worse_than_the_base_rate_are_reset_and_named() -> None:
    run = DriftingRun(LogisticRegression(), FTRL())
    run.play(honest(ROWS, 1))
    trained = run.learner.trained
    trained.dense_state[0, : trained.weights.model.dense_size] *= -1.0
    trained.dense_state[0, trained.weights.model.dense_size :] = 1e12  # it cannot learn any more
    run.learner.rollback_log.loss_drift.start_over()
    end = run.play(honest(ROWS, 2))
    assert AlertKind.WEIGHTS_RESET in end.seen
    assert end.seen.count(AlertKind.WEIGHTS_RESET) == 1
    assert end.loss(ROWS // 2) < 0.5
