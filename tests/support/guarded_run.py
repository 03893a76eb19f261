"""A learner whose labels a test may spoil, for tests of its guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from learning import NO_DENSE, examples
from source_offsets import upto

from freshrank.actors.messages import Delta, Examples, OffsetRange, Version
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.guard.states import GuardState
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

MODEL = LogisticRegression().bind(NO_DENSE)
BATCH = 100
Spoil = Callable[[Examples], Examples]


def flipped(work: Examples) -> Examples:
    return replace(work, labels=1.0 - work.labels)


def as_it_is(work: Examples) -> Examples:
    return work


def holds(offset_range: OffsetRange, begin: int, end: int) -> bool:
    """Whether the examples from `begin` to `end` lie in it."""
    return offset_range.begin["events"] <= begin and end <= offset_range.end["events"]


class GuardedRun:
    """A learner that is given one gradient after the other, and a replica that follows it."""

    def __init__(
        self, optimizer: Optimizer | None = None, guard: GuardSettings | None = None
    ) -> None:
        settings = LearnerSettings(max_rows=64, guard=guard or GuardSettings())
        self.learner = Learner(MODEL, optimizer or FTRL(0.2), settings)
        self.replica = ModelWeights(MODEL)
        self.replica.apply(self.learner.snapshot(0))
        self.shard = CompiledDifferentiator(MODEL, self.replica)
        self.versions: list[Version] = []
        self.losses: list[float] = []
        self.number = 0

    def feed(self, ranges: int, spoil: Spoil = as_it_is) -> None:
        """Offer so many offset ranges of one partition and step after each."""
        for _ in range(ranges):
            work = examples(NO_DENSE, BATCH, begin=BATCH * self.number, seed=self.number)
            self.number += 1
            gradient = self.shard.gradient(spoil(work))
            truth = np.where(work.labels > 0.5, gradient.scores, 1.0 - gradient.scores)
            self.losses.append(float(-np.log(np.maximum(truth, 1e-7)).mean()))
            assert self.learner.offer(gradient, 0.0).accepted
            while self.learner.due_in_s(0.0) is not None:
                delta = self.learner.step(0, 0.0)
                if delta is not None:
                    self.take(delta)

    def take(self, delta: Delta) -> None:
        self.replica.apply(delta)  # raises when the version or the checksum does not fit
        self.versions.append(delta.version)
        assert self.replica.checksum() == self.learner.weights.checksum()

    @property
    def state(self) -> GuardState:
        return self.learner.rollback_log.state

    @property
    def challenged(self) -> bool:
        return self.state is GuardState.CHALLENGE

    @property
    def trips(self) -> int:
        return self.learner.metrics.guard_trips

    def check_accounts(self) -> None:
        """Each example was taken once, and learned, quarantined or held back."""
        metrics, held = self.learner.metrics, self.learner.rollback_log.trial.examples
        assert self.learner.applied == {0: upto(BATCH * self.number)}
        assert metrics.examples + metrics.quarantined + held == BATCH * self.number
        assert self.versions == sorted(set(self.versions))
