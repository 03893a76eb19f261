"""Which offset ranges are accepted, and the sum of their gradients that one step learns from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.messages import Floats, Gradient, Ints, OffsetRange, SourceOffsets, Version


@dataclass(frozen=True, slots=True)
class SummedGradient:
    """What one step learns from."""

    dense: Floats
    """float32[p]."""
    keys: Ints
    """int64[u], distinct, ascending."""
    rows: Floats
    """float32[u, w]."""


@dataclass
class AcceptedOffsets:
    """How far each partition was accepted: its next offset range must begin exactly there."""

    offsets: dict[int, SourceOffsets] = field(default_factory=dict)

    def fits(self, offset_range: OffsetRange) -> bool:
        """Whether `offset_range` is the next of its partition.

        Of a partition that is not known yet that is the range which begins at the beginning, or
        one that is marked as the first of what is kept.
        """
        known = self.offsets.get(offset_range.partition)
        if known is None:
            return offset_range.first or not offset_range.begin
        return known == offset_range.begin

    def take(self, offset_range: OffsetRange) -> None:
        """Move on to the end of `offset_range`."""
        self.offsets[offset_range.partition] = offset_range.end


class PendingGradients:
    """What was accepted and is not in the weights yet."""

    def __init__(self) -> None:
        self.ranges: list[OffsetRange] = []
        """All accepted offset ranges, in order."""
        self.gradients: list[Gradient] = []
        """Of the ranges with examples."""
        self.examples = 0
        self.since: float | None = None
        """When the oldest example came (monotonic seconds)."""

    @property
    def contributing(self) -> list[OffsetRange]:
        """The offset ranges that have examples to learn from."""
        return [gradient.offset_range for gradient in self.gradients]

    def add(self, gradient: Gradient, monotonic: float) -> None:
        """Take a gradient of at least one example."""
        self.ranges.append(gradient.offset_range)
        self.gradients.append(gradient)
        self.examples += len(gradient)
        if self.since is None:
            self.since = monotonic

    def add_without_examples(self, offset_range: OffsetRange) -> None:
        """Take a range that there is nothing to learn from, so that it is applied in its turn."""
        self.ranges.append(offset_range)


def staleness(base: Version, current: Version) -> int | None:
    """By how many steps `base` is behind; None when it is of another epoch, or ahead.

    >>> staleness(Version(2, 7), Version(2, 9)), staleness(Version(1, 7), Version(2, 9))
    (2, None)
    """
    if base.epoch != current.epoch or base.step > current.step:
        return None
    return current.step - base.step


def total(gradients: list[Gradient]) -> SummedGradient:
    """The sum over `gradients` (at least one), in their order."""
    if len(gradients) == 1:
        only = gradients[0]
        return SummedGradient(only.dense, only.keys, only.rows)
    dense: Floats = np.stack([gradient.dense for gradient in gradients]).sum(axis=0)
    keys = np.concatenate([gradient.keys for gradient in gradients])
    rows = np.concatenate([gradient.rows for gradient in gradients])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if len(keys) == 0:
        return SummedGradient(dense, keys, rows)
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return SummedGradient(dense, keys[first], np.add.reduceat(rows[order], first, axis=0))
