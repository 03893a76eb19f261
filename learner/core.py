"""The learner without any I/O: gradients of offset ranges in, versions of the weights out.

Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import (
    BEGINNING,
    Delta,
    Examples,
    Gradient,
    Ints,
    OffsetRange,
    SourceOffsets,
    Version,
)
from freshrank.actors.protocols import Differentiator, JsonValue, Progress
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.guard.quarantine import Quarantine, Refusal
from freshrank.learner.guard.rollback import RollbackLog
from freshrank.learner.guard.states import GuardEvent
from freshrank.learner.guard.undo.step import Step
from freshrank.learner.learned_pipeline import LearnedPipeline
from freshrank.learner.metrics import LearnerMetrics
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.gradient_sum import (
    AcceptedOffsets,
    PendingGradients,
    staleness,
    total,
)
from freshrank.learner.parameters.training_state import ChangedRows, TrainingState
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.recovery import Recovery
from freshrank.learner.settings import LearnerSettings

Differentiate = Callable[[Model, ModelWeights], Differentiator]
"""Makes the differentiator of a model at the weights given."""


class Learner:
    """One model, its optimiser, and exactly what it has learned from.

    Parameters
    ----------
    model, optimizer, settings
        What learns, how, and how often; ``settings.guard`` bounds gradients, weights and loss.
    pipeline
        What else it has to know.
    differentiate
        Makes the differentiator for learners that are offered examples; None where the shards
        send gradients only.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        settings: LearnerSettings,
        pipeline: LearnedPipeline | None = None,
        *,
        differentiate: Differentiate | None = None,
    ) -> None:
        pipeline = pipeline or LearnedPipeline()
        self.topics, self.model = pipeline.topics, model
        self.optimizer, self.settings = optimizer, settings
        self.rollback_log = RollbackLog(settings.guard, model.loss, pipeline.label_delay_ms)
        self.trained = TrainingState(
            model, optimizer, settings.max_rows, publishes_state=pipeline.publishes_state
        )
        self.differentiator = differentiate(model, self.weights) if differentiate else None
        self.accepted = AcceptedOffsets()
        self.applied: dict[int, SourceOffsets] = {}
        """By partition: how far its examples are learned, quarantined or held back."""
        self.durable: dict[int, SourceOffsets] = {}
        """By partition: how far `applied` was in the newest checkpoint on disk."""
        self.quarantine = Quarantine()
        self.newest_event_ms = 0
        self.validation = ProgressiveValidation(model.loss, model.layout.dense, self.topics)
        self.metrics = LearnerMetrics()
        self._recovery = Recovery(
            self.trained, self.rollback_log, self.quarantine, self.metrics, settings.batch_examples
        )
        self._pending = PendingGradients()
        self._oldest_base = Version(0, 0)
        """Gradients computed on older weights are refused: those weights were rolled back."""

    @property
    def weights(self) -> ModelWeights:
        """The newest weights: the memory that steps change in place."""
        return self.trained.weights

    @property
    def version(self) -> Version:
        """The version of the weights."""
        assert self.weights.version is not None  # set from the start
        return self.weights.version

    def progress(self, partition: int) -> Progress:
        """How far `partition` has been accepted, and how far that is durable."""
        return self._answer(partition, accepted=True)

    def offer(self, work: Gradient | Examples, monotonic: float) -> Progress:
        """Accept work if it is the next of its partition and its gradient is fresh enough.

        Examples are differentiated here, at the present weights. What the guard refuses counts as
        accepted: offering it again would change nothing.
        """
        offset_range = work.offset_range
        if not self.accepted.fits(offset_range):
            self.metrics.refused_out_of_turn += 1
            return self._answer(offset_range.partition, accepted=False)
        gradient = self._gradient(work)
        lag = self._lag(gradient)
        if lag is None:
            self.metrics.refused_stale += 1
            return self._answer(offset_range.partition, accepted=False, stale=True)
        self.accepted.take(offset_range)
        self.metrics.count_lag(lag)
        if self._may_be_learned(gradient):
            self._pending.add(gradient, monotonic)
        else:
            self._pending.add_without_examples(offset_range)
            if not self._pending.needs_step and not self.rollback_log.due:
                self._drain()
        return self._answer(offset_range.partition, accepted=True)

    def due_in_s(self, monotonic: float) -> float | None:
        """Seconds until a step is due (0: now); None while nothing waits to be learned."""
        if self.rollback_log.due:
            return 0.0
        most, wait_s = self.settings.batch_examples, self.settings.max_wait_ms / 1000.0
        return self._pending.due_in_s(monotonic, most, wait_s)

    def step(self, now_ms: int, monotonic: float) -> Delta | None:
        """Learn from all pending gradients; where the guard has anything due, do that instead.

        Then forget what is to be forgotten. The weights are published as the next version. None
        when they are as before: nothing was pending, or the guard refused the stepped weights.
        """
        if self.rollback_log.due:
            return self._recover(now_ms)
        base, pending = self.version, self._drain()
        changed = self._learn(pending, now_ms, monotonic) if pending.gradients else None
        gone = self._forget(pending)
        if changed is None:
            if not len(gone):
                return None
            self._next_version()
            changed = self.trained.present(gone)
        return self._delta(base, changed.without(gone), now_ms)

    def _learn(self, pending: PendingGradients, now_ms: int, now_s: float) -> ChangedRows | None:
        """Take a step; None when the guard refuses it: then the weights are as before."""
        lags = (staleness(gradient.base, self.version) or 0 for gradient in pending.gradients)
        summed = total(pending.gradients, max(lags))
        change, changed = self.trained.update(summed)
        error = self.rollback_log.weights_error(self.weights.dense, changed.rows)
        if error:
            self.trained.undo(change)
            self._refuse(pending.contributing, Refusal.STEP, error, pending.examples)
            return None
        newest_ms = max(gradient.newest_event_ms for gradient in pending.gradients)
        self.newest_event_ms = max(self.newest_event_ms, newest_ms)
        self.metrics.count_step(pending.examples, now_ms - newest_ms, now_s)
        base = self._next_version()
        evicted = self.trained.evict(change)
        ranges, gradients = pending.contributing, pending.gradients
        self.rollback_log.add(Step(base, self.version, ranges, pending.examples, change, gradients))
        return changed._replace(evicted=evicted)

    def _forget(self, pending: PendingGradients) -> Ints:
        """Drop the rows that `pending` ranges say, once these are learned; gives their ids."""
        self.rollback_log.forget(pending.forgotten)
        return self.trained.forget(pending.forgotten)

    def snapshot(self, now_ms: int) -> Delta:
        """All present weights as one delta without a base."""
        if not self.weights.table.recount():
            message = "the learner's own rows were changed outside of a step"
            self.quarantine.add(AlertKind.WEIGHTS_DIFFER, Severity.ERROR, message)
        return self._delta(None, self.trained.present(self.weights.table.keys), now_ms)

    def freeze_reference(self) -> None:
        """Compare with the present weights from now on.

        Only the learner's own differentiator keeps a copy here; shards freeze theirs themselves.
        """
        self.validation.restart_comparison()
        if self.differentiator:
            self.differentiator.freeze_reference()

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """Metrics, quality and position, as plain JSON."""
        return {
            "version": str(self.version),
            "rows": len(self.weights.table),
            "pending_examples": self._pending.examples,
            "applied": {str(key): dict(self.applied[key]) for key in sorted(self.applied)},
            "newest_event_ms": self.newest_event_ms,
            "examples_held_back": self.rollback_log.examples_held_back,
            "quarantined": [str(refused) for refused in self.quarantine.quarantined],
            **self.metrics.status(monotonic),
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
            applied=self.accepted.offsets.get(partition, BEGINNING),
            durable=self.durable.get(partition, BEGINNING),
            version=self.version,
        )

    def _drain(self) -> PendingGradients:
        """Take what is pending; from here on it counts as applied, and in the quality metrics."""
        pending, self._pending = self._pending, PendingGradients()
        for offset_range in pending.ranges:
            self.applied[offset_range.partition] = offset_range.end
        for gradient in pending.gradients:
            self.validation.take(gradient)
        return pending

    def _lag(self, gradient: Gradient) -> int | None:
        """The age in steps of the weights it was computed on; None when it must not be used."""
        lag = staleness(gradient.base, self.version)
        too_old = lag is None or lag > self.settings.max_staleness_steps
        rolled_back = self.rollback_log.due or gradient.base < self._oldest_base
        return None if too_old or rolled_back else lag

    def _may_be_learned(self, gradient: Gradient) -> bool:
        """Ask the guard; what it does not let through is quarantined, or held back."""
        if not len(gradient):
            return False
        log, learned = self.rollback_log, False
        error = log.gradient_error(gradient)
        if error:
            self._refuse([gradient.offset_range], Refusal.GRADIENT, error, len(gradient))
        elif log.isolated.holds(gradient):
            self._recovery.refuse(Refusal.PARTITION, log.check_isolated(gradient))
        else:
            event = log.check_loss(gradient)
            if event is GuardEvent.CHALLENGER_BETTER:
                text = f"what was held back is learned: {log.trial}"
                self.quarantine.add(AlertKind.REGIME_ACCEPTED, Severity.WARNING, text)
            learned = event in (GuardEvent.SCORED, GuardEvent.CHALLENGER_BETTER)
        if not learned:
            self.validation.take(gradient)
        return learned

    def _recover(self, now_ms: int) -> Delta | None:
        """Do what the guard has due; the weights that it leads to are the next version."""
        pending, steps = self._drain(), self.trained.total_steps
        base = self._next_version()
        touched = self._recovery.act(pending.gradients, base, self.version)
        touched = np.concatenate([touched, self._forget(pending)])
        if not len(touched) and steps == self.trained.total_steps:
            self.weights.version = base
            return None
        self._oldest_base = self.version
        return self._delta(base, self.trained.present(touched), now_ms)

    def _next_version(self) -> Version:
        """Move to the next version; gives the previous version."""
        base = self.version
        self.weights.version = Version(base.epoch, base.step + 1)
        return base

    def _refuse(self, ranges: list[OffsetRange], reason: Refusal, error: str, count: int) -> None:
        self.metrics.count_refusal(reason, count)
        self.quarantine.refused({error: ranges})

    def _delta(self, base: Version | None, changed: ChangedRows, now_ms: int) -> Delta:
        delta = self.trained.delta(base, changed, with_state=self.differentiator is None)
        newest_ms, applied = self.newest_event_ms, dict(self.applied)
        return replace(delta, applied=applied, created_ms=now_ms, newest_event_ms=newest_ms)
