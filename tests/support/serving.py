"""A replica over fakes in memory: in a test's own process, or in one that Serve started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgspec
import numpy as np

from freshrank.actors.clock import Clock, SystemClock
from freshrank.actors.errors import BadRecord, StaleParameters, Unavailable
from freshrank.actors.messages import Floats, Inputs, Ints, SourceOffsets, Version
from freshrank.actors.protocols import JsonValue, ServedFeatures
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry, MemoryStore
from freshrank.serve.api.requests import Limits
from freshrank.serve.http.app import build_app
from freshrank.serve.scoring.feature_reader import FeatureReader
from freshrank.serve.scoring.service import ScoringService, ServiceParts, ServiceSettings

EVENT_SCHEMA: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"user_id": {"type": "string"}},
    "required": ["user_id"],
}


class FakeServed:
    """The row is the user's favourite item, as text."""

    context: Mapping[str, type] = {"item_id": int, "note": str, "price": float}

    def key(self, entity: str) -> bytes:
        return f"row:{entity}".encode()

    def freshness(self, row: bytes | None) -> tuple[int, int]:
        return (0, -1) if row is None else (1_000, 7)

    def describe(self, row: bytes | None, at_ms: int) -> Mapping[str, JsonValue]:
        return {"favourite": None if row is None else int(row)}

    def inputs(
        self,
        row: bytes | None,
        entity: str,
        candidates: Mapping[str, Sequence[str] | Sequence[float]],
        at_ms: int,
    ) -> Inputs:
        items = np.array(candidates["item_id"], dtype=np.int64)
        wanted = items == (int(row) if row else -1)
        return Inputs(wanted.astype(np.float32)[:, None], items[:, None])

    def join_keys(self, candidates: Mapping[str, Sequence[str] | Sequence[float]]) -> Ints:
        return np.array(candidates["item_id"], dtype=np.int64)


class FakeScorer:
    """The favourite scores 0.9, the rest 0.1."""

    def score(self, inputs: Inputs) -> Floats:
        return (0.1 + 0.8 * inputs.dense[:, 0]).astype(np.float32)


class FakeModel:
    def __init__(self) -> None:
        self.version: Version | None = Version(1, 5)
        self.error: str | None = None
        self.applied: Mapping[int, SourceOffsets] = {
            0: SourceOffsets({"behaviour": 12, "shown": 3})
        }
        self.newest_event_ms = 900
        self.age: int | None = 40
        self.differs = False
        self.lag: int | None = 3

    def lag_ms(self) -> int | None:
        return self.lag

    def age_ms(self) -> int | None:
        return self.age

    def silence_ms(self) -> int | None:
        return 5

    def status(self) -> dict[str, JsonValue]:
        return {"version": str(self.version)}

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        raise StaleParameters(f"version {version} is wanted")

    async def run(self) -> None:
        await asyncio.Event().wait()


class Outage(MemoryStore):
    """A store that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.reads: list[list[bytes]] = []
        self.kept: dict[bytes, bytes] = {}

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.reads.append(list(keys))
        if self.away:
            raise Unavailable("redis", "connection refused")
        return [self.kept.get(key) for key in keys]


class ReplicaUnderTest:
    """One service, its fakes, and a client that speaks to it without a network."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        served: ServedFeatures | None = None,
        model: FakeModel | None = None,
        event_schema: Mapping[str, JsonValue] | None = None,
        clock: Clock | None = None,
        max_start_wait_ms: int = 0,
    ) -> None:
        clock = clock or SystemClock()
        self.log = MemoryLog(4)
        self.store = Outage()
        self.model = model or FakeModel()
        self.sink = MemorySink(self.log, clock)
        settings = ServiceSettings(
            pipeline="shop",
            entity="user",
            events_topic="behaviour",
            impressions_topic="shop.impressions",
            layout="abc",
            event_schema=event_schema or EVENT_SCHEMA,
            max_start_wait_ms=max_start_wait_ms,
            limits=limits or Limits(),
        )
        self.parts = ServiceParts(
            served=served or FakeServed(),
            scorer=FakeScorer(),
            model=self.model,
            store=FeatureReader(self.store, clock, timeout_s=1.0),
            sink=self.sink,
            status_registry=MemoryStatusRegistry(clock),
            clock=clock,
            event_key=event_key,
            close=self._close,
        )
        self.service = ScoringService(settings, self.parts)
        self.closed = False

    @asynccontextmanager
    async def client(self, *, raises: bool = True) -> AsyncIterator[httpx.AsyncClient]:
        """The application, started; with `raises`, what it did not foresee fails the test."""

        async def made() -> ScoringService:
            return self.service

        app = build_app(made)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=raises)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://replica") as client,
        ):
            yield client

    def without_impressions(self) -> None:
        settings = replace(self.service.settings, impressions_topic=None)
        self.service = ScoringService(settings, self.parts)

    def use_board_of(self, other: ReplicaUnderTest) -> None:
        self.parts = replace(self.parts, status_registry=other.parts.status_registry)
        self.service = ScoringService(self.service.settings, self.parts)

    async def _close(self) -> None:
        self.closed = True


class _Event(msgspec.Struct):
    user_id: str
    ts: int = 0


def event_key(value: bytes) -> bytes:
    try:
        return msgspec.json.decode(value, type=_Event).user_id.encode()
    except msgspec.ValidationError as error:
        raise BadRecord(f"user_id: {error}") from error


@dataclass(frozen=True)
class ReplicaFactory:
    """Makes such a replica elsewhere; it leaves `mark` behind when it was stopped in order."""

    mark: Path

    async def __call__(self) -> ScoringService:
        replica = ReplicaUnderTest()
        replica.store.kept[b"row:u1"] = b"4"

        async def leave() -> None:
            self.mark.write_text("closed")

        parts = replace(replica.parts, close=leave)
        return ScoringService(replica.service.settings, parts)
