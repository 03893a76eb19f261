"""The learner without any I/O: spans in, versions out. Time comes as an argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import (
    BEGINNING,
    Delta,
    Examples,
    Gradient,
    OffsetRange,
    Progress,
    SourceOffsets,
    Version,
)
from freshrank.actors.protocols import Differentiator, JsonValue
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.guard.quarantine import Quarantine
from freshrank.learner.guard.rollback import RollbackLog, Step, Verdict
from freshrank.learner.metrics import LearnerFigures
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.gradient_sum import Accepted, Pending, staleness, total
from freshrank.learner.parameters.training_state import Changed, TrainingState
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

Differentiate = Callable[[Model, ModelWeights], Differentiator]


class Learner:
    """One model, its optimiser, and exactly what it has learned from.

    Parameters
    ----------
    model, optimizer, settings
        What learns, how, and how often; ``settings.guard`` bounds gradients, weights and loss.
    label_delay_ms
        How long after the positives come the negatives that were shown beside them, at most; 0
        where both are known at once.
    differentiate
        Makes the differentiator for learners that are offered examples; None where the shards
        send gradients only.
    topics
        The pipeline's source topics: checkpoints of format 3 have offsets in their order.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        settings: LearnerSettings,
        *,
        label_delay_ms: int = 0,
        differentiate: Differentiate | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        self.topics = topics
        self.model = model
        self.optimizer = optimizer
        self.settings = settings
        self.watch = RollbackLog(settings.guard, model.loss, label_delay_ms)
        self.trained = TrainingState(model, optimizer, settings.max_rows)
        self.differentiator = differentiate(model, self.weights) if differentiate else None
        self.accepted = Accepted()
        self.applied: dict[int, SourceOffsets] = {}
        self.durable: dict[int, SourceOffsets] = {}
        self.quarantine = Quarantine()
        self.newest_event_ms = 0
        self.validation = ProgressiveValidation(model.loss)
        self.figures = LearnerFigures()
        self._pending = Pending()
        self._tripped: Gradient | None = None
        """What the loss was found to be worse by: a step back is due."""
        self._oldest_base = Version(0, 0)

    @property
    def weights(self) -> ModelWeights:
        """The newest ones, in the very memory that is stepped."""
        return self.trained.weights

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
        offset_range = work.offset_range
        if not self.accepted.fits(offset_range):
            self.figures.refused_out_of_turn += 1
            return self._answer(offset_range.partition, accepted=False)
        gradient = self._gradient(work)
        lag = self._lag(gradient)
        if lag is None:
            self.figures.refused_stale += 1
            return self._answer(offset_range.partition, accepted=False, stale=True)
        self.accepted.take(offset_range)
        self.figures.count_lag(lag)
        if self._may_be_learned(gradient):
            self._pending.add(gradient, monotonic)
        else:
            self._pending.add_without_examples(offset_range)
            if not self._pending.examples and self._tripped is None:
                self._drain()
        return self._answer(offset_range.partition, accepted=True)

    def due_in_s(self, monotonic: float) -> float | None:
        """Seconds until a step is due (0: now); None while nothing waits to be learned."""
        if self._tripped:
            return 0.0
        if self._pending.since is None:
            return None
        if self._pending.examples >= self.settings.batch_examples:
            return 0.0
        return max(0.0, self._pending.since + self.settings.max_wait_ms / 1000.0 - monotonic)

    def step(self, now_ms: int, monotonic: float) -> Delta | None:
        """Learn from all that is pending; after a trip of the guard go back instead.

        What goes back is published as the next version. None when there was nothing, or when the
        guard refused what came out: then the weights are as before, and the spans quarantined.
        """
        if self._tripped is not None:
            return self._go_back(self._tripped, now_ms)
        pending = self._drain()
        if not pending.gradients:
            return None
        summed = total(pending.gradients)
        change, rows = self.trained.update(summed)
        trouble = self.watch.weights_error(self.weights.dense, rows)
        if trouble:
            self.trained.take_back(change)
            self._refuse(pending.taught, trouble, pending.examples)
            return None
        newest_ms = max(one.newest_event_ms for one in pending.gradients)
        self.newest_event_ms = max(self.newest_event_ms, newest_ms)
        self.figures.count_step(pending.examples, now_ms - newest_ms, monotonic)
        base = self._next_version()
        evicted = self.trained.evict(change)
        self.watch.stepped(Step(base, self.version, pending.taught, pending.examples, change))
        changed = Changed(summed.keys, rows, evicted)
        return self._delta(base, changed.without_evicted() if len(evicted) else changed, now_ms)

    def snapshot(self, now_ms: int) -> Delta:
        """All present weights as one delta without a base."""
        if not self.weights.table.recount():
            message = "the learner's own rows were changed outside of a step"
            self.quarantine.add(AlertKind.WEIGHTS_DIFFER, Severity.ERROR, message)
        return self._delta(None, self.trained.present(self.weights.table.keys), now_ms)

    def freeze(self) -> None:
        """Compare with the present weights from now on; a shard's own copy is frozen by itself."""
        self.validation.restart_comparison()
        if self.differentiator:
            self.differentiator.freeze()

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """Figures, quality and position, as plain JSON."""
        return {
            "version": str(self.version),
            "rows": len(self.weights.table),
            "pending_examples": self._pending.examples,
            "applied": {str(one): dict(offsets) for one, offsets in sorted(self.applied.items())},
            "newest_event_ms": self.newest_event_ms,
            "quarantined": [str(one) for one in self.quarantine.quarantined],
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
            applied=self.accepted.offsets.get(partition, BEGINNING),
            durable=self.durable.get(partition, BEGINNING),
            version=self.version,
        )

    def _drain(self) -> Pending:
        """What is pending: from here on it counts as applied, and in the quality figures."""
        pending, self._pending = self._pending, Pending()
        for offset_range in pending.spans:
            self.applied[offset_range.partition] = offset_range.end
        for one in pending.gradients:
            self.validation.add(one.labels, one.scores, one.reference_scores)
        return pending

    def _lag(self, gradient: Gradient) -> int | None:
        """The age in steps of the weights it was computed on; None when it must not be used."""
        lag = staleness(gradient.base, self.version)
        too_old = lag is None or lag > self.settings.max_staleness_steps
        void = self._tripped is not None or gradient.base < self._oldest_base
        return None if too_old or void else lag

    def _may_be_learned(self, gradient: Gradient) -> bool:
        """Ask the guard; whatever it refuses is quarantined, at once or when going back."""
        if not len(gradient):
            return False
        if trouble := self.watch.gradient_error(gradient):
            self._refuse([gradient.offset_range], trouble, len(gradient))
            return False
        verdict = self.watch.judge(gradient)
        if verdict is Verdict.WORSE:
            self._tripped = gradient
        elif verdict is Verdict.NORMAL:
            message = (
                f"the loss has stayed high and counts as normal from {gradient.offset_range} on"
            )
            self.quarantine.add(AlertKind.REGIME_ACCEPTED, Severity.ERROR, message)
        return verdict is not Verdict.WORSE

    def _go_back(self, trip: Gradient, now_ms: int) -> Delta | None:
        """Restore the last good state, as the next version, and quarantine all since."""
        self._tripped, reason = None, str(self.watch.loss)
        pending = self._drain()
        steps, suspects = self.watch.give_up()
        for step in reversed(steps):
            self.trained.take_back(step.change)
        undone = sum(step.examples for step in steps)
        self.figures.count_trip(undone + pending.examples + len(trip), undone)
        good = steps[0].base if steps else self.version
        since = [*(offset_range for step in steps for offset_range in step.spans), *pending.taught]
        known = set(suspects)
        unproven = [offset_range for offset_range in since if offset_range not in known]
        refusals = {reason: suspects, f"not proven when {good} was restored": unproven}
        self.quarantine.refused(refusals, f"back at the weights of {good}")
        if not steps:
            return None
        base = self._next_version()
        self._oldest_base = self.version
        touched = np.concatenate([step.change.keys for step in steps])
        return self._delta(base, self.trained.present(touched), now_ms)

    def _next_version(self) -> Version:
        """Move the version on; gives the one before."""
        base = self.version
        self.weights.version = Version(base.epoch, base.step + 1)
        return base

    def _refuse(self, spans: list[OffsetRange], reason: str, examples: int) -> None:
        self.figures.count_trip(examples)
        self.quarantine.refused({reason: spans})

    def _delta(self, base: Version | None, changed: Changed, now_ms: int) -> Delta:
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
            checksum=self.weights.expected_checksum,
        )
