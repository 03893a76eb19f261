"""The learner without any I/O: spans in, versions out. Time comes as an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import (
    Cut,
    Delta,
    Examples,
    Floats,
    Gradient,
    Ints,
    Progress,
    Version,
)
from freshrank.actors.protocols import Differentiator, JsonValue
from freshrank.learner.aggregation import Accepted, Pending, SummedGradient, staleness, total
from freshrank.learner.figures import LearnerFigures
from freshrank.learner.guard import Guard, Quarantined
from freshrank.learner.models import Model
from freshrank.learner.optimizers import Optimizer
from freshrank.learner.table import KeyedTable
from freshrank.learner.validation import ProgressiveValidation
from freshrank.learner.weights import ModelWeights

Differentiate = Callable[[Model, ModelWeights], Differentiator]

# A sixteenth of the rows goes at once when the table is full, so that looking for the oldest
# ones, which reads all, is paid once in many steps.
_EVICTED_SHARE = 16
_DENSE: Ints = np.zeros(1, np.int64)
# Named in the status; the count goes on beyond it.
_QUARANTINE_KEPT = 20


@dataclass(frozen=True, slots=True)
class StepSettings:
    """When a step is taken and what bounds it."""

    batch_examples: int = 256
    """A step is due at this many examples ..."""
    max_wait_ms: int = 50
    """... or this long after the first of them."""
    max_staleness_steps: int = 64
    """A gradient of weights older than this is refused."""
    max_rows: int = 10_000_000
    """Beyond it the least recently updated rows are dropped. A row of a DeepFM with 8
    dimensions and FTRL takes 108 bytes, and 24 for id, age and index."""

    def __post_init__(self) -> None:
        if self.batch_examples < 1 or self.max_rows < _EVICTED_SHARE:
            raise ConfigError(
                "StepSettings",
                "nothing could be learned",
                f"Give batch_examples >= 1 and max_rows >= {_EVICTED_SHARE}.",
            )


class _Changed(NamedTuple):
    """The table's part of a delta."""

    keys: Ints
    rows: Floats
    evicted: Ints

    def without_evicted(self) -> _Changed:
        """Without the rows that were changed and dropped in the same step."""
        kept = ~np.isin(self.keys, self.evicted)
        return _Changed(self.keys[kept], self.rows[kept], self.evicted)


