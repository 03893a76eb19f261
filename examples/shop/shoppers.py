"""A shop whose tastes drift: what its shoppers browse, and what they click when it is shown.

Pure: the random numbers come from a generator that is given, time from the arguments. Two
things move, on purpose at the pace of a demonstration of a minute or two:

* what *everybody* likes (each category's trend, each item's hype): only a model that keeps
  learning knows the present ones, so fresh weights beat frozen ones;
* what *one* shopper is after: it shows in what they looked at in the last seconds, so fresh
  features beat old ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np

from freshrank.actors.messages import Doubles, Ints

# Mean reversion times, in seconds: weights frozen for a minute know little of the present ones.
TREND_MEMORY_S = 60.0
HYPE_MEMORY_S = 90.0
# Seconds for which a shopper stays with a category: several events long at the demo's rates.
INTEREST_S = 45.0
# Log-odds of a click: at rest, and what each reason adds (the drifting ones per unit, their
# standard deviation being 1).
CLICK_AT_REST = -2.6
CLICK_INTEREST = 2.0
CLICK_TREND = 1.3
CLICK_HYPE = 0.9
# Of what a shopper browses unasked: the share that lies in the categories they are after.
BROWSE_IN_INTEREST = 0.8
# What browsing ends in: (kind, share).
BROWSE_KINDS = ("view", "cart", "order")
BROWSE_SHARES = (0.9, 0.07, 0.03)
# What follows a click, as shares of the clicks.
CART_AFTER_CLICK = 0.2
ORDER_AFTER_CART = 0.4
# A click comes this many milliseconds after the showing; what follows it as long again.
REACTION_MS = (150, 1_200)


class ShopEvent(msgspec.Struct, frozen=True):
    """One thing a shopper did, as it goes into the topic (JSON)."""

    event_id: str
    user_id: str
    item_id: int
    category_id: int
    type: str
    """``view``, ``click``, ``cart`` or ``order``."""
    price: float
    ts: int
    """Event time, ms since the Unix epoch."""


class Candidate(msgspec.Struct, frozen=True):
    """An item that may be shown, as a request to score names it."""

    item_id: int
    category_id: int


@dataclass(frozen=True, slots=True)
class ShopSize:
    """How many of each there are."""

    users: int = 2_000
    items: int = 300
    categories: int = 20


Reaction: TypeAlias = list[ShopEvent]


class Shop:
    """The shop, its shoppers and their drifting tastes.

    Parameters
    ----------
    rng
        The only source of chance.
    run
        Goes before every event id, so that two runs never give the same one.
    """

    def __init__(self, rng: np.random.Generator, run: str, size: ShopSize | None = None) -> None:
        self._rng = rng
        self._run = run
        self._size = size or ShopSize()
        self._sent = 0
        items, categories = self._size.items, self._size.categories
        self._category: Ints = np.arange(items, dtype=np.int64) % categories
        self._members = [np.flatnonzero(self._category == one) for one in range(categories)]
        self._price: Doubles = rng.lognormal(3.0, 0.8, items).round(2)
        self._trend: Doubles = rng.normal(size=categories)
        self._hype: Doubles = rng.normal(size=items)
        self._interest: Ints = rng.integers(0, categories, self._size.users)

    def advance(self, seconds: float) -> None:
        """Let tastes drift for so long."""
        self._trend = self._drifted(self._trend, seconds / TREND_MEMORY_S)
        self._hype = self._drifted(self._hype, seconds / HYPE_MEMORY_S)
        users = self._size.users
        moved = np.flatnonzero(self._rng.random(users) < -math.expm1(-seconds / INTEREST_S))
        self._interest[moved] = self._rng.integers(0, self._size.categories, len(moved))

    def browse(self, count: int, at_ms: int) -> list[ShopEvent]:
        """What `count` shoppers did of their own accord at `at_ms`."""
        rng = self._rng
        users = rng.integers(0, self._size.users, count)
        after = np.where(
            rng.random(count) < BROWSE_IN_INTEREST,
            self._interest[users],
            rng.integers(0, self._size.categories, count),
        )
        kinds = rng.choice(len(BROWSE_KINDS), count, p=BROWSE_SHARES)
        picks = rng.random(count)
        events = []
        for user, category, kind, pick in zip(
            users.tolist(), after.tolist(), kinds.tolist(), picks.tolist(), strict=True
        ):
            members = self._members[category]
            item = int(members[int(pick * len(members))])
            events.append(self._event(self._name(user), item, BROWSE_KINDS[kind], at_ms))
        return events

    def visitor(self) -> str:
        """The shopper who comes to the page next."""
        return self._name(int(self._rng.integers(0, self._size.users)))

    def candidates(self, count: int) -> list[Candidate]:
        """`count` different items that may be shown."""
        chosen = self._rng.choice(self._size.items, count, replace=False)
        return [Candidate(one + 1, int(self._category[one]) + 1) for one in chosen.tolist()]

    def click_probability(self, user: str, shown: Sequence[Candidate]) -> Doubles:
        """float64[n]: the probability that `user` clicks each item, as tastes are now."""
        items = np.array([one.item_id - 1 for one in shown], dtype=np.int64)
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

    def react(self, user: str, shown: Sequence[Candidate], at_ms: int) -> Reaction:
        """What `user` does about items shown at `at_ms`: events of the next seconds, by time."""
        clicked = self._rng.random(len(shown)) < self.click_probability(user, shown)
        events: Reaction = []
        for candidate in (one for one, hit in zip(shown, clicked, strict=True) if hit):
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
        """An Ornstein-Uhlenbeck step of `share` memories, exact, of standard deviation 1."""
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
