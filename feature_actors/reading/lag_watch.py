"""Whether a shard reads its topics as fast as records come."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from freshrank.actors.alerts import AlertKind, AlertSink, Severity

# Seconds over which the rates are measured: bursts and pauses of a busy machine are shorter.
_OVER_S = 60.0
# Seconds of reading that wait for so long, beyond which a shard that falls behind is told of, and
# below which it has caught up.
_BEHIND_S, _CAUGHT_UP_S = 10.0, 5.0


class _Seen(NamedTuple):
    at_s: float
    read: int
    lag: int


class LagWatch:
    """Tells of a shard whose lag grows, once for each time that it falls behind.

    Features, scores and examples are as old as what waits, and get older.

    >>> watch = LagWatch()
    >>> for second in range(0, 130, 10):  # 1,000 records/s come, 600 are read
    ...     watch.update(600 * second, 400 * second, float(second))
    >>> watch.behind
    'falls behind: 600 records/s are read and 1,000 come, 48,000 wait, for 80 s'
    """

    def __init__(self, alerts: AlertSink | None = None) -> None:
        self.behind = ""
        """What is the matter; empty while the shard is not behind."""
        self._alerts = alerts
        self._seen: deque[_Seen] = deque()

    def forget(self) -> None:
        """Measure anew: what was read and what waits is of other records from now on."""
        self._seen.clear()

    def update(self, read: int, lag: int, now_s: float) -> None:
        """Take the number of records read so far, and of those that wait."""
        self._seen.append(_Seen(now_s, read, lag))
        while len(self._seen) > 1 and self._seen[1].at_s <= now_s - _OVER_S:
            self._seen.popleft()
        first = self._seen[0]
        passed_s = now_s - first.at_s
        if passed_s < _OVER_S:
            return
        rate = (read - first.read) / passed_s
        growth = (lag - first.lag) / passed_s
        waits_s = lag / rate if rate > 0.0 else 0.0  # where nothing is read it is stalled
        if waits_s < _CAUGHT_UP_S:
            self.behind = ""
        elif growth > 0.0 and first.lag > _BEHIND_S * rate > 0.0:
            self._tell(
                f"falls behind: {rate:,.0f} records/s are read and {rate + growth:,.0f} come, "
                f"{lag:,} wait, for {waits_s:.0f} s"
            )

    def _tell(self, what: str) -> None:
        told, self.behind = bool(self.behind), what
        if self._alerts is not None and not told:
            message = f"{what}: give it more CPU, or the pipeline more shards"
            self._alerts.emit(AlertKind.BEHIND, Severity.WARNING, message)
