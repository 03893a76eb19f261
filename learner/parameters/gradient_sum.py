"""Which spans are taken, and their gradients summed until a step is due."""

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
class Accepted:
    """How far each partition was taken: the next span must begin exactly there."""

    offsets: dict[int, SourceOffsets] = field(default_factory=dict)

    def fits(self, offset_range: OffsetRange) -> bool:
        """Whether `offset_range` is the next of its partition (or the first that there is)."""
        known = self.offsets.get(offset_range.partition)
        if known is None:
            return offset_range.first or not offset_range.begin
        return known == offset_range.begin

    def take(self, offset_range: OffsetRange) -> None:
        """Move on to the end of `offset_range`."""
        self.offsets[offset_range.partition] = offset_range.end


class Pending:
    """What was taken and is not yet in the weights."""

    def __init__(self) -> None:
        self.spans: list[OffsetRange] = []
        """All, in order."""
        self.gradients: list[Gradient] = []
        self.examples = 0
        self.since: float | None = None
        """When the oldest example came (monotonic seconds)."""

    @property
    def taught(self) -> list[OffsetRange]:
        """The spans that there is something to learn from."""
        return [one.offset_range for one in self.gradients]

    def add(self, gradient: Gradient, monotonic: float) -> None:
        """Take a span with at least one example."""
        self.spans.append(gradient.offset_range)
        self.gradients.append(gradient)
        self.examples += len(gradient)
        if self.since is None:
            self.since = monotonic

    def add_without_examples(self, offset_range: OffsetRange) -> None:
        """Take a span that teaches nothing, so that it counts as applied in its turn."""
        self.spans.append(offset_range)


def staleness(base: Version, current: Version) -> int | None:
    """By how many steps `base` is behind; None when it is of another learner's life.

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
    dense: Floats = np.stack([one.dense for one in gradients]).sum(axis=0)
    keys = np.concatenate([one.keys for one in gradients])
    rows = np.concatenate([one.rows for one in gradients])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if len(keys) == 0:
        return SummedGradient(dense, keys, rows)
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return SummedGradient(dense, keys[first], np.add.reduceat(rows[order], first, axis=0))
