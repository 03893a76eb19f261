"""Streams that change or are poisoned, and a learner that plays them, for tests of its guard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from source_offsets import upto

from freshrank.actors.messages import (
    Bools,
    Examples,
    Floats,
    IdField,
    InputLayout,
    Inputs,
    Ints,
    OffsetRange,
)
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.settings import LearnerSettings

LAYOUT = InputLayout(("a", "b", "c", "d"), (IdField("user"), IdField("item")))
RANGE = 64
"""Rows of an offset range."""
PARTITIONS = 4
UNGUARDED = GuardSettings(loss_tolerance=1e9, max_weight=1e9, max_gradient=1e9, gradient_factor=1e9)
_IDS = 200
_TASTES = np.random.default_rng(7)
_OF_DENSE = np.array([2.0, -1.5, 1.0, 0.5])
_OF_IDS = _TASTES.normal(0.0, 0.6, (len(LAYOUT.fields), _IDS + 1))


class Rows(NamedTuple):
    """Examples in the order of the stream."""

    inputs: Inputs
    labels: Floats
    truth: Floats
    """float32[n]: the labels without any poison."""
    poisoned: Bools

    def __add__(self, more: object) -> Rows:
        assert isinstance(more, Rows)
        inputs = Inputs(
            np.concatenate([self.inputs.dense, more.inputs.dense]),
            np.concatenate([self.inputs.ids, more.inputs.ids]),
        )
        parts = zip(self[1:], more[1:], strict=True)
        return Rows(inputs, *(np.concatenate(pair) for pair in parts))

    def partitions(self) -> Ints:
        """The partition of each row: ranges take turns."""
        return np.arange(len(self.labels)) // RANGE % PARTITIONS


def honest(
    rows: int, seed: int, *, rate: float = 0.3, flip: bool = False, moved: float = 0.0
) -> Rows:
    """Rows of a world with about `rate` positives, its tastes reversed, its numbers moved."""
    random = np.random.default_rng(seed)
    dense = random.normal(moved, 1.0, (rows, len(LAYOUT.dense)))
    ids = random.integers(1, _IDS + 1, (rows, len(LAYOUT.fields)))
    taste = dense @ _OF_DENSE + _OF_IDS[0, ids[:, 0]] + _OF_IDS[1, ids[:, 1]]
    logits = np.log(rate / (1.0 - rate)) + (-taste if flip else taste)
    labels = (random.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    hashed = ids * 7919 + np.array([0, 100_003])
    inputs = Inputs(dense.astype(np.float32), hashed.astype(np.int64))
    return Rows(inputs, labels, labels, np.zeros(rows, np.bool_))


def poisoned(rows: Rows, where: Bools, labels: Floats) -> Rows:
    """The same rows with other labels at some places."""
    return rows._replace(labels=np.where(where, labels, rows.labels), poisoned=where)


def label_noise(rows: Rows) -> Rows:
    """Every label is a coin."""
    coins = np.random.default_rng(1).integers(0, 2, len(rows.labels)).astype(np.float32)
    return poisoned(rows, np.ones(len(coins), np.bool_), coins)


def with_dense(rows: Rows, value: float, factor: float = 1.0) -> Rows:
    """Numbers that are multiplied, or are all `value`."""
    dense = rows.inputs.dense * np.float32(factor) + np.float32(value)
    inputs = Inputs(dense, rows.inputs.ids)
    return rows._replace(inputs=inputs, poisoned=np.ones(len(dense), np.bool_))


@dataclass
class Played:
    """A learner that has played a stream, and what it made of it."""

    learner: Learner
    scores: Floats
    rows: Rows
    seen: list[str] = field(default_factory=list)
    """The kinds of its alerts."""

    @property
    def learned(self) -> int:
        return self.learner.metrics.examples

    @property
    def refused(self) -> int:
        return self.learner.metrics.quarantined

    def auc(self, begin: int = 0) -> float:
        """Of the true labels from row `begin` on, each scored before it was learned."""
        clean = self._clean(begin)
        return exact_auc(self.rows.truth[clean], self.scores[clean])

    def loss(self, begin: int = 0) -> float:
        """As `auc`."""
        clean = self._clean(begin)
        return float(LogLoss().value(self.rows.truth[clean], self.scores[clean]).mean())

    def _clean(self, begin: int) -> Ints:
        there = ~self.rows.poisoned & np.isfinite(self.scores)
        return np.flatnonzero(there & (np.arange(len(there)) >= begin))


class DriftingRun:
    """Offers the ranges of a stream to a learner, which steps as soon as a step is due."""

    def __init__(
        self, spec: ModelSpec, optimizer: Optimizer, guard: GuardSettings | None = None
    ) -> None:
        settings = LearnerSettings(guard=guard or GuardSettings())
        model = spec.bind(LAYOUT)
        self.learner = Learner(model, optimizer, settings, differentiate=CompiledDifferentiator)
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)

    def play(self, rows: Rows) -> Played:
        """Play all rows; their number has to be a multiple of `RANGE`."""
        scores: list[Floats] = []
        seen: list[str] = []
        for begin in range(0, len(rows.labels), RANGE):
            work = self._examples(rows, begin)
            scores.append(self.learner.weights.score(work.inputs))
            while not self.learner.offer(work, 0.0).accepted:
                self.learner.step(0, 0.0)
            while self.learner.due_in_s(0.0) == 0.0:
                self.learner.step(0, 0.0)
            seen += [str(alert.kind) for alert in self.learner.quarantine.take()]
        while self.learner.due_in_s(1e9) is not None:
            self.learner.step(0, 0.0)
        return Played(self.learner, np.concatenate(scores), rows, seen)

    def _examples(self, rows: Rows, begin: int) -> Examples:
        partition = begin // RANGE % PARTITIONS
        offset, part = self._offsets[partition], slice(begin, begin + RANGE)
        self._offsets[partition] += RANGE
        return Examples(
            OffsetRange(partition, upto(offset), upto(offset + RANGE)),
            Inputs(rows.inputs.dense[part], rows.inputs.ids[part]),
            rows.labels[part],
            np.arange(begin, begin + RANGE) + 1_000,
        )
