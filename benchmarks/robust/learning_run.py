"""Shards and a learner that learn a stream: gradients, steps and deltas as in a running system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.alerts import AlertKind
from freshrank.actors.messages import (
    Bools,
    Delta,
    Examples,
    Floats,
    Gradient,
    InputLayout,
    Inputs,
    Ints,
    OffsetRange,
    SourceOffsets,
)
from freshrank.benchmarks.robust.streams import LAYOUT, PARTITIONS, StreamRows
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.evaluation.progressive import scored_examples
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.quarantine import PendingAlert, range_from_json
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.losses import Loss
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

_TOPIC = "examples"
UNGUARDED = GuardSettings(loss_tolerance=1e9, max_weight=1e9, max_gradient=1e9, gradient_factor=1e9)


@dataclass(frozen=True)
class Setup:
    """What learns, and how much at once."""

    spec: ModelSpec
    optimizer: Optimizer
    batch: int = 256
    """Examples of a step."""
    shards: int = PARTITIONS
    """They share the examples of a step; where it has fewer than there are shards, each
    differentiates one at weights that lack the steps of the others."""
    guard: GuardSettings = field(default_factory=GuardSettings)
    layout: InputLayout = LAYOUT


@dataclass
class Played:
    """A learner that has played a stream, and what it made of it."""

    learner: Learner
    scores: Floats
    """float32[n], of classes [n, c]: of each row before it was learned."""
    rows: StreamRows
    lost: Bools
    """bool[n]: rows that the guard has refused for good."""
    seen: list[AlertKind] = field(default_factory=list)
    """The kinds of its alerts."""

    @property
    def learned(self) -> int:
        """Rows that are in the weights."""
        return self.learner.metrics.examples

    @property
    def refused(self) -> int:
        """Rows that are lost."""
        return self.learner.metrics.quarantined

    def auc(self, begin: int = 0) -> float:
        """Of the true labels from row `begin` on, each scored before it was learned."""
        clean = self._clean(begin)
        return exact_auc(self.rows.truth[clean], self.scores[clean])

    def loss(self, begin: int = 0) -> float:
        """The mean loss of the rows of `auc`, by the model's own loss."""
        clean = self._clean(begin)
        return float(self._loss.value(self.rows.truth[clean], self.scores[clean]).mean())

    def base_loss(self, begin: int = 0) -> float:
        """What the best constant prediction would have over the rows of `auc`."""
        labels = self.rows.truth[self._clean(begin)].astype(np.float64)
        return self._loss.of_constant(float(labels.mean()), float(np.square(labels).mean()))

    @property
    def _loss(self) -> Loss:
        return self.learner.model.loss

    def _clean(self, begin: int) -> Ints:
        there = ~self.rows.poisoned & np.isfinite(self.scores)
        return np.flatnonzero(there & (np.arange(len(there)) >= begin))


class LearningRun:
    """Gives the rows of streams to shards in turn, and their gradients to a learner.

    Shards differentiate at the same time, each its next rows, at the newest weights that were
    published before. All have the same weights then, so one copy does for them. The learner steps
    when a step is due; its deltas are applied to the copy when all shards are done.
    """

    def __init__(self, setup: Setup) -> None:
        settings = LearnerSettings(batch_examples=setup.batch, guard=setup.guard)
        model = setup.spec.bind(setup.layout)
        self.learner = Learner(model, setup.optimizer, settings)
        self.copy = ModelWeights(model, setup.optimizer)
        self.copy.apply(self.learner.snapshot(0))
        self._differentiator = CompiledDifferentiator(model, self.copy)
        self._range = max(setup.batch // setup.shards, 1)
        self._published: list[Delta] = []
        self._played = 0
        self._places: list[list[int]] = [[] for _ in range(setup.shards)]
        """By shard: which rows, of all that were ever played, its offsets stand for."""

    def play(self, rows: StreamRows) -> Played:
        """Learn all rows; the last step may have fewer than the others."""
        classes = len(self.learner.model.loss.classes)
        shape = (len(rows.labels), classes) if classes else (len(rows.labels),)
        scores: Floats = np.empty(shape, np.float32)
        alerts: list[PendingAlert] = []
        together, first = self._range * len(self._places), self._played
        for begin in range(0, len(scores), together):
            ends = range(begin, min(begin + together, len(scores)), self._range)
            parts = [slice(one, one + self._range) for one in ends]
            works = [self._examples(rows, shard, part) for shard, part in enumerate(parts)]
            gradients = [self._differentiator.gradient(work) for work in works]
            for part, work, gradient in zip(parts, works, gradients, strict=True):
                scores[part] = scored_examples(self._offer(work, gradient)).live
            self._follow()
            alerts += self.learner.quarantine.take()
        while self.learner.due_in_s(1e9) is not None:
            self._step()
        self._follow()
        alerts += self.learner.quarantine.take()
        lost = self._lost(alerts, first)
        return Played(self.learner, scores, rows, lost, [alert.kind for alert in alerts])

    def _offer(self, work: Examples, gradient: Gradient) -> Gradient:
        """Offer a gradient until it is accepted, computed again where it is too old."""
        while not self.learner.offer(gradient, 0.0).accepted:
            self._step()
            self._follow()
            gradient = self._differentiator.gradient(work)
        while self.learner.due_in_s(0.0) == 0.0:
            self._step()
        return gradient

    def _step(self) -> None:
        delta = self.learner.step(0, 0.0)
        if delta is not None:
            self._published.append(delta)

    def _follow(self) -> None:
        for delta in self._published:
            self.copy.apply(delta)
        self._published.clear()

    def _examples(self, rows: StreamRows, shard: int, part: slice) -> Examples:
        labels, places = rows.labels[part], self._places[shard]
        begin = len(places)
        places.extend(range(self._played, self._played + len(labels)))
        self._played += len(labels)
        return Examples(
            OffsetRange(shard, _at(begin), _at(len(places))),
            Inputs(rows.inputs.dense[part], rows.inputs.ids[part]),
            labels,
            np.array(places[begin:], np.int64) + 1_000,
        )

    def _lost(self, alerts: Sequence[PendingAlert], first: int) -> Bools:
        """bool[n]: the rows from `first` on that alerts name as quarantined."""
        lost = np.zeros(self._played, np.bool_)
        for alert in alerts:
            refused = alert.details.get("quarantined", [])
            assert isinstance(refused, list)
            for one in refused:
                assert isinstance(one, list)
                found = range_from_json(one, ())
                offsets = slice(found.begin[_TOPIC], found.end[_TOPIC])
                lost[self._places[found.partition][offsets]] = True
        return lost[first:]


def _at(row: int) -> SourceOffsets:
    return SourceOffsets({_TOPIC: row})
