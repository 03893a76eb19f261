"""Partitions whose examples are not learned, because they alone have a worse loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Doubles, Gradient
from freshrank.actors.protocols import JsonValue
from freshrank.learner.evaluation.loss_sums import kept_sums, loss_sums, no_sums
from freshrank.learner.guard.change_point import worse_ranges
from freshrank.learner.guard.held_back import HeldBack
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.undo.kept_gradients import (
    gradient_arrays,
    gradients_from,
    gradients_to_json,
)
from freshrank.learner.models.losses import Loss

# Examples of an isolated partition over which its loss is compared with that of the others.
_WINDOW = 500
_REASON = "its partition is isolated"


class Verdict(NamedTuple):
    """What becomes of examples of an isolated partition that were held back."""

    refused: list[HeldBack]
    """Not to be learned, with the reason."""
    well: list[HeldBack]
    """To be learned: they came after the loss was normal again; none while it is not."""


class _Waiting(NamedTuple):
    """A gradient that waits for the verdict on its partition."""

    held: HeldBack
    sums: Doubles
    """Its `loss_sums`."""


@dataclass(slots=True)
class _Isolated:
    """What is known of one isolated partition. Sums are those of `loss_sums`."""

    window: Doubles
    """Over the examples since the last verdict."""
    worse: Doubles
    """Over the examples of all verdicts by which the loss was worse."""
    waiting: list[_Waiting] = field(default_factory=list)
    """Oldest first: those that the last verdict kept, then those of the window."""
    kept: int = 0
    """How many the last verdict kept."""

    @property
    def gradients(self) -> list[Gradient]:
        """All that wait, in their order."""
        return [one.held.gradient for one in self.waiting]


class IsolatedPartitions:
    """Which partitions are isolated, and what is held back of each until it is judged.

    A partition is judged each `_WINDOW` examples. While their loss is worse, by the measure of the
    partitions that are learned, they are refused, but for the last of them that had a normal loss:
    these wait for the next verdict. When it is normal, the partition is isolated no longer, and
    what came since the loss was worse is to be learned.
    """

    def __init__(self, loss: Loss, tolerance: float) -> None:
        self._loss = loss
        self._tolerance = tolerance
        self._partitions: dict[int, _Isolated] = {}

    def holds(self, gradient: Gradient) -> bool:
        """Whether the partition of `gradient` is isolated."""
        return gradient.offset_range.partition in self._partitions

    def __str__(self) -> str:
        """Say which; empty when there are none."""
        named = ", ".join(str(partition) for partition in sorted(self._partitions))
        return f"not learned from, their loss alone is worse: partitions {named}" if named else ""

    @property
    def held(self) -> list[HeldBack]:
        """All that is held back."""
        return [one.held for found in self._partitions.values() for one in found.waiting]

    def add(self, partitions: Sequence[int]) -> None:
        """Isolate some partitions."""
        for partition in partitions:
            self._partitions[partition] = _Isolated(no_sums(self._loss), no_sums(self._loss))

    def hold(self, gradient: Gradient) -> None:
        """Hold back a gradient of an isolated partition."""
        found = self._partitions[gradient.offset_range.partition]
        waiting = self._waiting(gradient)
        found.waiting.append(waiting)
        found.window += waiting.sums

    def _waiting(self, gradient: Gradient) -> _Waiting:
        return _Waiting(HeldBack(gradient, _REASON), loss_sums(self._loss, gradient))

    def judge(self, partition: int, detector: LossDriftDetector) -> Verdict:
        """Say what becomes of what is held back of a partition; nothing before its window is full.

        It is isolated no longer where the verdict is that it is well.
        """
        found = self._partitions[partition]
        if found.window[0] < _WINDOW:
            return Verdict([], [])
        held, is_worse = [one.held for one in found.waiting], detector.excess_of(found.window) > 0.0
        if is_worse:
            found.worse += found.window
        count = self._worse_ones(found, detector.normal)
        if not is_worse:
            del self._partitions[partition]
            return Verdict(held[:count], [HeldBack(one.gradient) for one in held[count:]])
        # What the last verdict kept is refused by a second one: no more than a window waits.
        count = max(count, found.kept)
        found.waiting = found.waiting[count:]
        found.window, found.kept = no_sums(self._loss), len(found.waiting)
        return Verdict(held[:count], [])

    def _worse_ones(self, found: _Isolated, normal: float) -> int:
        """How many of the gradients held back came before the loss was normal again."""
        sums = np.array([one.sums for one in found.waiting])
        worst = found.worse if found.worse[0] else found.window
        worse = float(worst[1] / worst[0])
        return worse_ranges(sums[:, 0], sums[:, 1], normal, worse, self._tolerance)

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps as JSON; the rest is `arrays`."""
        return {
            str(partition): {
                "window": found.window.tolist(),
                "worse": found.worse.tolist(),
                "kept": found.kept,
                "held": gradients_to_json(found.gradients),
            }
            for partition, found in self._partitions.items()
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is held back."""
        arrays: dict[str, NDArray[Any]] = {}
        for partition, found in self._partitions.items():
            arrays |= gradient_arrays(_name(partition), found.gradients)
        return arrays

    def restore(
        self, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], topics: Sequence[str]
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        before: dict[str, Any] = {
            "worse": no_sums(self._loss),
            "held": [],
            "kept": 0,
        }  # nothing was held back
        for key, found in meta.items():
            kept = before | {"window": found} if isinstance(found, list) else found
            window, worse = (kept_sums(kept[name], self._loss) for name in ("window", "worse"))
            gradients = gradients_from(kept["held"], _name(int(key)), arrays, topics)
            waiting = [self._waiting(gradient) for gradient in gradients]
            self._partitions[int(key)] = _Isolated(window, worse, waiting, kept["kept"])


def _name(partition: int) -> str:
    return f"isolated_{partition}"
