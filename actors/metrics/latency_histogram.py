"""A latency histogram of fixed size: quantiles with a known error, mergeable, plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.protocols import JsonValue

# Each bucket is 4 % wider than the previous: a quantile is at most 2 % off.
_GROWTH = 1.04
# Milliseconds, ten microseconds: smaller values count as this value.
_LEAST = 0.01
# Latencies that are added to a histogram at once: for each alone NumPy takes longer than scoring.
_BATCH = 1_000
# Values beyond 0.01 ms * 1.04**750, about 16 hours, fall into the last bucket.
_BUCKETS = 752
_LOG_GROWTH = math.log(_GROWTH)


class LatencyHistogram:
    """Counts of latencies in milliseconds, in buckets of geometrically growing width.

    >>> histogram = LatencyHistogram()
    >>> histogram.add(np.array([1.0, 2.0, 100.0]))
    >>> histogram.count, round(histogram.quantile(0.5), 1)
    (3, 2.0)
    """

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(_BUCKETS, dtype=np.int64)

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values_ms: Doubles | Ints) -> None:
        """Count each of `values_ms` (shape [n]); a negative value counts as zero."""
        scaled = np.log(np.maximum(values_ms, _LEAST) / _LEAST) / _LOG_GROWTH
        buckets = np.minimum(scaled.astype(np.int64), _BUCKETS - 1)
        self._counts += np.bincount(buckets, minlength=_BUCKETS)

    def quantile(self, share: float) -> float:
        """The value that `share` (0..1) of the values do not exceed; NaN without values."""
        count = self.count
        if count == 0:
            return math.nan
        wanted = min(max(math.ceil(share * count), 1), count)
        bucket = int(np.searchsorted(np.cumsum(self._counts), wanted))
        return _LEAST * math.exp((bucket + 0.5) * _LOG_GROWTH)

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of `other`."""
        self._counts += other._counts

    def to_json(self) -> dict[str, JsonValue]:
        """Count and quantiles for a status, and the sparse counts that `from_json` reads."""
        filled = np.flatnonzero(self._counts)
        empty = len(filled) == 0
        return {
            "count": self.count,
            "p50_ms": None if empty else round(self.quantile(0.5), 3),
            "p99_ms": None if empty else round(self.quantile(0.99), 3),
            "buckets": [[int(bucket), int(self._counts[bucket])] for bucket in filled],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, JsonValue]) -> LatencyHistogram:
        """Read the JSON that `to_json` gave; raises ValueError on any other."""
        histogram = cls()
        buckets = found.get("buckets")
        if not isinstance(buckets, list):
            raise ValueError("a histogram without a list of buckets")
        for pair in buckets:
            if not isinstance(pair, list) or len(pair) != 2:
                raise ValueError(f"not a histogram bucket: {pair!r}")
            bucket, count = pair
            if not isinstance(bucket, int) or not isinstance(count, int):
                raise ValueError(f"not a histogram bucket: {pair!r}")
            if not 0 <= bucket < _BUCKETS or count < 0:
                raise ValueError(f"not a histogram bucket: {pair!r}")
            histogram._counts[bucket] += count
        return histogram


class RecentLatencies:
    """A histogram of recent latencies in bounded memory: those of the last period or two.

    Parameters
    ----------
    period_s
        Seconds after which the older half is dropped.
    """

    def __init__(self, period_s: float = 30.0) -> None:
        self._period_s = period_s
        self._since: float | None = None
        self._older = LatencyHistogram()
        self._newer = LatencyHistogram()
        self._waiting_ms: list[float] = []

    def add_one(self, value_ms: float, monotonic: float) -> None:
        """Count a latency that ended at `monotonic` seconds: with others, or when it is asked for.

        >>> recent = RecentLatencies()
        >>> recent.add_one(3.0, monotonic=1.0)
        >>> recent.at(monotonic=2.0).count
        1
        """
        self._waiting_ms.append(value_ms)
        if len(self._waiting_ms) >= _BATCH:
            self._collect(monotonic)

    def add(self, values_ms: Doubles | Ints, monotonic: float) -> None:
        """Count `values_ms`, measured at `monotonic` seconds."""
        self._rotate(monotonic)
        self._newer.add(values_ms)

    def at(self, monotonic: float) -> LatencyHistogram:
        """The latencies of the last period or two before `monotonic` seconds."""
        self._collect(monotonic)
        self._rotate(monotonic)
        both = LatencyHistogram()
        both.merge(self._older)
        both.merge(self._newer)
        return both

    def _collect(self, monotonic: float) -> None:
        if self._waiting_ms:
            self.add(np.array(self._waiting_ms), monotonic)
            self._waiting_ms.clear()

    def _rotate(self, monotonic: float) -> None:
        if self._since is None:
            self._since = monotonic
        passed = monotonic - self._since
        if passed >= self._period_s:
            self._older = self._newer if passed < 2 * self._period_s else LatencyHistogram()
            self._newer = LatencyHistogram()
            self._since = monotonic
