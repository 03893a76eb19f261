"""Features recomputed from the raw events: what every compiled aggregate is compared with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from freshrank.actors.kernels.hashing import hash_ints, hash_text
from freshrank.actors.snapshots.file_format import Array
from freshrank.feature_actors.aggregations.windowed.windows import Window
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.stream import Entity, Stream

START_MS = 1_700_000_000_000

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

EPOCH_DAY = date(1970, 1, 1).toordinal()

Condition = Callable[["Behaviour"], bool]
Bag = list[tuple[int, float]]


class Behaviour(msgspec.Struct):
    event_id: str
    user_id: str
    ts: int
    type: str = "view"
    item_id: int = 1
    category: str | None = None
    price: float | None = None
    quantity: int | None = None


user = Entity("user", key="user_id")
stream = Stream("behaviour", id="event_id", time="ts", key=user, schema=Behaviour)


def columns_of(events: Sequence[Behaviour], first_offset: int = 0) -> Columns:
    return Columns.of_events(
        stream.fields,
        list(events),
        np.arange(first_offset, first_offset + len(events), dtype=np.int64),
        np.array([event.ts for event in events], dtype=np.int64),
    )


def always(_: Behaviour) -> bool:
    return True


class Days(NamedTuple):
    """A tumbling window."""

    length_ms: int
    begins_ms: int = 0
    back: int = 0
    """0 for the one that is on, 1 for the one before."""
    delay_ms: int = 0
    zone: str | None = None

    def number(self, ts: int) -> int:
        if self.zone is None:
            return (ts - self.begins_ms) // self.length_ms
        # A beginning that is on the clock twice is the first: dates do not go back.
        until_now = range(ts - 2 * HOUR_MS, ts + 1, MINUTE_MS)
        return max(_date_of(self.zone, self.begins_ms, at) for at in until_now) // (
            self.length_ms // DAY_MS
        )


@lru_cache(maxsize=100_000)
def _date_of(zone: str, begins_ms: int, ts: int) -> int:
    """The number of the date on the clock, of days that begin so long after midnight."""
    moment = datetime.fromtimestamp(ts / 1000, ZoneInfo(zone)).replace(tzinfo=None)
    return (moment - timedelta(milliseconds=begins_ms)).date().toordinal() - EPOCH_DAY


Stretch: TypeAlias = Window | Days | None
"""None: a lifetime."""


class Naive:
    """The events of one entity, in order of arrival, read as of a time."""

    def __init__(self, events: Sequence[Behaviour]) -> None:
        self.events = list(events)

    def as_of(self, at_ms: int) -> int:
        return max([at_ms, *(event.ts for event in self.events)])

    def window(self, window: Stretch, where: Condition, at_ms: int) -> list[Behaviour]:
        if window is None:
            return [event for event in self.events if where(event)]
        if isinstance(window, Days):
            day = window.number(self.as_of(at_ms) - window.delay_ms) - window.back
            return [one for one in self.events if where(one) and window.number(one.ts) == day]
        at = self.as_of(at_ms) - window.delay_ms
        begin = max(at - window.length_ms, 0) // window.hop_ms * window.hop_ms
        end = at // window.hop_ms * window.hop_ms if window.delay_ms else at + 1
        return [event for event in self.events if where(event) and begin <= event.ts < end]

    def count(self, window: Stretch, where: Condition, at_ms: int) -> float:
        return float(len(self.window(window, where, at_ms)))

    def trend(
        self, windows: tuple[Window, Window], prior: float, where: Condition, at_ms: int
    ) -> float:
        """The rate in the short window over that in the long one."""
        short, long = windows
        recent, usual = (self.count(window, where, at_ms) for window in windows)
        return (recent + prior) / (usual * (short.length_ms / long.length_ms) + prior)

    def prices(self, window: Stretch, where: Condition, at_ms: int) -> list[float]:
        chosen = self.window(window, where, at_ms)
        return [event.price for event in chosen if event.price is not None]

    def mean(self, window: Stretch, where: Condition, at_ms: int) -> float:
        prices = self.prices(window, where, at_ms)
        return sum(prices) / len(prices) if prices else math.nan

    def variance(self, window: Stretch, where: Condition, at_ms: int) -> float:
        prices = self.prices(window, where, at_ms)
        return statistics.pvariance(prices) if prices else math.nan

    def deviation(self, window: Stretch, where: Condition, at_ms: int) -> float:
        return math.sqrt(self.variance(window, where, at_ms))

    def distinct(
        self, window: Stretch, where: Condition, key: Callable[[Behaviour], int], at_ms: int
    ) -> float:
        near = self.window(window, where, at_ms)
        return float(len({key(one) for one in near} - {0}))

    def decayed_numbers(
        self, half_life_ms: int, where: Condition, at_ms: int
    ) -> tuple[float, float]:
        """The decayed sum and mean of the prices."""
        at = self.as_of(at_ms)
        known = [(one.ts, one.price) for one in self.events if where(one) and one.price is not None]
        weights = [0.5 ** ((at - ts) / half_life_ms) for ts, _ in known]
        total = sum(weight * price for weight, (_, price) in zip(weights, known, strict=True))
        return total, total / sum(weights) if sum(weights) else math.nan

    def in_order(self, where: Condition) -> list[float]:
        """The prices by event time, those of one time as they came."""
        known = [(one.ts, one.price) for one in self.events if where(one) and one.price is not None]
        return [price for _, price in sorted(known, key=lambda pair: pair[0])]

    def sum(self, window: Stretch, where: Condition, at_ms: int) -> float:
        return sum(self.prices(window, where, at_ms))

    def max(self, window: Stretch, where: Condition, at_ms: int) -> float:
        return max(self.prices(window, where, at_ms), default=math.nan)

    def min(self, window: Stretch, where: Condition, at_ms: int) -> float:
        return min(self.prices(window, where, at_ms), default=math.nan)

    def time_since(self, where: Condition, at_ms: int) -> float:
        times = [event.ts for event in self.events if where(event)]
        return (self.as_of(at_ms) - max(times)) / 1000 if times else math.nan

    def session(self, gap_ms: int, where: Condition, at_ms: int) -> list[float]:
        """Sessions, then depth, length and idle time of the newest, as the events came."""
        count, times = 0, list[int]()
        for one in filter(where, self.events):
            if not times or one.ts > max(times) + gap_ms:
                count, times = count + 1, [one.ts]
            elif one.ts >= min(times) - gap_ms:
                times.append(one.ts)
        idle_ms = self.as_of(at_ms) - max(times) if times else math.nan
        on = idle_ms <= gap_ms
        length_s = (max(times) - min(times)) / 1_000 if on else 0.0
        return [float(count), float(len(times)) if on else 0.0, length_s, idle_ms / 1_000]

    def last_k(self, k: int, where: Condition, key: Callable[[Behaviour], int]) -> Bag:
        order = sorted(
            (event.ts, arrival, key(event))
            for arrival, event in enumerate(self.events)
            if where(event) and key(event) != 0
        )
        return [(one, 1.0) for _, _, one in reversed(order[-k:])]

    def last_k_distinct(self, k: int, where: Condition, key: Callable[[Behaviour], int]) -> Bag:
        every = self.last_k(len(self.events), where, key) if self.events else []
        return list(dict.fromkeys(every))[:k]

    def decayed(
        self, half_life_ms: int, where: Condition, key: Callable[[Behaviour], int], at_ms: int
    ) -> dict[int, float]:
        at, found = self.as_of(at_ms), dict[int, float]()
        for event in self.events:
            if where(event) and key(event) != 0:
                weight = 0.5 ** ((at - event.ts) / half_life_ms)
                found[key(event)] = found.get(key(event), 0.0) + weight
        return found


def item(event: Behaviour) -> int:
    return int(hash_ints(np.array([event.item_id]))[0])


def category(event: Behaviour) -> int:
    return 0 if event.category is None else hash_text(event.category)


def everything_of(table: EntityTable) -> dict[str, Array]:
    """The table's arrays of this moment."""
    frozen = table.freeze()
    assert table.copy_rows(None)
    return frozen()
