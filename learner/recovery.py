"""What a learner does when its guard demands it: roll back, learn again, or begin again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.messages import Gradient, Ints, OffsetRange, Version
from freshrank.learner.guard.held_back import HeldBack, examples_of
from freshrank.learner.guard.quarantine import Quarantine, Refusal
from freshrank.learner.guard.rollback import RollbackLog
from freshrank.learner.guard.states import GuardState
from freshrank.learner.guard.undo.step import Step
from freshrank.learner.metrics import LearnerMetrics
from freshrank.learner.parameters.gradient_sum import total
from freshrank.learner.parameters.training_state import TrainingState

# Examples of a step, at least, that learns again what was held back. All of its gradients were
# computed before any of it was learned: only examples that are bounded together tell how far they
# agree (see `StepBound`); a single one of them never does.
LEAST_BATCH = 64

Due = Callable[[Sequence[Gradient], Version, Version], Ints]


class Recovery:
    """Carries out what the guard has decided, on the weights of one learner.

    Parameters
    ----------
    trained, rollback_log, quarantine, metrics
        Of the learner.
    batch_examples
        Examples of a step that learns again what was held back.
    """

    def __init__(
        self,
        trained: TrainingState,
        rollback_log: RollbackLog,
        quarantine: Quarantine,
        metrics: LearnerMetrics,
        batch_examples: int,
    ) -> None:
        self._trained = trained
        self._log = rollback_log
        self._quarantine = quarantine
        self._metrics = metrics
        self._batch_examples = max(batch_examples, LEAST_BATCH)
        self._actions: Mapping[GuardState, Due] = {
            GuardState.ROLLBACK_DUE: self._roll_back,
            GuardState.REJECTION_DUE: self._roll_back,
            GuardState.RELEASE_DUE: self._learn_again,
            GuardState.CHALLENGE_DUE: self._learn_again,
            GuardState.REJOIN_DUE: self._rejoin,
            GuardState.RESET_DUE: self._reset,
        }

    def act(self, pending: Sequence[Gradient], base: Version, version: Version) -> Ints:
        """Do what is due; gives the ids of the rows that it may have changed.

        `pending` are gradients that were accepted and not learned; `version` is the version that
        follows `base`, if anything is changed. No ids and no steps mean that nothing was.
        """
        return self._actions[self._log.state](pending, base, version)

    def _roll_back(self, pending: Sequence[Gradient], base: Version, _: Version) -> Ints:
        """Restore the last good state; hold back, or refuse, all that was learned since."""
        rollback = self._log.rollback(pending)
        for step in reversed(rollback.steps):
            self._trained.undo(step.change)
        undone = sum(step.examples for step in rollback.steps)
        later = sum(step.examples for step in rollback.steps if step.relearned)
        self._metrics.count_rollback(undone, later)
        good = rollback.steps[0].base if rollback.steps else base
        text = f"back at the weights of {good}: {rollback.reason}"
        for step in rollback.forgotten:
            reason = f"not validated when {good} was restored"
            self._quarantine.refused({reason: step.ranges})
            self._metrics.refused[Refusal.LOSS] += step.examples
        if rollback.refused:
            self.refuse(Refusal.CHALLENGER, rollback.refused, text)
        else:
            text = f"{text}; {self._log.trial.examples} examples are held back"
            self._quarantine.add(AlertKind.GUARD_TRIPPED, Severity.WARNING, text)
        return _keys(rollback.steps)

    def _learn_again(self, pending: Sequence[Gradient], base: Version, version: Version) -> Ints:
        """Learn what the guard releases, or as a challenger all that it holds back."""
        assert not pending  # a trial holds back all that comes
        learned, refused = self._log.release()
        isolated = [one for one in refused if self._log.isolated.holds(one.gradient)]
        others = [one for one in refused if not self._log.isolated.holds(one.gradient)]
        for reason, some in ((Refusal.PARTITION, isolated), (Refusal.LOSS, others)):
            self.refuse(reason, some)
        return self._learn(self._damped(learned), base, version)

    def _rejoin(self, pending: Sequence[Gradient], base: Version, version: Version) -> Ints:
        """Learn what is pending, and what was held back of a partition that is well again."""
        held = [one.gradient for one in self._log.rejoin()]
        learned = self._learn(pending, base, version, later=False)
        return np.concatenate([learned, self._learn(held, base, version)])

    def _reset(self, pending: Sequence[Gradient], base: Version, version: Version) -> Ints:
        """Begin again with initial weights, and learn what is pending."""
        text = f"the weights were broken and begin again: {self._log.broken}"
        held = self._log.reset()
        keys = self._trained.reset()
        self._quarantine.add(AlertKind.WEIGHTS_RESET, Severity.ERROR, text)
        again = [*pending, *(one.gradient for one in held)]
        return np.concatenate([keys, self._learn(again, base, version)])

    def _learn(
        self, gradients: Sequence[Gradient], base: Version, version: Version, *, later: bool = True
    ) -> Ints:
        """Take steps that are published as one version; refuses a step that diverges.

        `later`: whether the gradients had been held back.
        """
        steps: list[Step] = []
        for some in self._batches(gradients):
            change, changed = self._trained.update(total(some), stale=True)
            ranges = [gradient.offset_range for gradient in some]
            examples = sum(len(gradient) for gradient in some)
            error = self._log.weights_error(self._trained.weights.dense, changed.rows)
            if error:
                self._trained.undo(change)
                self._metrics.count_refusal(Refusal.STEP, examples)
                self._quarantine.refused({error: ranges})
                continue
            self._trained.evict(change)
            self._metrics.count_recovered(examples, later=later)
            steps.append(Step(base, version, ranges, examples, change, some, relearned=later))
            self._log.add(steps[-1])
        return _keys(steps)

    def _damped(self, learned: Sequence[HeldBack]) -> list[Gradient]:
        """The gradients, those of the same weights at the rate of one batch where rates are fixed.

        Otherwise an optimiser that does not adapt its rates would leap as many batches at once.
        """
        stale = examples_of([one for one in learned if one.of_restored])
        if self._trained.adapts_rates or stale <= self._batch_examples:
            return [one.gradient for one in learned]
        share = self._batch_examples / stale
        return [one.gradient.damped(share) if one.of_restored else one.gradient for one in learned]

    def _batches(self, gradients: Sequence[Gradient]) -> Iterator[list[Gradient]]:
        some: list[Gradient] = []
        for gradient in gradients:
            some.append(gradient)
            if sum(map(len, some)) >= self._batch_examples:
                yield some
                some = []
        if some:
            yield some

    def refuse(self, reason: Refusal, refused: Sequence[HeldBack], text: str = "") -> None:
        """Quarantine what was held back, if anything was."""
        if not refused:
            return
        self._metrics.refused[reason] += examples_of(refused)
        refusals: dict[str, list[OffsetRange]] = {}
        for one in refused:
            refusals.setdefault(one.suspicion, []).append(one.gradient.offset_range)
        self._quarantine.refused(refusals, text)


def _keys(steps: Sequence[Step]) -> Ints:
    found: list[Ints] = [step.change.keys for step in steps]
    return np.concatenate([np.empty(0, np.int64), *found])
