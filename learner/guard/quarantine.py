"""What a learner refused and what it noticed: named, kept for the status, and told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from freshrank.actors.alerts import AlertKind, Severity
from freshrank.actors.messages import OffsetRange, SourceOffsets
from freshrank.actors.protocols import JsonValue

# Quarantined spans that are named in the status; the counts go on beyond it.
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A span whose examples were refused: it counts as applied, and nothing is learned of it.

    Whatever had been learned of it when it was found out has been taken back.
    """

    offset_range: OffsetRange
    reason: str

    def __str__(self) -> str:
        covered = self.offset_range
        return f"partition {covered.partition} ({covered.begin})..({covered.end}): {self.reason}"


class Incident(NamedTuple):
    """An alert in the making: who tells it, and when, is added by whoever takes it."""

    kind: AlertKind
    severity: Severity
    message: str
    details: Mapping[str, JsonValue]


class Quarantine:
    """The quarantined spans, and what a person has not been told yet."""

    def __init__(self) -> None:
        self.quarantined: list[Quarantined] = []
        """The newest few."""
        self._untold: list[Incident] = []

    def refused(self, refusals: Mapping[str, Sequence[OffsetRange]], message: str = "") -> None:
        """The guard has tripped; `refusals` are the spans by the reason of each."""
        named = [
            Quarantined(one, reason) for reason in refusals for one in ranges(refusals[reason])
        ]
        self.quarantined = (self.quarantined + named)[-_KEPT:]
        offsets: list[JsonValue] = [range_to_json(one.offset_range) for one in named]
        told = "; ".join([*([message] if message else []), *(str(one) for one in named)])
        self.add(AlertKind.GUARD_TRIPPED, Severity.WARNING, told, {"quarantined": offsets})

    def add(
        self,
        kind: AlertKind,
        severity: Severity,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Something that a person should hear of."""
        self._untold.append(Incident(kind, severity, message, details or {}))

    def take(self) -> list[Incident]:
        """What has not been told yet."""
        untold, self._untold = self._untold, []
        return untold


def ranges(spans: Sequence[OffsetRange]) -> list[OffsetRange]:
    """The same records in as few spans as their order allows.

    >>> def views(partition: int, begin: int, end: int) -> OffsetRange:
    ...     bounds = SourceOffsets({"views": begin}), SourceOffsets({"views": end})
    ...     return OffsetRange(partition, *bounds)
    >>> found = ranges([views(0, 1, 3), views(1, 5, 6), views(0, 3, 4)])
    >>> found == [views(0, 1, 4), views(1, 5, 6)]
    True
    """
    found: dict[int, list[OffsetRange]] = {}
    for offset_range in spans:
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
