"""What a learner remembers to tell harm when it shows, and to go back to before it was done."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.messages import Floats, Gradient, OffsetRange, Version
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.bounds import GradientSizes, weights_error
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.losses import Loss
from freshrank.learner.parameters.training_state import Change, Rows

# Examples scored by weights, or by later ones, before these count as proven: enough for
# the positives, which are few and show most kinds of harm, to be among them.
PROOF = 1_000


@dataclass(slots=True)
class Step:
    """A step that can still be taken back."""

    base: Version
    version: Version
    """What it was published as."""
    spans: list[OffsetRange]
    """Those that it learned from."""
    examples: int
    """In them."""
    change: Change
    judged: int = 0
    """Examples that weights with this step in them have scored so far."""


class Verdict(Enum):
    """What becomes of a span."""

    FINE = "fine"
    """It may be learned."""
    WORSE = "worse"
    """Since the last good state something has gone wrong: go back."""
    NORMAL = "normal"
    """It was as bad for so long that it counts as normal: learn it."""


class RollbackLog:
    """The guard's memory.

    The *last good state* are the newest proven weights: at least `PROOF` examples have been
    scored by them or by what was learned on top of them, and after that the loss was at rest
    (see `LossDriftDetector`). The steps since then are kept, and with them what they replaced: as
    a rule some thousand examples' worth, at most those of one excursion of the test more.
    """

    def __init__(self, guard: GuardSettings, loss: Loss, label_delay_ms: int = 0) -> None:
        self.guard = guard
        self.loss = LossDriftDetector(loss, guard.loss_tolerance, label_delay_ms)
        self._sizes = GradientSizes(loss)
        self._steps: deque[Step] = deque()
        self._suspects: list[OffsetRange] = []
        self._trips = 0
        self._calm = 0

    def gradient_error(self, gradient: Gradient) -> str | None:
        """Why `gradient` must not be learned from, whatever the loss; None when it may."""
        return self._sizes.error(gradient, self.guard)

    def weights_error(self, dense: Floats, rows: Floats) -> str | None:
        """Why the weights that a step gave must not be published; None when they may be."""
        return weights_error(dense, rows, self.guard.max_weight)

    def judge(self, gradient: Gradient) -> Verdict:
        """Judge the weights by how they scored the examples of `gradient`."""
        for step in self._steps:
            if step.version <= gradient.base:
                step.judged += len(gradient)
        self._suspects.append(gradient.offset_range)
        if not self.loss.add(gradient.labels, gradient.scores, gradient.newest_event_ms):
            if self.loss.at_rest:
                self._rest(len(gradient))
            return Verdict.FINE
        self._calm = 0
        if self._trips < self.guard.most_trips:
            self._trips += 1
            return Verdict.WORSE
        self._trips = 0
        self._suspects.clear()
        self._steps.clear()
        self.loss.start_over()
        return Verdict.NORMAL

    def stepped(self, step: Step) -> None:
        """A step was published."""
        self._steps.append(step)

    def give_up(self) -> tuple[list[Step], list[OffsetRange]]:
        """After `Verdict.WORSE`: the steps to take back, in order, and the suspect spans.

        A suspect is a span since which the loss has not been at rest. The steps may go back
        further: what did the harm may have been learned without being noticed.
        """
        steps, suspects = list(self._steps), self._suspects
        self._steps.clear()
        self._suspects = []
        self.loss.forget()
        return steps, suspects

    def _rest(self, examples: int) -> None:
        self._suspects.clear()
        while self._steps and self._steps[0].judged >= PROOF:
            self._steps.popleft()
        self._calm += examples
        if self._calm >= PROOF:
            self._trips = 0

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps of it as JSON; the rest is `arrays`."""
        return {
            "loss": self.loss.state(),
            "sizes": list(self._sizes.typical),
            "suspects": [range_to_json(one) for one in self._suspects],
            "trips": self._trips,
            "calm": self._calm,
            "steps": [
                {
                    "base": str(one.base),
                    "version": str(one.version),
                    "spans": [range_to_json(offset_range) for offset_range in one.spans],
                    "examples": one.examples,
                    "judged": one.judged,
                }
                for one in self._steps
            ],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the steps replaced; nothing here is changed again."""
        found: dict[str, NDArray[Any]] = {}
        for number, step in enumerate(self._steps):
            change, name = step.change, f"step_{number}"
            found |= {f"{name}_dense": change.dense, f"{name}_added": change.added}
            for part, rows in (("before", change.before), ("evicted", change.evicted)):
                found |= {f"{name}_{part}_{key}": one for key, one in rows._asdict().items()}
        return found

    def restore(
        self,
        meta: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        topics: Sequence[str],
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        self.loss.restore(meta["loss"])
        self._sizes.typical.extend(meta["sizes"])
        self._suspects = [range_from_json(one, topics) for one in meta["suspects"]]
        self._trips, self._calm = meta["trips"], meta["calm"]
        for number, one in enumerate(meta["steps"]):
            self._steps.append(
                Step(
                    base=Version.parse(one["base"]),
                    version=Version.parse(one["version"]),
                    spans=[range_from_json(offset_range, topics) for offset_range in one["spans"]],
                    examples=one["examples"],
                    change=_change(arrays, f"step_{number}"),
                    judged=one["judged"],
                )
            )


def _change(arrays: Mapping[str, NDArray[Any]], name: str) -> Change:
    before, evicted = (
        Rows(*(arrays[f"{name}_{part}_{key}"] for key in Rows._fields))
        for part in ("before", "evicted")
    )
    return Change(arrays[f"{name}_dense"], before, arrays[f"{name}_added"].astype(bool), evicted)
