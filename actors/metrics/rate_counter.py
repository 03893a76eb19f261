"""Events per second, over the last few seconds."""

from __future__ import annotations

from collections import deque

# Moments kept of a period: events are dated to a sixty-fourth of it.
_MOMENTS = 64


class RateCounter:
    """The rate of events over the last `period_s` seconds, or since the first count if shorter.

    Parameters
    ----------
    period_s
        Long enough for a steady number, short enough to show a stall.

    >>> rate = RateCounter(period_s=5.0)
    >>> rate.add(0, 10.0), rate.add(300, 12.0)
    (None, None)
    >>> rate.per_second(13.0), rate.per_second(16.9), rate.per_second(17.0)
    (100.0, 60.0, 0.0)
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._total = 0
        self._observed: int | None = None
        self._since: float | None = None
        """When the first count came; its events happened before."""
        self._totals: deque[tuple[float, int]] = deque()
        """(monotonic seconds, total up to and with that moment), ascending."""

    def add(self, count: int, monotonic: float) -> None:
        """Count `count` events at `monotonic` seconds."""
        self._total += count
        if self._since is None:
            self._since = monotonic
        last = self._totals[-1][0] if self._totals else None
        if last is not None and monotonic - last < self._period_s / _MOMENTS:
            self._totals[-1] = (last, self._total)
        else:
            self._totals.append((monotonic, self._total))
        self._forget(monotonic)

    def observe(self, total: int, monotonic: float) -> None:
        """Take a total that is counted elsewhere; a total that has fallen (a restart) adds 0."""
        last = total if self._observed is None else self._observed
        self._observed = total
        self.add(max(0, total - last), monotonic)

    def per_second(self, monotonic: float) -> float | None:
        """The rate as of `monotonic`; None while no time has passed since the first count."""
        if self._since is None or monotonic <= self._since:
            return None
        self._forget(monotonic)
        before = self._totals[0][1]
        return (self._total - before) / min(self._period_s, monotonic - self._since)

    def _forget(self, monotonic: float) -> None:
        """Keep the newest total from before the period, and those within."""
        while len(self._totals) > 1 and self._totals[1][0] <= monotonic - self._period_s:
            self._totals.popleft()
