"""Probes of freshness: a probe sends an event and waits for the first answer that shows its effect.

It measures the time from just before the event's `send` to the arrival of that answer. A probe
repeats its request after each answer and a pause, so its resolution is an answer and a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.messages import SourceOffsets, Version, dominates
from freshrank.benchmarks.workloads.scored_answer import ScoredAnswer
from freshrank.examples.shop.shoppers import Candidate, ShopEvent
from freshrank.examples.shop.traffic import ScoreRequest

Send: TypeAlias = Callable[[bytes, bytes], Awaitable[tuple[int, int]]]
"""Writes key and value of an event; returns its partition and offset once the broker has it."""

# Seconds between two requests of a probe: short in comparison with the measured times, and long
# enough to limit the load.
PAUSE_S = 0.002
# Seconds after which a probe counts as unanswered: many times the target.
TIMEOUT_S = 5.0
# Seconds from the impression of an item to its click: the reaction time of a fast person.
REACTION_S = 0.3


class Endpoint(Protocol):
    """A connection to the REST endpoint (`deploy.servers.http_client.KeepAliveClient`)."""

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises OSError."""
        ...

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises OSError."""
        ...


class ImpressionLookup(Protocol):
    """Finds impressions in their topic."""

    async def position_of(self, request_id: str) -> tuple[int, int]:
        """Wait for the impression of a request; return its partition and offset."""
        ...


class _Weights(msgspec.Struct):
    version: str | None
    applied: dict[str, dict[str, int]]


class UnusableAnswer(Exception):
    """The endpoint answered a probe with another status than 200."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Makes probes; each probe needs a user without other events, and its own connection."""

    send: Send
    impressions: ImpressionLookup
    clock: Clock
    candidates: list[Candidate]
    """The items to score; the probes click the first item."""
    events_topic: str
    impressions_topic: str

    async def feature(self, user: str, endpoint: Endpoint) -> float:
        """Return the time in ms until a score used the probe's event, the only event of `user`.

        Raises TimeoutError if no score used it within `TIMEOUT_S`, UnusableAnswer, OSError.
        """
        start_s = self.clock.monotonic()
        async with asyncio.timeout(TIMEOUT_S):
            sent = asyncio.create_task(self._send(user, "view"))
            try:
                while (await self._score(user, endpoint, show=0)).features_offset is None:
                    await self.clock.sleep(PAUSE_S)
                arrived_s = self.clock.monotonic()
                await sent
            finally:
                sent.cancel()
        return (arrived_s - start_s) * 1000.0

    async def weights(self, user: str, endpoint: Endpoint) -> float:
        """Return the time in ms until weights that have learned a click of `user` gave a score.

        The probe shows the candidates before the click. A version has learned the click if its
        applied offsets are beyond both the impression and the click. Raises as `feature` does.
        """
        answer = await self._score(user, endpoint, show=len(self.candidates))
        _, impression = await self.impressions.position_of(answer.request_id)
        await self.clock.sleep(REACTION_S)
        start_s = self.clock.monotonic()
        async with asyncio.timeout(TIMEOUT_S):
            partition, click = await self._send(user, "click")
            wanted = SourceOffsets(
                {self.events_topic: click + 1, self.impressions_topic: impression + 1}
            )
            learned = await self._version_with(partition, wanted, endpoint)
            while (await self._score(user, endpoint, show=0)).version < learned:
                await self.clock.sleep(PAUSE_S)
        return (self.clock.monotonic() - start_s) * 1000.0

    async def _version_with(
        self, partition: int, wanted: SourceOffsets, endpoint: Endpoint
    ) -> Version:
        """Return the first version whose applied offsets of `partition` dominate `wanted`."""
        while True:
            status, body = await endpoint.get("/v1/model")
            if status != 200:
                raise UnusableAnswer(f"/v1/model: {status} {body[:200]!r}")
            weights = msgspec.json.decode(body, type=_Weights)
            applied = SourceOffsets(weights.applied.get(str(partition), {}))
            if weights.version is not None and dominates(applied, wanted):
                return Version.parse(weights.version)
            await self.clock.sleep(PAUSE_S)

    async def _score(self, user: str, endpoint: Endpoint, show: int) -> ScoredAnswer:
        request = ScoreRequest(user, self.candidates, show)
        status, body = await endpoint.post("/v1/score", msgspec.json.encode(request))
        if status != 200:
            raise UnusableAnswer(f"/v1/score: {status} {body[:200]!r}")
        return ScoredAnswer.decode(body)

    async def _send(self, user: str, kind: str) -> tuple[int, int]:
        item = self.candidates[0]
        event = ShopEvent(
            event_id=f"{user}-{kind}",
            user_id=user,
            item_id=item.item_id,
            category_id=item.category_id,
            type=kind,
            price=1.0,
            ts=self.clock.now_ms(),
        )
        return await self.send(user.encode("utf-8"), msgspec.json.encode(event))


class ImpressionPositions:
    """An `ImpressionLookup` over the impressions that a reader of the topic has added."""

    def __init__(self) -> None:
        self._positions: dict[str, asyncio.Future[tuple[int, int]]] = {}

    def add(self, positions: Mapping[str, tuple[int, int]]) -> None:
        """Add positions by request id; the first position of a request counts."""
        for request_id, position in positions.items():
            future = self._future(request_id)
            if not future.done():
                future.set_result(position)

    async def position_of(self, request_id: str) -> tuple[int, int]:
        """See `ImpressionLookup`; raises TimeoutError if it is not added within `TIMEOUT_S`."""
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.shield(self._future(request_id))

    def _future(self, request_id: str) -> asyncio.Future[tuple[int, int]]:
        if request_id not in self._positions:
            self._positions[request_id] = asyncio.get_running_loop().create_future()
        return self._positions[request_id]
