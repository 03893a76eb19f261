"""Partitions whose examples are not learned, because they alone have a worse loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freshrank.actors.messages import Doubles, Gradient
from freshrank.actors.protocols import JsonValue
from freshrank.learner.evaluation.loss_sums import kept_sums, loss_sums, no_sums
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.models.losses import Loss

# Examples of an isolated partition over which its loss is compared with that of the others.
_WINDOW = 500


class IsolatedPartitions:
    """Which partitions are isolated, and the loss of each over its present window.

    A partition is learned from again when its loss over `_WINDOW` examples is normal, by the
    measure of the partitions that are learned.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._sums: dict[int, Doubles] = {}
        """By partition: `loss_sums`."""

    def __contains__(self, partition: int) -> bool:
        return partition in self._sums

    def __str__(self) -> str:
        """Say which; empty when there are none."""
        named = ", ".join(str(partition) for partition in sorted(self._sums))
        return f"not learned from, their loss alone is worse: partitions {named}" if named else ""

    def add(self, partitions: Sequence[int]) -> None:
        """Isolate some partitions."""
        self._sums |= {partition: no_sums(self._loss) for partition in partitions}

    def check(self, gradient: Gradient, detector: LossDriftDetector) -> bool:
        """Whether the partition of `gradient` stays isolated after its examples."""
        partition = gradient.offset_range.partition
        sums = self._sums[partition]
        sums += loss_sums(self._loss, gradient)
        if sums[0] < _WINDOW:
            return True
        self._sums[partition] = no_sums(self._loss)
        if detector.excess_of(sums) > 0.0:
            return True
        del self._sums[partition]
        return False

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps."""
        return {str(partition): sums.tolist() for partition, sums in self._sums.items()}

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Go on from what `meta` gave."""
        self._sums = {
            int(partition): kept_sums(sums, self._loss) for partition, sums in meta.items()
        }
