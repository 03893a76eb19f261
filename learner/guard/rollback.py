"""The undo log of the steps that are not validated yet, and the decision to roll them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from numpy.typing import NDArray

from freshrank.actors.messages import Floats, Gradient, OffsetRange, Version
from freshrank.actors.protocols import JsonValue
from freshrank.actors.transitions import next_state
from freshrank.learner.guard.bounds import GradientSizes, weights_error
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.losses import Loss
from freshrank.learner.parameters.training_state import Change, Rows

# Examples that weights, or weights learned on top of them, must have scored before they count as
# validated: enough for positives, which are few and show most kinds of harm, to be among them.
VALIDATION_EXAMPLES = 1_000


class GuardState(Enum):
    """What the guard makes of the loss."""

    WATCHING = "watching"
    """The loss is as it was."""
    ROLLBACK_DUE = "rollback due"
    """The loss has become worse: no gradient is learned before the rollback."""
    PROBATION = "probation"
    """Rolled back, and the loss has not been normal for `VALIDATION_EXAMPLES` since."""


class GuardEvent(Enum):
    """What happens to the guard."""

    SCORED = "scored"
    """An offset range was scored, and its loss speaks for no change."""
    VALIDATED = "validated"
    """The loss has been normal for `VALIDATION_EXAMPLES` since the last rollback."""
    LOSS_WORSE = "loss worse"
    """The loss has certainly become worse."""
    LOSS_ACCEPTED = "loss accepted"
    """It has, but so many rollbacks in a row changed nothing that it counts as normal."""
    STEPPED = "stepped"
    """A step was published."""
    ROLLED_BACK = "rolled back"
    """All steps that were not validated were undone."""


TRANSITIONS: Mapping[GuardState, Mapping[GuardEvent, GuardState]] = {
    GuardState.WATCHING: {
        GuardEvent.SCORED: GuardState.WATCHING,
        GuardEvent.STEPPED: GuardState.WATCHING,
        GuardEvent.LOSS_WORSE: GuardState.ROLLBACK_DUE,
        GuardEvent.LOSS_ACCEPTED: GuardState.WATCHING,
    },
    GuardState.ROLLBACK_DUE: {
        GuardEvent.ROLLED_BACK: GuardState.PROBATION,
    },
    GuardState.PROBATION: {
        GuardEvent.SCORED: GuardState.PROBATION,
        GuardEvent.STEPPED: GuardState.PROBATION,
        GuardEvent.VALIDATED: GuardState.WATCHING,
        GuardEvent.LOSS_WORSE: GuardState.ROLLBACK_DUE,
        GuardEvent.LOSS_ACCEPTED: GuardState.WATCHING,
    },
}
"""The next state of the guard. An event that is not listed is an error."""


@dataclass(slots=True)
class Step:
    """A published step that can still be undone."""

    base: Version
    version: Version
    """What it was published as."""
    ranges: list[OffsetRange]
    """The offset ranges that it learned from."""
    examples: int
    """Examples in those ranges."""
    change: Change
    """What undoes it."""
    scored: int = 0
    """Examples that weights with this step in them have scored so far."""


class Rollback(NamedTuple):
    """What a rollback undoes and quarantines."""

    steps: list[Step]
    """To undo, oldest first."""
    suspects: list[OffsetRange]
    """Offset ranges since which the loss has not been at rest, oldest first."""
    examples: int
    """Examples of the offset range that the loss was found to be worse by."""
    reason: str
    """The loss, and what it was before."""


class RollbackLog:
    """Checks gradients, weights and loss, and keeps what undoes the steps not yet validated.

    The *last good state* are the newest validated weights: at least `VALIDATION_EXAMPLES` examples
    have been scored by them or by what was learned on top of them, and after that the loss was at
    rest (see `LossDriftDetector`). The steps since then are kept with what they replaced: as a rule
    some thousand examples' worth, at most those of one excursion of the detector more.

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
        self.state = GuardState.WATCHING
        self._sizes = GradientSizes(loss)
        self._steps: deque[Step] = deque()
        self._suspects: list[OffsetRange] = []
        self._worse_by = 0
        """Examples of the range by which the loss was found to be worse."""
        self._rollbacks = 0
        """In a row; 0 while watching."""
        self._calm = 0
        """Examples scored since the last rollback whose loss was normal."""

    def gradient_error(self, gradient: Gradient) -> str | None:
        """Why `gradient` must not be learned from, whatever the loss; None when it may be."""
        return self._sizes.error(gradient, self.settings)

    def weights_error(self, dense: Floats, rows: Floats) -> str | None:
        """Why the weights that a step gave must not be published; None when they may be."""
        return weights_error(dense, rows, self.settings.max_weight)

    def check_loss(self, gradient: Gradient) -> GuardEvent:
        """Judge the weights by how they scored the examples of `gradient`.

        Gives SCORED, LOSS_WORSE (the gradient must not be learned from, and `rollback` is due) or
        LOSS_ACCEPTED. Raises IllegalTransition while a rollback is due.
        """
        next_state(TRANSITIONS, self.state, GuardEvent.SCORED)
        for step in self._steps:
            if step.version <= gradient.base:
                step.scored += len(gradient)
        self._suspects.append(gradient.offset_range)
        if not self.loss_drift.add(gradient.labels, gradient.scores, gradient.newest_event_ms):
            if self.loss_drift.at_rest:
                self._rest(len(gradient))
            return GuardEvent.SCORED
        if self._rollbacks < self.settings.most_trips:
            self._happen(GuardEvent.LOSS_WORSE)
            self._worse_by = len(gradient)
            return GuardEvent.LOSS_WORSE
        self._happen(GuardEvent.LOSS_ACCEPTED)
        self._suspects.clear()
        self._steps.clear()
        self.loss_drift.start_over()
        return GuardEvent.LOSS_ACCEPTED

    def add(self, step: Step) -> None:
        """Keep a step that was published. Raises IllegalTransition while a rollback is due."""
        self._happen(GuardEvent.STEPPED)
        self._steps.append(step)

    def rollback(self) -> Rollback:
        """Give what is to be undone, and forget it. Raises IllegalTransition unless it is due.

        The steps may go back further than the suspects: what did the harm may have been learned
        without being noticed.
        """
        self._happen(GuardEvent.ROLLED_BACK)
        self._rollbacks, self._calm = self._rollbacks + 1, 0
        found = Rollback(list(self._steps), self._suspects, self._worse_by, str(self.loss_drift))
        self._steps.clear()
        self._suspects = []
        self.loss_drift.forget()
        return found

    def _happen(self, event: GuardEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
        if self.state is GuardState.WATCHING:
            self._rollbacks = 0

    def _rest(self, examples: int) -> None:
        """The loss is at rest after `examples` more: forget what is validated by that."""
        self._suspects.clear()
        while self._steps and self._steps[0].scored >= VALIDATION_EXAMPLES:
            self._steps.popleft()
        self._calm += examples
        if self.state is GuardState.PROBATION and self._calm >= VALIDATION_EXAMPLES:
            self._happen(GuardEvent.VALIDATED)

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps of it as JSON; the rest is `arrays`. Not while a rollback is due.

        The keys are those of checkpoint format 3.
        """
        return {
            "loss": self.loss_drift.state(),
            "sizes": list(self._sizes.typical),
            "suspects": [range_to_json(suspect) for suspect in self._suspects],
            "trips": self._rollbacks,
            "calm": self._calm,
            "steps": [
                {
                    "base": str(step.base),
                    "version": str(step.version),
                    "spans": [range_to_json(learned) for learned in step.ranges],
                    "examples": step.examples,
                    "judged": step.scored,
                }
                for step in self._steps
            ],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the steps replaced; none of these arrays is changed afterwards."""
        found: dict[str, NDArray[Any]] = {}
        for number, step in enumerate(self._steps):
            change, name = step.change, f"step_{number}"
            found |= {
                f"{name}_dense": change.dense,
                f"{name}_moments": change.moments,
                f"{name}_added": change.added,
            }
            for part, rows in (("before", change.before), ("evicted", change.evicted)):
                found |= {f"{name}_{part}_{key}": array for key, array in rows._asdict().items()}
        return found

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
        self._rollbacks, self._calm = meta["trips"], meta["calm"]
        self.state = GuardState.PROBATION if self._rollbacks else GuardState.WATCHING
        for number, kept in enumerate(meta["steps"]):
            self._steps.append(
                Step(
                    base=Version.parse(kept["base"]),
                    version=Version.parse(kept["version"]),
                    ranges=[range_from_json(span, topics) for span in kept["spans"]],
                    examples=kept["examples"],
                    change=_change(arrays, f"step_{number}"),
                    scored=kept["judged"],
                )
            )


def _change(arrays: Mapping[str, NDArray[Any]], name: str) -> Change:
    before, evicted = (
        Rows(*(arrays[f"{name}_{part}_{key}"] for key in Rows._fields))
        for part in ("before", "evicted")
    )
    added = arrays[f"{name}_added"].astype(bool)
    moments = arrays.get(f"{name}_moments", arrays["moments"])  # those of before had one scale
    return Change(arrays[f"{name}_dense"], moments, before, added, evicted)
