"""Shoppers at a running system: they browse, request scores, and click on items that are shown.

Two functions connect them to the system: one writes events (in the demo to the pipeline's topic),
the other asks what to show (in the demo over HTTP).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from freshrank.actors.clock import Clock
from freshrank.examples.shop.shoppers import Candidate, Shop, ShopEvent

Send: TypeAlias = Callable[[bytes, bytes], Awaitable[None]]
"""Writes key and value of an event to the behaviour topic."""
Ask: TypeAlias = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Posts a path and a body; returns status and body of the answer. Raises OSError."""

# Seconds between two bursts of events: short, as from a web server.
TICK_S = 0.02
# Seconds before the next request after the endpoint did not answer.
RETRY_S = 0.5


class ScoreRequest(msgspec.Struct):
    """The body of POST /v1/score."""

    user: str
    candidates: list[Candidate]
    show: int


class RankedItems(msgspec.Struct):
    """The field of the answer to POST /v1/score that a shop needs."""

    ranking: list[int]
    """Indices of the candidates, the best first."""


class RecommendRequest(msgspec.Struct):
    """The body of POST /v1/recommend."""

    user: str
    k: int
    candidates: int


class ItemToShow(msgspec.Struct):
    """An item of the answer to POST /v1/recommend."""

    id: int
    fields: Candidate


class RecommendedItems(msgspec.Struct):
    """The field of the answer to POST /v1/recommend that a shop needs."""

    items: list[ItemToShow]
    """The best first."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How much traffic to generate."""

    events_per_s: float = 500.0
    """Events of browsing; clicks, and the events after them, are added to these."""
    impressions_per_s: float = 400.0
    """Items that are shown."""
    candidates: int = 20
    """Candidates of a request."""
    show: int = 10
    """Candidates of a request that are shown."""
    ranked: int = 100
    """Candidates of a request for recommendations."""

    @property
    def pause_s(self) -> float:
        """Seconds between two requests."""
        return self.show / self.impressions_per_s


@dataclass(slots=True)
class TrafficCounts:
    """The traffic so far."""

    events: int = 0
    requests: int = 0
    failures: int = 0
    """Requests whose answer says nothing to show."""
    shown: int = 0
    clicks: int = 0


class ShopTraffic:
    """Two loops over one shop: one browses, the other asks what to show.

    It shows the best of random candidates, by POST /v1/score.

    A loop that falls behind (the endpoint is slower than the rate) does not catch up by a burst; it
    goes on from the present.
    """

    def __init__(self, shop: Shop, rates: Rates, clock: Clock, send: Send, ask: Ask) -> None:
        self._shop = shop
        self._rates = rates
        self._clock = clock
        self._send = send
        self._ask = ask
        self._due: list[tuple[int, str, ShopEvent]] = []
        self._answers = msgspec.json.Decoder(RankedItems)
        self.counts = TrafficCounts()

    async def run(self) -> None:
        """Run both loops until cancelled. Raises what `send` raises."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.browse())
            loops.create_task(self.show())

    async def browse(self) -> None:
        """Let tastes drift, and send browsing events and due reactions, until cancelled."""
        last = self._clock.monotonic()
        owed = 0.0
        while True:
            await self._clock.sleep(TICK_S)
            now = self._clock.monotonic()
            # After a stall (a suspended machine) the events of at most a second are made up for.
            passed, last = min(now - last, 1.0), now
            self._shop.advance(passed)
            owed += passed * self._rates.events_per_s
            count = int(owed)
            owed -= count
            at_ms = self._clock.now_ms()
            for event in self._shop.browse(count, at_ms) + self._take_due(at_ms):
                await self._send_event(event)

    async def show(self) -> None:
        """Show items to shoppers at the given rate, one request at a time, until cancelled."""
        due = self._clock.monotonic()
        while True:
            due = max(due + self._rates.pause_s, self._clock.monotonic())
            await self._clock.sleep(due - self._clock.monotonic())
            if not await self.show_once():
                await self._clock.sleep(RETRY_S)

    async def show_once(self) -> bool:
        """Show items to a shopper; return False when the endpoint gave none."""
        user = self._shop.visitor()
        self.counts.requests += 1
        try:
            shown = await self.items_for(user)
        except (OSError, msgspec.MsgspecError, IndexError):
            shown = []
        if not shown:
            self.counts.failures += 1
            return False
        self.counts.shown += len(shown)
        for event in self._shop.react(user, shown, self._clock.now_ms()):
            heapq.heappush(self._due, (event.ts, event.event_id, event))
        return True

    async def items_for(self, user: str) -> list[Candidate]:
        """What to show to a shopper. Raises OSError, MsgspecError and IndexError."""
        candidates = self._shop.candidates(self._rates.candidates)
        request = ScoreRequest(user, candidates, self._rates.show)
        status, body = await self._ask("/v1/score", msgspec.json.encode(request))
        ranking = self._answers.decode(body).ranking if status == 200 else []
        return [candidates[index] for index in ranking[: self._rates.show]]

    def _take_due(self, at_ms: int) -> list[ShopEvent]:
        """Remove and return the reactions whose time has come."""
        taken = []
        while self._due and self._due[0][0] <= at_ms:
            taken.append(heapq.heappop(self._due)[2])
        return taken

    async def _send_event(self, event: ShopEvent) -> None:
        self.counts.events += 1
        self.counts.clicks += event.type == "click"
        await self._send(event.user_id.encode("utf-8"), msgspec.json.encode(event))


class RecommendingTraffic(ShopTraffic):
    """The same, but it shows what POST /v1/recommend gives."""

    async def items_for(self, user: str) -> list[Candidate]:
        """What to show to a shopper. Raises OSError and MsgspecError."""
        request = RecommendRequest(user, self._rates.show, self._rates.ranked)
        status, body = await self._ask("/v1/recommend", msgspec.json.encode(request))
        if status != 200:
            return []
        return [item.fields for item in msgspec.json.decode(body, type=RecommendedItems).items]
