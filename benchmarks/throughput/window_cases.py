"""The aggregates that `freshrank bench windows` measures, and how far each is off.

What they should give is recomputed from all events of an entity, without the product's code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from freshrank import (
    Count,
    DecayedCount,
    DecayedMean,
    DecayedSum,
    DistinctCount,
    FirstValue,
    Histogram,
    LastK,
    LastValue,
    Max,
    Mean,
    Min,
    Quantile,
    Session,
    SmoothedRate,
    StandardDeviation,
    Sum,
    TimeSince,
    Trend,
    Tumbling,
    Variance,
    col,
)
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.actors.messages import Doubles
from freshrank.benchmarks.throughput.window_events import UserEvents
from freshrank.feature_actors.aggregations.base import Aggregate

ROUNDING = 1e-6
"""The relative error of what is exact but for rounding."""

# Parts of the length: gaps of a session, delays, and short windows of a trend.
_GAPS, _DELAYS, _SHORTS = 30, 4, 12
_BOUNDARIES = (10.0, 20.0, 50.0)
_EXPECTED, _PRIOR = 0.1, 50.0
_TOP = 8
_ORDERS = col.kind == "order"


class Given(NamedTuple):
    """What the product gives for one entity."""

    numbers: list[float]
    bag: list[tuple[int, float]]
    """Ids and their weights."""


Off = Callable[[Given, UserEvents], float]
"""The relative error of what is given, by the events that count."""


@dataclass(frozen=True)
class AggregateCase:
    """An aggregate over a window of any length, or with a half-life, or a gap, of any length."""

    name: str
    made: Callable[[int], Aggregate]
    """By the length in milliseconds."""
    off: Off
    hops: int = 12
    """In a window; 0 where its ends are exact, or where it has none."""
    delay_share: int = 0
    """Into so many delays the length could be cut; 0: the window ends with the read."""
    windowed: bool = True
    tumbles: bool = False
    """Whether it begins anew at each multiple of the length."""
    stated: float = ROUNDING
    """The relative error beyond the hop that the aggregate promises."""
    statistical: bool = False
    """Whether that is a standard error, not a bound."""

    def events(self, history: UserEvents, *, snapped: bool) -> UserEvents:
        """Those that count: of the window as it is meant, or `snapped` to its hops."""
        if not self.windowed:
            return history
        end_ms = history.at_ms
        if self.tumbles:
            return history.within(end_ms // history.length_ms * history.length_ms, end_ms + 1)
        if self.delay_share:
            end_ms -= history.length_ms // self.delay_share
        begin_ms = end_ms - history.length_ms
        if snapped and self.hops:
            hop = -(-history.length_ms // self.hops)
            begin_ms = begin_ms // hop * hop
            end_ms = end_ms // hop * hop - 1 if self.delay_share else end_ms
        return history.within(begin_ms, end_ms + 1)


def _numbers(exact: Callable[[UserEvents], list[float]]) -> Off:
    """Compares numbers with those of `exact`."""

    def off(given: Given, history: UserEvents) -> float:
        pairs = zip(given.numbers, exact(history), strict=True)
        return max(_relative(one, true) for one, true in pairs)

    return off


def _relative(given: float, true: float) -> float:
    if math.isnan(given) or math.isnan(true):
        return 0.0 if math.isnan(given) and math.isnan(true) else math.inf
    return abs(given - true) / max(abs(true), 1e-3)


def _of_prices(function: Callable[[Doubles], float], of_none: float = math.nan) -> Off:
    return _numbers(lambda one: [float(function(one.prices)) if len(one.prices) else of_none])


def _excess(given: Given, history: UserEvents) -> float:
    """By how much a counter is off, by the decayed number of all events."""
    ids, total = hash_ints(history.items), float(history.weights.sum())
    true = [float(history.weights[ids == one].sum()) for one, _ in given.bag]
    counters = [weight for _, weight in given.bag]
    return max(abs(weight - one) for weight, one in zip(counters, true, strict=True)) / total


def _same_ids(given: Given, history: UserEvents) -> float:
    expected = hash_ints(history.items[::-1][: len(given.bag)]).tolist()
    return 0.0 if [one for one, _ in given.bag] == expected else math.inf


def _sessions(history: UserEvents) -> list[float]:
    gap_ms = history.length_ms // _GAPS
    begins = np.flatnonzero(np.diff(history.times_ms) > gap_ms) + 1
    newest = history.times_ms[begins[-1] if len(begins) else 0 :]
    idle_ms = history.at_ms - int(newest[-1])
    length_ms = int(newest[-1] - newest[0])
    now = [float(len(newest)), length_ms / 1_000] if idle_ms <= gap_ms else [0.0, 0.0]
    return [1.0 + len(begins), *now, idle_ms / 1_000]


def _median(prices: Doubles) -> float:
    return float(np.sort(prices)[(len(prices) - 1) // 2])


def _counts(given: Given, history: UserEvents) -> float:
    """By how much the count of a bucket is off, by that of all buckets."""
    kinds = np.searchsorted(_BOUNDARIES, history.prices, side="right")
    true = np.bincount(kinds, minlength=len(_BOUNDARIES) + 1)
    return float(np.abs(given.numbers - true).max() / max(1, len(kinds)))


def _rate(history: UserEvents) -> list[float]:
    ordered = int(history.orders.sum())
    return [(ordered + _PRIOR * _EXPECTED) / (len(history.orders) - ordered + _PRIOR)]


def _trend(history: UserEvents) -> list[float]:
    short_ms, counts = history.length_ms // _SHORTS, []
    for length_ms in (short_ms, history.length_ms):
        hop_ms = -(-length_ms // 12)
        begin_ms = (history.at_ms - length_ms) // hop_ms * hop_ms
        counts.append(int(np.count_nonzero(history.times_ms >= begin_ms)))
    recent, usual = counts
    return [(recent + 1.0) / (usual * short_ms / history.length_ms + 1.0)]


def _case(
    name: str, off: Off, made: Callable[[Sequence[str]], Aggregate], **more: Any
) -> AggregateCase:
    """A case whose aggregate is made from its window, half-life or gap as text."""
    return AggregateCase(name, lambda length_ms: made([f"{length_ms}ms"]), off, **more)


_COUNT = _numbers(lambda one: [float(len(one.times_ms))])
_DISTINCT = _numbers(lambda one: [float(len(np.unique(one.items)))])

CASES = (
    _case("count", _COUNT, lambda one: Count(windows=one)),
    AggregateCase(
        "count, 60 hops",
        lambda ms: Count(windows=[f"{ms}ms"], hop=f"{ms // 60}ms"),
        _COUNT,
        hops=60,
    ),
    AggregateCase(
        "count, delayed",
        lambda ms: Count(windows=[f"{ms}ms"], delay=f"{ms // _DELAYS}ms"),
        _COUNT,
        delay_share=_DELAYS,
    ),
    AggregateCase(
        "count, tumbling",
        lambda ms: Count(windows=[Tumbling(f"{ms}ms")]),
        _COUNT,
        tumbles=True,
    ),
    _case("sum", _of_prices(np.sum, 0.0), lambda one: Sum("price", windows=one)),
    _case("mean", _of_prices(np.mean), lambda one: Mean("price", windows=one)),
    _case("min", _of_prices(np.min), lambda one: Min("price", windows=one)),
    _case("max", _of_prices(np.max), lambda one: Max("price", windows=one)),
    _case("variance", _of_prices(np.var), lambda one: Variance("price", windows=one)),
    _case("deviation", _of_prices(np.std), lambda one: StandardDeviation("price", windows=one)),
    _case(
        "quantile",
        _of_prices(_median),
        lambda one: Quantile("price", between=(1, 1_000), windows=one),
        stated=0.05,
    ),
    _case(
        "histogram",
        _counts,
        lambda one: Histogram("price", boundaries=_BOUNDARIES, windows=one, shares=False),
    ),
    _case(
        "rate",
        _numbers(_rate),
        lambda one: SmoothedRate(
            of=_ORDERS, among=~_ORDERS, expected=_EXPECTED, prior=_PRIOR, windows=one
        ),
    ),
    AggregateCase(
        "trend",
        lambda ms: Trend(short=f"{ms // _SHORTS}ms", long=f"{ms}ms"),
        _numbers(_trend),
        windowed=False,
    ),
    _case(
        "distinct",
        _DISTINCT,
        lambda one: DistinctCount("item_id", windows=one, most=128),
        hops=0,
    ),
    _case(
        "distinct, estimated",
        _DISTINCT,
        lambda one: DistinctCount("item_id", windows=one, most=8, error=0.1),
        stated=0.1,
        statistical=True,
    ),
    _case(
        "decayed count",
        _excess,
        lambda one: DecayedCount(by="item_id", half_life=one[0], top=_TOP),
        windowed=False,
        stated=1 / _TOP,
    ),
    _case(
        "decayed sum",
        _numbers(lambda one: [float(one.weights @ one.prices)]),
        lambda one: DecayedSum("price", half_life=one[0]),
        windowed=False,
    ),
    _case(
        "decayed mean",
        _numbers(lambda one: [float(one.weights @ one.prices / one.weights.sum())]),
        lambda one: DecayedMean("price", half_life=one[0]),
        windowed=False,
    ),
    AggregateCase(
        "session", lambda ms: Session(gap=f"{ms // _GAPS}ms"), _numbers(_sessions), windowed=False
    ),
)
"""Those whose length is chosen."""

LIFETIME = (
    _case("count, lifetime", _COUNT, lambda _: Count(windows=["lifetime"]), windowed=False),
    _case(
        "variance, lifetime",
        _of_prices(np.var),
        lambda _: Variance("price", windows=["lifetime"]),
        windowed=False,
    ),
    _case(
        "first",
        _numbers(lambda one: [one.prices[0]]),
        lambda _: FirstValue("price"),
        windowed=False,
    ),
    _case(
        "last", _numbers(lambda one: [one.prices[-1]]), lambda _: LastValue("price"), windowed=False
    ),
    _case("last k", _same_ids, lambda _: LastK("item_id", k=20), windowed=False),
    _case(
        "time since",
        _numbers(lambda one: [(one.at_ms - int(one.times_ms[-1])) / 1_000]),
        lambda _: TimeSince(),
        windowed=False,
    ),
)
"""Those that know all events of an entity."""
