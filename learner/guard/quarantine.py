"""Offset ranges that the guard refused, and the alerts that are still to be raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.messages import OffsetRange, SourceOffsets
from freshrank.actors.protocols import JsonValue

# Quarantined offset ranges that the status names: as many as fit on a screen. All are counted.
_NAMED = 20


class Refusal(StrEnum):
    """Why the guard refuses examples, as a kind that can be counted."""

    GRADIENT = "gradient"
    """Their gradient is not finite, or explodes."""
    STEP = "step"
    """A step that learned them gave weights beyond their bound."""
    LOSS = "loss"
    """Their loss was worse, and that of the restored weights after them was not."""
    PARTITION = "partition"
    """Their partition alone has a worse loss."""
    CHALLENGER = "challenger"
    """A challenger that learned them was no better than the restored weights."""
    INPUTS = "inputs"
    """They were held back when the inputs of the model changed, and had those of before."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An offset range whose examples were refused: it counts as applied and was not learned.

    Where it had been learned before it was refused, that was undone.
    """

    offset_range: OffsetRange
    reason: str

    def __str__(self) -> str:
        covered = self.offset_range
        return f"partition {covered.partition} ({covered.begin})..({covered.end}): {self.reason}"


class PendingAlert(NamedTuple):
    """The arguments of `AlertSink.emit`, until the actor around the learner calls it."""

    kind: AlertKind
    severity: Severity
    message: str
    details: Mapping[str, JsonValue]


class Quarantine:
    """The newest quarantined offset ranges, and the alerts that are still to be raised."""

    def __init__(self) -> None:
        self.quarantined: list[Quarantined] = []
        """The newest `_NAMED`."""
        self._alerts: list[PendingAlert] = []

    def refused(self, refusals: Mapping[str, Sequence[OffsetRange]], message: str = "") -> None:
        """Quarantine offset ranges, given by the reason for each, and raise one alert for all."""
        named = [
            Quarantined(offset_range, reason)
            for reason in refusals
            for offset_range in merged(refusals[reason])
        ]
        self.quarantined = (self.quarantined + named)[-_NAMED:]
        offsets: list[JsonValue] = [range_to_json(refused.offset_range) for refused in named]
        text = "; ".join([*([message] if message else []), *(str(refused) for refused in named)])
        self.add(AlertKind.GUARD_TRIPPED, Severity.WARNING, text, {"quarantined": offsets})

    def add(
        self,
        kind: AlertKind,
        severity: Severity,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Add an alert that is to be raised."""
        self._alerts.append(PendingAlert(kind, severity, message, details or {}))

    def take(self) -> list[PendingAlert]:
        """Give the alerts that are to be raised, and forget them."""
        alerts, self._alerts = self._alerts, []
        return alerts


def merged(ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
    """The same records in as few offset ranges as their order allows.

    >>> def views(partition: int, begin: int, end: int) -> OffsetRange:
    ...     bounds = SourceOffsets({"views": begin}), SourceOffsets({"views": end})
    ...     return OffsetRange(partition, *bounds)
    >>> found = merged([views(0, 1, 3), views(1, 5, 6), views(0, 3, 4)])
    >>> found == [views(0, 1, 4), views(1, 5, 6)]
    True
    """
    found: dict[int, list[OffsetRange]] = {}
    for offset_range in ranges:
        of_partition = found.setdefault(offset_range.partition, [])
        follows = bool(of_partition) and of_partition[-1].end == offset_range.begin
        begin = of_partition.pop().begin if follows else offset_range.begin
        of_partition.append(OffsetRange(offset_range.partition, begin, offset_range.end))
    return [offset_range for partition in sorted(found) for offset_range in found[partition]]


def range_to_json(offset_range: OffsetRange) -> list[JsonValue]:
    """Partition, begin and end, for files and alerts."""
    return [offset_range.partition, dict(offset_range.begin), dict(offset_range.end)]


def range_from_json(found: Sequence[Any], topics: Sequence[str]) -> OffsetRange:
    """What `range_to_json` gave; files of format 3 have offsets in the order of `topics`."""
    partition, begin, end = found
    return OffsetRange(
        partition, SourceOffsets.from_json(begin, topics), SourceOffsets.from_json(end, topics)
    )
