"""Whether records are deleted before they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.protocols import EventSource
from freshrank.actors.records import DeletedRecords

# Seconds for which the health tells of records that were lost.
TOLD_S = 3600.0


class RetentionWatch:
    """Tells of records that were deleted before they were read: an alert, and in the health.

    >>> watch = RetentionWatch()
    >>> watch.note(DeletedRecords("plays", 3, 10, 50), now_s=0.0)
    >>> watch.lost(now_s=1.0)
    {'plays-3 retention': '40 record(s) from offset 10 on were deleted before they were read: \
raise retention.ms of the topic, or add shards'}
    """

    def __init__(self, alerts: AlertSink | None = None) -> None:
        self._alerts = alerts
        self._lost: dict[str, tuple[float, str]] = {}

    def note(self, deleted: DeletedRecords, now_s: float) -> None:
        """Tell of these records. The latest of a partition is what the health tells."""
        what = (
            f"{deleted.end - deleted.begin} record(s) from offset {deleted.begin} on were deleted "
            "before they were read: raise retention.ms of the topic, or add shards"
        )
        name = f"{deleted.topic}-{deleted.partition}"
        self._lost[f"{name} retention"] = now_s, what
        if self._alerts is not None:
            self._alerts.emit(AlertKind.LOST_TO_RETENTION, Severity.ERROR, f"{name}: {what}")

    async def begin(self, source: EventSource, places: Iterable[tuple[str, int]]) -> None:
        """Tell of topics whose oldest records had been deleted when a state began with them.

        `places` are the (topic, partition) that are read from their oldest record on. Nothing is
        lost that the state could have had, so the health says nothing. Raises Unavailable.
        """
        deleted: Counter[str] = Counter()
        partitions: Counter[str] = Counter()
        for topic, partition in places:
            oldest, _ = await source.bounds(topic, partition)
            deleted[topic] += oldest
            partitions[topic] += oldest > 0
        for topic, count in deleted.items():
            if count and self._alerts is not None:
                self._alerts.emit(
                    AlertKind.BEGINS_LATE,
                    Severity.WARNING,
                    f"{topic}: the oldest {count} record(s), in {partitions[topic]} partition(s), "
                    "had been deleted before this state began: features, those over a lifetime "
                    "above all, lack them. `freshrank backfill` takes them from files",
                )

    def lost(self, now_s: float) -> dict[str, str]:
        """By partition: what was lost within the last hour."""
        return {name: what for name, (at_s, what) in self._lost.items() if now_s - at_s < TOLD_S}
