"""A simulated shop: what its shoppers browse, and which of the shown items they click.

Random numbers come from a generator that is passed in, time from the arguments. Two tastes drift,
fast enough to be seen in a demonstration of a minute or two:

* what *all* shoppers like (each category's trend, each item's hype): only a model that keeps
  learning knows the present values, so fresh weights beat frozen ones;
* which category *each* shopper is interested in: it shows in their events of the last seconds, so
  fresh features beat old ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from freshrank.actors.messages import Doubles, Ints

# Mean reversion times in seconds: weights that are a minute old know little of the present tastes.
TREND_MEMORY_S = 60.0
HYPE_MEMORY_S = 90.0
# Mean seconds for which a shopper stays with a category: several events at the demo's rates.
INTEREST_S = 45.0
# Log-odds of a click, and what each reason adds to them: interest if the item is of the shopper's
# category, trend and hype per unit (both have a standard deviation of 1).
CLICK_AT_REST = -2.6
CLICK_INTEREST = 2.0
CLICK_TREND = 1.3
CLICK_HYPE = 0.9
# The share of browsed items that are of the shopper's category.
BROWSE_IN_INTEREST = 0.8
# The kinds of events of browsing, and their shares.
BROWSE_KINDS = ("view", "cart", "order")
BROWSE_SHARES = (0.9, 0.07, 0.03)
# The share of clicks that lead to a cart, and of those carts that lead to an order.
CART_AFTER_CLICK = 0.2
ORDER_AFTER_CART = 0.4
# The least and the most milliseconds from the showing to a click, and from each event to the next.
REACTION_MS = (150, 1_200)


class ShopEvent(msgspec.Struct, frozen=True):
    """An event of a shopper, as it is written to the topic (JSON)."""

    event_id: str
    user_id: str
    item_id: int
    category_id: int
    type: str
    """``view``, ``click``, ``cart`` or ``order``."""
    price: float
    ts: int
    """Event time in ms since the Unix epoch."""


class Candidate(msgspec.Struct, frozen=True):
    """An item that may be shown, as a request to score lists it."""

    item_id: int
    category_id: int


class ShopProduct(msgspec.Struct, frozen=True):
    """A row of the shop's catalogue, as it is written to a table's topic (JSON)."""

    item_id: int
    category_id: int
    price: float


@dataclass(frozen=True, slots=True)
class ShopSize:
    """The numbers of shoppers, items and categories."""

    users: int = 2_000
    items: int = 300
    categories: int = 20


class Shop:
    """A shop, its shoppers and their drifting tastes.

    Parameters
    ----------
    rng
        The only source of randomness.
    run
        A prefix of the event ids, so that no two runs have the same ones.
    size
        The default is `ShopSize()`.
    """

    def __init__(self, rng: np.random.Generator, run: str, size: ShopSize | None = None) -> None:
        self._rng = rng
        self._run = run
        self._size = size or ShopSize()
        self._sent = 0
        items, categories = self._size.items, self._size.categories
        self._category: Ints = np.arange(items, dtype=np.int64) % categories
        self._members = [
            np.flatnonzero(self._category == category) for category in range(categories)
        ]
        self._price: Doubles = rng.lognormal(3.0, 0.8, items).round(2)
        self._trend: Doubles = rng.normal(size=categories)
        self._hype: Doubles = rng.normal(size=items)
        self._interest: Ints = rng.integers(0, categories, self._size.users)

    def advance(self, seconds: float) -> None:
        """Let tastes drift for `seconds`."""
        self._trend = self._drifted(self._trend, seconds / TREND_MEMORY_S)
        self._hype = self._drifted(self._hype, seconds / HYPE_MEMORY_S)
        users = self._size.users
        moved = np.flatnonzero(self._rng.random(users) < -math.expm1(-seconds / INTEREST_S))
        self._interest[moved] = self._rng.integers(0, self._size.categories, len(moved))

    def products(self) -> list[ShopProduct]:
        """Return the catalogue: a row of each item."""
        rows = zip(self._category.tolist(), self._price.tolist(), strict=True)
        return [
            ShopProduct(item + 1, category + 1, price)
            for item, (category, price) in enumerate(rows)
        ]

    def browse(self, count: int, at_ms: int) -> list[ShopEvent]:
        """Return an event of each of `count` random shoppers, at `at_ms`."""
        rng = self._rng
        users = rng.integers(0, self._size.users, count)
        categories = np.where(
            rng.random(count) < BROWSE_IN_INTEREST,
            self._interest[users],
            rng.integers(0, self._size.categories, count),
        )
        kinds = rng.choice(len(BROWSE_KINDS), count, p=BROWSE_SHARES)
        picks = rng.random(count)
        events = []
        for user, category, kind, pick in zip(
            users.tolist(), categories.tolist(), kinds.tolist(), picks.tolist(), strict=True
        ):
            members = self._members[category]
            item = int(members[int(pick * len(members))])
            events.append(self._event(self._name(user), item, BROWSE_KINDS[kind], at_ms))
        return events

    def visitor(self) -> str:
        """Return a random shopper, who visits the page next."""
        return self._name(int(self._rng.integers(0, self._size.users)))

    def candidates(self, count: int) -> list[Candidate]:
        """Return `count` different items that may be shown."""
        chosen = self._rng.choice(self._size.items, count, replace=False)
        return [Candidate(item + 1, int(self._category[item]) + 1) for item in chosen.tolist()]

    def click_probability(self, user: str, shown: Sequence[Candidate]) -> Doubles:
        """Return the probability that `user` clicks each item, by present tastes: float64[n]."""
        items = np.array([candidate.item_id - 1 for candidate in shown], dtype=np.int64)
        categories = self._category[items]
        wanted = categories == self._interest[int(user.removeprefix("u"))]
        log_odds = (
            CLICK_AT_REST
            + CLICK_INTEREST * wanted
            + CLICK_TREND * self._trend[categories]
            + CLICK_HYPE * self._hype[items]
        )
        probability: Doubles = 1.0 / (1.0 + np.exp(-log_odds))
        return probability

    def react(self, user: str, shown: Sequence[Candidate], at_ms: int) -> list[ShopEvent]:
        """Return the events with which `user` reacts to items that are shown at `at_ms`.

        They are of the next seconds and ordered by time; without a click there are none.
        """
        clicked = self._rng.random(len(shown)) < self.click_probability(user, shown)
        events: list[ShopEvent] = []
        for candidate, hit in zip(shown, clicked.tolist(), strict=True):
            if not hit:
                continue
            item = candidate.item_id - 1
            ts = at_ms + self._delay()
            events.append(self._event(user, item, "click", ts))
            if self._rng.random() < CART_AFTER_CLICK:
                ts += self._delay()
                events.append(self._event(user, item, "cart", ts))
                if self._rng.random() < ORDER_AFTER_CART:
                    events.append(self._event(user, item, "order", ts + self._delay()))
        return sorted(events, key=lambda event: event.ts)

    def _delay(self) -> int:
        return int(self._rng.integers(*REACTION_MS))

    def _drifted(self, values: Doubles, share: float) -> Doubles:
        """Return `values` after an exact Ornstein-Uhlenbeck step of `share` mean reversion times.

        The stationary standard deviation is 1.
        """
        noise = self._rng.normal(0.0, math.sqrt(-math.expm1(-2.0 * share)), len(values))
        return values * math.exp(-share) + noise

    def _name(self, user: int) -> str:
        return f"u{user:05d}"

    def _event(self, user: str, item: int, kind: str, ts: int) -> ShopEvent:
        self._sent += 1
        return ShopEvent(
            event_id=f"{self._run}-{self._sent}",
            user_id=user,
            item_id=item + 1,
            category_id=int(self._category[item]) + 1,
            type=kind,
            price=float(self._price[item]),
            ts=ts,
        )
