"""The events of `freshrank bench windows`, for the product and for what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from freshrank import Entity, Stream
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.feature_actors.streams.columns import Columns

# Lengths of a window that the events of a user span: the first ones have left it by the end.
SPAN = 3.0
ITEMS = 60
# Events of a batch: as many as a shard polls at most.
BATCH = 20_000
BEGIN_MS = 1_700_000_000_000


class WindowEvent(msgspec.Struct):
    """An event of the bench."""

    event_id: str
    user_id: str
    ts: int
    item_id: int
    price: float
    kind: str
    """``view`` or ``order``."""


user = Entity("user", key="user_id")
touches = Stream("touches", id="event_id", time="ts", key=user, schema=WindowEvent)


@dataclass(frozen=True)
class UserEvents:
    """The events of one entity, the oldest first, and the time of a read."""

    times_ms: Ints
    items: Ints
    prices: Doubles
    orders: Bools
    at_ms: int
    length_ms: int
    """Of the window, or the half-life."""

    def within(self, begin_ms: int, end_ms: int) -> UserEvents:
        """The events with ``begin_ms <= time < end_ms``."""
        one, other = self.times_ms.searchsorted([begin_ms, end_ms]).tolist()
        return replace(
            self,
            times_ms=self.times_ms[one:other],
            items=self.items[one:other],
            prices=self.prices[one:other],
            orders=self.orders[one:other],
        )

    @property
    def weights(self) -> Doubles:
        """By which each event counts, where it halves in every half-life."""
        halves: Doubles = np.exp2((self.times_ms - self.at_ms) / self.length_ms)
        return halves


class WindowEvents:
    """The events of all users by time, stretched over windows of `length_ms`."""

    def __init__(self, users: int, per_user: int, length_ms: int) -> None:
        rng, count = np.random.default_rng(0), users * per_user
        span_ms = int(SPAN * length_ms)
        self.users: Ints = rng.integers(0, users, count)
        self.users[:users] = np.arange(users)  # each has one
        self.items: Ints = rng.integers(1, ITEMS + 1, count)
        self.prices: Doubles = rng.lognormal(3.0, 0.8, count).round(2)
        self.orders: Bools = rng.random(count) < 0.1
        self.times_ms: Ints = BEGIN_MS + np.sort(rng.random(count) * span_ms).astype(np.int64)
        self.reads_ms: Ints = BEGIN_MS + span_ms + rng.integers(0, length_ms // 2, users)
        """int64[users]: when each is read."""
        self.length_ms = length_ms

    def batches(self) -> list[Columns]:
        """The events as the codec gives them."""
        rows = zip(
            *(one.tolist() for one in (self.users, self.items, self.prices, self.orders)),
            strict=True,
        )
        times_ms = self.times_ms.tolist()
        events = [
            WindowEvent(
                str(at), user_name(user), times_ms[at], item, price, "order" if order else "view"
            )
            for at, (user, item, price, order) in enumerate(rows)
        ]
        columns = Columns.of_events(
            touches.fields, list(events), np.arange(len(events)), self.times_ms
        )
        return [columns.between(at, at + BATCH) for at in range(0, len(events), BATCH)]

    def histories(self) -> Iterator[UserEvents]:
        """Of each user."""
        order = np.argsort(self.users, kind="stable")
        ends = np.bincount(self.users).cumsum()
        for places, at_ms in zip(np.split(order, ends[:-1]), self.reads_ms.tolist(), strict=True):
            yield UserEvents(
                self.times_ms[places],
                self.items[places],
                self.prices[places],
                self.orders[places],
                at_ms,
                self.length_ms,
            )