class Learner:
    """One model, its optimiser, and exactly what it has learned from.

    Parameters
    ----------
    model, optimizer, settings
        What learns, how, and how often.
    guard
        Refuses gradients and steps that would break the weights.
    differentiate
        Makes the differentiator for learners that are offered examples; None where the shards
        send gradients only.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        settings: StepSettings,
        *,
        guard: Guard | None = None,
        differentiate: Differentiate | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.settings = settings
        self.guard = guard or Guard()
        states = 1 + optimizer.state_per_weight
        table = KeyedTable(model.rows, model.rows.width * optimizer.state_per_weight)
        self.weights = ModelWeights(model, table)
        self.weights.version = Version(1, 0)
        self.dense_state: Floats = np.zeros((1, model.dense_size * states), np.float32)
        self.dense_state[0, : model.dense_size] = self.weights.dense
        self.weights.dense = self.dense_state[0, : model.dense_size]
        self.differentiator = differentiate(model, self.weights) if differentiate else None
        self.accepted = Accepted()
        self.applied: dict[int, Cut] = {}
        self.durable: dict[int, Cut] = {}
        self.quarantined: list[Quarantined] = []
        self.total_steps = 0
        """Over all epochs: the age of a row is told by it."""
        self.newest_event_ms = 0
        self.validation = ProgressiveValidation()
        self.figures = LearnerFigures()
        self._pending = Pending()

    @property
    def version(self) -> Version:
        """Of the weights."""
        assert self.weights.version is not None  # set from the start
        return self.weights.version

    def progress(self, partition: int) -> Progress:
        """How far `partition` has been taken, and how far it is safe on disk."""
        return self._answer(partition, accepted=True)

    def offer(self, work: Gradient | Examples, monotonic: float) -> Progress:
        """Take a span if it is the next of its partition and its gradient is fresh enough.

        Examples are differentiated here, at the present weights. What the guard refuses counts
        as taken: offering it again would not mend it.
        """
        span = work.span
        if not self.accepted.fits(span):
            self.figures.refused_out_of_turn += 1
            return self._answer(span.partition, accepted=False)
        gradient = self._gradient(work)
        lag = staleness(gradient.base, self.version)
        if lag is None or lag > self.settings.max_staleness_steps:
            self.figures.refused_stale += 1
            return self._answer(span.partition, accepted=False, stale=True)
        self.accepted.take(span)
        self.figures.count_lag(lag)
        trouble = self.guard.trouble_with_gradient(gradient)
        if trouble:
            self._quarantine([Quarantined(span, trouble)])
        if trouble or not len(gradient):
            self._pending.add_without_examples(span)
            if not self._pending.examples:
                self._learned(self._drain())
        else:
            self.validation.add(gradient.labels, gradient.scores, gradient.reference_scores)
            self._pending.add(gradient, monotonic)
        return self._answer(span.partition, accepted=True)

    def due_in_s(self, monotonic: float) -> float | None:
        """Seconds until a step is due (0: now); None while nothing waits to be learned."""
        if self._pending.since is None:
            return None
        if self._pending.examples >= self.settings.batch_examples:
            return 0.0
        return max(0.0, self._pending.since + self.settings.max_wait_ms / 1000.0 - monotonic)

    def step(self, now_ms: int, monotonic: float) -> Delta | None:
        """Learn from all that is pending.

        None when there was nothing, or when the guard refused what came out: then the weights
        are as before, and the spans are quarantined.
        """
        pending = self._drain()
        if not pending.gradients:
            self._learned(pending)
            return None
        summed = total(pending.gradients)
        rows, trouble = self._update(summed)
        self._learned(pending)
        if trouble:
            self._quarantine([Quarantined(one.span, trouble) for one in pending.gradients])
            return None
        newest_ms = max(one.newest_event_ms for one in pending.gradients)
        self.newest_event_ms = max(self.newest_event_ms, newest_ms)
        self.figures.count_step(pending.examples, now_ms - newest_ms, monotonic)
        base = self.version
        self.weights.version = Version(base.epoch, base.step + 1)
        evicted = self._evict()
        changed = _Changed(summed.keys, rows, evicted)
        return self._delta(base, changed.without_evicted() if len(evicted) else changed, now_ms)

    def snapshot(self, now_ms: int) -> Delta:
        """All present weights as one delta without a base."""
        keys = np.sort(self.weights.table.keys)
        everything = _Changed(keys, self.weights.table.read(keys), np.empty(0, np.int64))
        return self._delta(None, everything, now_ms)

    def freeze(self) -> None:
        """Compare with the present weights from now on; a shard's own copy is frozen by itself."""
        self.validation.compare_anew()
        if self.differentiator:
            self.differentiator.freeze()

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """Figures, quality and position, as plain JSON."""
        return {
            "version": str(self.version),
            "rows": len(self.weights.table),
            "pending_examples": self._pending.examples,
            "applied": {str(one): list(cut) for one, cut in sorted(self.applied.items())},
            "newest_event_ms": self.newest_event_ms,
            "quarantined": [
                f"partition {one.span.partition} {one.span.begin}..{one.span.end}: {one.reason}"
                for one in self.quarantined
            ],
            **self.figures.status(monotonic),
            **self.validation.status(),
        }

    def _gradient(self, work: Gradient | Examples) -> Gradient:
        if isinstance(work, Gradient):
            return work
        if self.differentiator is None:
            raise ConfigError(
                "learner", "it was sent examples and has no differentiator", "Send gradients."
            )
        return self.differentiator.gradient(work)

    def _answer(self, partition: int, *, accepted: bool, stale: bool = False) -> Progress:
        return Progress(
            accepted=accepted,
            stale=stale,
            applied=self.accepted.cuts.get(partition, ()),
            durable=self.durable.get(partition, ()),
            version=self.version,
        )

    def _drain(self) -> Pending:
        pending, self._pending = self._pending, Pending()
        return pending

    def _learned(self, pending: Pending) -> None:
        for span in pending.spans:
            self.applied[span.partition] = span.end

    def _quarantine(self, refused: list[Quarantined]) -> None:
        self.figures.guard_trips += 1
        self.quarantined = (self.quarantined + refused)[-_QUARANTINE_KEPT:]

    def _update(self, summed: SummedGradient) -> tuple[Floats, str | None]:
        """Step in place; gives the changed rows, or undoes it and says what was wrong."""
        table, known = self.weights.table, len(self.weights.table)
        self.total_steps += 1
        positions = table.touch(summed.keys, self.total_steps)
        rows_before, dense_before = table.rows.take(positions, axis=0), self.dense_state.copy()
        self.optimizer.update(table.rows, positions, summed.rows)
        self.optimizer.update(self.dense_state, _DENSE, summed.dense[np.newaxis], regularize=False)
        rows = table.rows.take(positions, axis=0)[:, : self.model.rows.width]
        rows = np.ascontiguousarray(rows)
        trouble = self.guard.trouble_with_weights(self.weights.dense, rows)
        if trouble:
            table.rows[positions] = rows_before
            self.dense_state[:] = dense_before
            table.remove(table.keys[known:].copy())
        return rows, trouble

    def _evict(self) -> Ints:
        """Drop the rows that were updated least recently, when there are too many."""
        table, bound = self.weights.table, self.settings.max_rows
        if len(table) <= bound:
            return np.empty(0, np.int64)
        evicted = table.oldest(len(table) - bound + bound // _EVICTED_SHARE)
        table.remove(evicted)
        return evicted

    def _delta(self, base: Version | None, changed: _Changed, now_ms: int) -> Delta:
        return Delta(
            version=self.version,
            base=base,
            dense=self.weights.dense.copy(),
            keys=changed.keys,
            rows=changed.rows,
            evicted=changed.evicted,
            applied=dict(self.applied),
            created_ms=now_ms,
            newest_event_ms=self.newest_event_ms,
        )
