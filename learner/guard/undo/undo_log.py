"""The steps that are not validated yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.messages import Gradient
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.undo.kept_steps import step_arrays, steps_from, steps_to_json
from freshrank.learner.guard.undo.step import Step


class UndoLog:
    """The steps that are not validated yet, oldest first, and what has been scored since."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self._scored = 0
        """Examples that weights with the oldest of these steps in them have scored so far."""

    def score(self, gradient: Gradient) -> None:
        """Count the examples of `gradient` for the newest step that it was computed on."""
        for step in reversed(self.steps):
            if step.version <= gradient.base:
                step.scored += len(gradient)
                self._scored += len(gradient)
                break

    def validate(self, examples: int) -> None:
        """Drop the steps that weights have scored so many examples with."""
        while self.steps and self._scored >= examples:
            self._scored -= self.steps.popleft().scored

    def clear(self) -> None:
        """Drop all steps."""
        self.steps.clear()
        self._scored = 0

    def meta(self) -> list[JsonValue]:
        """What a checkpoint keeps as JSON; the rest is `arrays`."""
        return steps_to_json(self.steps)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the steps replaced and learned."""
        found: dict[str, NDArray[Any]] = {}
        for number, step in enumerate(self.steps):
            found |= step_arrays(f"step_{number}", step)
        return found

    def restore(
        self,
        meta: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, NDArray[Any]],
        topics: Sequence[str],
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        self.steps.extend(steps_from(meta, arrays, topics))
        self._scored = sum(step.scored for step in self.steps)
