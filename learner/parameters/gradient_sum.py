"""Which offset ranges are accepted, and the sum of their gradients that one step learns from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.messages import (
    Doubles,
    Floats,
    Gradient,
    Ints,
    OffsetRange,
    Probes,
    SourceOffsets,
    Version,
)
from freshrank.learner.parameters.input_moments import merge
from freshrank.learner.parameters.probes import all_probes


@dataclass(frozen=True, slots=True)
class SummedGradient:
    """What one step learns from."""

    dense: Floats
    """float32[p]."""
    keys: Ints
    """int64[u], distinct, ascending."""
    rows: Floats
    """float32[u, w]."""
    dense_squares: Floats
    """float32[p]: see `Gradient`."""
    row_squares: Floats
    """float32[u, w]: see `Gradient`."""
    row_counts: Floats
    """float32[u]: see `Gradient`."""
    moments: Doubles
    """float64[3, d]: of the examples' dense inputs."""
    examples: int
    """How many there are."""
    probes: Probes | None = None
    """Of all examples; None: the step has no bound."""
    apart: int = 0
    """How many gradients it sums that know nothing of each other, the examples of each being
    learned in order; 0: those of one know nothing of each other either."""


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

    @property
    def forgotten(self) -> Ints:
        """int64[k]: the ids whose rows begin again after the step."""
        return np.array([key for one in self.ranges for key in one.forgotten], dtype=np.int64)

    @property
    def needs_step(self) -> bool:
        """Whether anything of it changes the weights."""
        return self.examples > 0 or any(one.forgotten for one in self.ranges)

    def due_in_s(self, monotonic: float, most: int, wait_s: float) -> float | None:
        """Seconds until a step is due: `wait_s` after the first example, or at once.

        At once with `most` examples, and with nothing but ids to forget. None: nothing waits.
        """
        if self.since is None:
            return 0.0 if self.needs_step else None
        return 0.0 if self.examples >= most else max(0.0, self.since + wait_s - monotonic)

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


def total(gradients: list[Gradient], lag: int = 0) -> SummedGradient:
    """The sum over `gradients` (at least one), in their order.

    `lag` counts the steps that were taken since the weights of the oldest: it does not know these.
    """
    apart = len(gradients) + lag if all(one.in_order for one in gradients) else 0
    if len(gradients) == 1:
        only = gradients[0]
        return SummedGradient(
            only.dense,
            only.keys,
            only.rows,
            only.dense_squares,
            only.row_squares,
            only.row_counts,
            only.moments,
            len(only),
            only.probes,
            apart,
        )
    keys = np.concatenate([gradient.keys for gradient in gradients])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else order

    def summed(parts: list[Floats]) -> Floats:
        """Of rows, by key."""
        rows = np.concatenate(parts)
        found: Floats = np.add.reduceat(rows[order], first, axis=0) if len(keys) else rows
        return found

    return SummedGradient(
        dense=np.stack([gradient.dense for gradient in gradients]).sum(axis=0),
        keys=keys[first],
        rows=summed([gradient.rows for gradient in gradients]),
        dense_squares=np.stack([gradient.dense_squares for gradient in gradients]).sum(axis=0),
        row_squares=summed([gradient.row_squares for gradient in gradients]),
        row_counts=summed([gradient.row_counts for gradient in gradients]),
        moments=functools.reduce(merge, [gradient.moments for gradient in gradients]),
        examples=sum(map(len, gradients)),
        probes=all_probes(gradients),
        apart=apart,
    )
