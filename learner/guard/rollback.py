"""The undo log of the steps that are not validated yet, and what the guard decides about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.messages import Floats, Gradient, Ints, OffsetRange
from freshrank.actors.protocols import JsonValue
from freshrank.actors.transitions import next_state
from freshrank.learner.guard.bounds import GradientSizes, weights_error
from freshrank.learner.guard.broken_weights import BrokenWeightsDetector
from freshrank.learner.guard.forgetting import forget_in
from freshrank.learner.guard.held_back import HeldBack, examples_of
from freshrank.learner.guard.isolation import IsolatedPartitions
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.guard.states import DUE, TRANSITIONS, GuardEvent, GuardState
from freshrank.learner.guard.trial import Trial
from freshrank.learner.guard.undo.step import Rollback, Step
from freshrank.learner.guard.undo.undo_log import UndoLog
from freshrank.learner.models.losses import Loss

# Examples that weights, or weights learned on top of them, must have scored before they count as
# validated: enough for positives, which are few and show most kinds of harm, to be among them.
VALIDATION_EXAMPLES = 1_000
_AGAIN = "the loss became worse again after it was learned again"


class RollbackLog:
    """Checks gradients, weights and loss, and keeps what undoes the steps not yet validated.

    The *last good state* are the newest validated weights: at least `VALIDATION_EXAMPLES` examples
    have been scored by them or by what was learned on top of them, and after that the loss was at
    rest (see `LossDriftDetector`). The steps since then are kept with what they learned and what
    they replaced: as a rule some thousand examples' worth, at most those of one excursion of the
    detector more.

    When the loss has become worse, the last good state is restored and all that was learned since
    is held back, as is what comes next, which the restored weights score (a `Trial`):

    - their loss is normal for `VALIDATION_EXAMPLES`: it was poison. What is suspicious is
      quarantined, from where the loss became worse to where it did so no more; the rest is learned.
    - it is worse in a minority of the partitions only, then or over ``trial_examples``: these are
      isolated (see `IsolatedPartitions`), the rest is learned.
    - it is worse in all: a challenger learns all that is held back, and goes on to learn. When its
      next `VALIDATION_EXAMPLES` have a lower loss than the restored weights had, the world has
      changed, and it is the model. When not, it is undone, and what it learned is quarantined.

    Parameters
    ----------
    settings
        Bounds of gradients, weights and loss.
    loss
        The model's.
    label_delay_ms
        How long after the positives come the negatives that were shown beside them, at most.
    """

    def __init__(self, settings: GuardSettings, loss: Loss, label_delay_ms: int = 0) -> None:
        self.settings = settings
        self.loss_drift = LossDriftDetector(loss, settings.loss_tolerance, label_delay_ms)
        self.broken = BrokenWeightsDetector(loss, settings.loss_tolerance)
        self.isolated = IsolatedPartitions(loss, settings.loss_tolerance)
        self.trial = Trial(loss)
        self.state = GuardState.WATCHING
        self._sizes = GradientSizes(loss)
        self._undo = UndoLog()
        self._suspects: list[OffsetRange] = []
        """Offset ranges since which the loss has not been at rest, oldest first."""

    @property
    def due(self) -> bool:
        """Whether the learner has to roll back, learn again or reset before it goes on."""
        return self.state in DUE

    @property
    def examples_held_back(self) -> int:
        """Examples that wait for a verdict: in a trial, or of isolated partitions."""
        return self.trial.examples + examples_of(self.isolated.held)

    def health(self) -> dict[str, str]:
        """What is wrong with the weights or with some partitions; empty when nothing is."""
        found = {"weights": str(self.broken), "partitions": str(self.isolated)}
        return {name: error for name, error in found.items() if error}

    def gradient_error(self, gradient: Gradient) -> str | None:
        """Why `gradient` must not be learned from, whatever the loss; None when it may be."""
        return self._sizes.error(gradient, self.settings)

    def weights_error(self, dense: Floats, rows: Floats) -> str | None:
        """Why the weights that a step gave must not be published; None when they may be."""
        return weights_error(dense, rows, self.settings.max_weight)

    def check_loss(self, gradient: Gradient) -> GuardEvent:
        """Judge the weights by how they scored the examples of `gradient`.

        The gradient may be learned when this gives SCORED or CHALLENGER_BETTER; else the guard
        holds it back. Raises IllegalTransition while anything is due.
        """
        event = {
            GuardState.TRIAL: self._check_restored,
            GuardState.CHALLENGE: self._check_challenger,
        }.get(self.state, self._check_live)(gradient)
        self._happen(event)
        return event

    def _check_live(self, gradient: Gradient) -> GuardEvent:
        next_state(TRANSITIONS, self.state, GuardEvent.SCORED)
        self._undo.score(gradient)
        self._suspects.append(gradient.offset_range)
        if self.loss_drift.add_gradient(gradient):
            self.trial.start([HeldBack(gradient)])
            return GuardEvent.LOSS_WORSE
        if self.loss_drift.at_rest:
            self._suspects.clear()
            self._undo.validate(VALIDATION_EXAMPLES)
        if self.broken.add(gradient):
            self.trial.start([HeldBack(gradient)])
            return GuardEvent.WEIGHTS_BROKEN
        return GuardEvent.SCORED

    def _check_restored(self, gradient: Gradient) -> GuardEvent:
        self.trial.hold(gradient)
        self.broken.add(gradient)  # what that gives is decided on once the trial is over
        self._suspects.append(gradient.offset_range)
        worse = self.loss_drift.add_gradient(gradient)
        if worse:
            self._suspect(str(self.loss_drift))
            self.trial.calm = 0
            self.loss_drift.forget()
        elif self.loss_drift.at_rest:
            self._suspects.clear()
        normal = self.loss_drift.at_rest and self.trial.calm >= VALIDATION_EXAMPLES
        wanted = self.settings.trial_examples
        if not normal and self.trial.scored < (wanted if worse else 2 * wanted):
            return GuardEvent.HELD_BACK
        found = self.trial.worse_partitions(self.loss_drift)
        if found:
            self.trial.suspect(found, "its partition alone has a worse loss")
            self.isolated.add(found)
        return GuardEvent.LOSS_NORMAL if found or normal else GuardEvent.LOSS_STILL_WORSE

    def _check_challenger(self, gradient: Gradient) -> GuardEvent:
        self.trial.challenge(gradient)
        if self.trial.challenger_scored < VALIDATION_EXAMPLES:
            return GuardEvent.SCORED
        if not self.trial.challenger_better:
            self.trial.held.append(HeldBack(gradient))
            return GuardEvent.CHALLENGER_WORSE
        self._undo.clear()
        self._start_over()
        return GuardEvent.CHALLENGER_BETTER

    def check_isolated(self, gradient: Gradient) -> list[HeldBack]:
        """Hold back what an isolated partition sends; gives what of it is refused.

        Once its loss is normal again, what came since is due, or in a trial held back with the
        others'. A challenge ends before it is judged.
        """
        self.isolated.hold(gradient)
        if self.state is GuardState.CHALLENGE:
            return []
        verdict = self.isolated.judge(gradient.offset_range.partition, self.loss_drift)
        self.trial.held += verdict.well
        if verdict.well and self.state is not GuardState.TRIAL:
            self._happen(GuardEvent.PARTITION_WELL)
        return verdict.refused

    def rejoin(self) -> list[HeldBack]:
        """Give what is to be learned of a partition that is well again.

        Raises IllegalTransition unless it is due.
        """
        self._happen(GuardEvent.REJOINED)
        return self.trial.take()

    def add(self, step: Step) -> None:
        """Keep a step that was published. Raises IllegalTransition while a rollback is due."""
        self._happen(GuardEvent.STEPPED)
        self._undo.steps.append(step)

    def rollback(self, pending: Iterable[Gradient] = ()) -> Rollback:
        """Give what is to be undone, and hold it back with `pending` gradients, or refuse it.

        It is refused when a challenger has learned it and was no better. The steps may go back
        further than the suspects: what did the harm may have been learned without being noticed.
        Raises IllegalTransition unless a rollback is due.
        """
        rejected = self.state is GuardState.REJECTION_DUE
        self._happen(GuardEvent.ROLLED_BACK)
        reason = str(self.trial) if rejected else str(self.loss_drift)
        steps = list(self._undo.steps)
        held = [
            HeldBack(gradient, _AGAIN if step.relearned else "")
            for step in steps
            for gradient in step.gradients
        ]
        held += [*map(HeldBack, pending), *self.trial.take()]
        self.trial.start([] if rejected else held)
        self._suspect(reason)
        for one in held if rejected else ():
            one.suspicion = f"a challenger that learned it was no better: {reason}"
        self._undo.clear()
        self._suspects = []
        self.loss_drift.forget()
        forgotten = [step for step in steps if not step.gradients]
        return Rollback(steps, held if rejected else [], forgotten, reason)

    def release(self) -> tuple[list[HeldBack], list[HeldBack]]:
        """Give what is held back: what is to be learned, and what is refused.

        A challenger learns all of it. Raises IllegalTransition unless either is due.
        """
        all_of_it = self.state is GuardState.CHALLENGE_DUE
        self._happen(GuardEvent.CHALLENGED if all_of_it else GuardEvent.RELEASED)
        if not all_of_it:
            self.trial.sharpen(_AGAIN, self.loss_drift.normal, self.settings.loss_tolerance)
        held = self.trial.take()
        self._suspects = []
        self.loss_drift.forget()
        learned = [one for one in held if all_of_it or not one.suspicion]
        return learned, [] if all_of_it else [one for one in held if one.suspicion]

    def reset(self) -> list[HeldBack]:
        """Forget all steps: the weights begin again. Gives what is held back and to be learned.

        Raises IllegalTransition unless it is due.
        """
        self._happen(GuardEvent.RESET)
        self._undo.clear()
        self._start_over()
        return self.trial.take()

    def forget(self, ids: Ints) -> None:
        """Keep nothing that could bring back the rows of `ids`."""
        forget_in(self._undo.steps, [*self.trial.held, *self.isolated.held], ids)

    def _start_over(self) -> None:
        self._suspects = []
        self.loss_drift.start_over()
        self.broken.start_over()

    def _suspect(self, reason: str) -> None:
        """Make what is held back since the loss was last at rest suspicious."""
        suspects = set(self._suspects)
        for one in self.trial.held:
            if one.gradient.offset_range in suspects:
                one.suspicion = reason

    def _happen(self, event: GuardEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps of it as JSON, while nothing is due; the rest is `arrays`."""
        return {
            "loss": self.loss_drift.state(),
            "sizes": list(self._sizes.typical),
            "suspects": [range_to_json(suspect) for suspect in self._suspects],
            "steps": self._undo.meta(),
            "state": self.state.value,
            "trial": self.trial.meta(),
            "broken": [*self.broken.state()],
            "isolated": self.isolated.meta(),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the steps replaced and learned, and what is held back."""
        return self.trial.arrays() | self._undo.arrays() | self.isolated.arrays()

    def restore(
        self,
        meta: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        topics: Sequence[str],
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        self.loss_drift.restore(meta["loss"])
        self._sizes.typical.extend(meta["sizes"])
        self._suspects = [range_from_json(suspect, topics) for suspect in meta["suspects"]]
        self._undo.restore(meta["steps"], arrays, topics)
        if "state" not in meta:  # of before
            return
        self.state = GuardState(meta["state"])
        self.trial.restore(meta["trial"], arrays, topics)
        self.broken.restore(meta["broken"])
        self.isolated.restore(meta["isolated"], arrays, topics)
