"""A replica over fakes in memory: in a test's own process, or in one that Serve started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import numpy as np

from freshrank.actors.clock import Clock, SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, StaleParameters, Unavailable
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.features.service import (
    Candidates,
    FeatureService,
    RequestTypes,
    RowLookup,
)
from freshrank.actors.impressions import Impression, decode_impression
from freshrank.actors.messages import (
    Floats,
    IdField,
    InputLayout,
    Inputs,
    Ints,
    SourceOffsets,
    Version,
)
from freshrank.actors.parameters.explanation import Explanation
from freshrank.actors.protocols import EventSource, JsonValue, Status, StatusRegistry, StoreRead
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry, MemoryStore
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.app import build_app
from freshrank.serve.experiments.definitions import Experiment
from freshrank.serve.scoring.served_model import ServedModel
from freshrank.serve.scoring.served_pipeline import EventStream, ServedPipeline
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings

IMPRESSIONS = "shop.impressions"
EVENT_SCHEMA: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"user_id": {"type": "string"}},
    "required": ["user_id"],
}


KEY = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Candidate(msgspec.Struct, forbid_unknown_fields=True):
    item_id: INTEGER
    note: KEY
    price: float


class FakeFeatures:
    """The row is the user's favourite item, as text."""

    context: Mapping[str, type] = {"item_id": int, "note": str, "price": float}

    request_types = RequestTypes(KEY, KEY, KEY, Candidate)

    entities: Sequence[str] = ("user",)

    def canonical_key(self, entity: str, key: str | int) -> str:
        return str(key)

    def keys(self, entity: str, key: str) -> Sequence[bytes]:
        return [f"row:{key}".encode()]

    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        nobody_else = np.zeros(len(candidates["item_id"]), dtype=np.int64)
        return [RowLookup("user", "events", self.keys("user", key), nobody_else)]

    def following(
        self,
        leading: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
    ) -> Sequence[RowLookup]:
        return []

    def owned(self, key: str) -> Callable[[bytes], bool]:
        return lambda row_key: False

    def freshness(self, entity: str, rows: Sequence[bytes | None]) -> tuple[int, Mapping[str, int]]:
        return (0, {"events": -1}) if rows[0] is None else (1_000, {"events": 7})

    def describe(
        self, entity: str, rows: Sequence[bytes | None], at_ms: int
    ) -> Mapping[str, JsonValue]:
        return {"favourite": None if rows[0] is None else int(rows[0])}

    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        items = np.array(candidates["item_id"], dtype=np.int64)
        wanted = items == int(rows[0] or -1)
        return Inputs(wanted.astype(np.float32)[:, None], items[:, None])

    def input_values(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Iterator[Mapping[str, JsonValue]]:
        for item in candidates["item_id"]:
            yield {"item_id": item, "wanted": item == int(rows[0] or -1)}

    def shown(self, inputs: Inputs, which: Ints, before: int = 0) -> Inputs:
        return Inputs(inputs.dense[which], inputs.ids[which])

    def join_keys(self, candidates: Candidates) -> Ints:
        return np.array(candidates["item_id"], dtype=np.int64)


class TwoTables(FakeFeatures):
    """A user's row is the item that is wanted, an item's row the item that it stands for."""

    entities = ("user", "item")

    def keys(self, entity: str, key: str) -> Sequence[bytes]:
        return [f"{entity}:{key}".encode()]

    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        items = sorted({int(item) for item in candidates["item_id"] if item is not None})
        which = np.searchsorted(items, np.array(candidates["item_id"], dtype=np.int64))
        who = RowLookup(
            "user", "events", self.keys("user", key), np.zeros(len(which), dtype=np.int64)
        )
        return [
            who,
            RowLookup("item", "catalogue", [f"item:{item}".encode() for item in items], which),
        ]

    def freshness(self, entity: str, rows: Sequence[bytes | None]) -> tuple[int, Mapping[str, int]]:
        assert rows == [b"70"]  # those of who asks, not of the candidates
        return (1_000, {"events": 7})

    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        who, *items = [int(row or -1) for row in rows]
        wanted = np.array(items)[lookups[1].which] == who
        return Inputs(wanted.astype(np.float32)[:, None], np.zeros((len(wanted), 1), np.int64))


class FakeScorer:
    """The favourite scores 0.9, the rest 0.1."""

    layout = InputLayout(("wanted",), (IdField("item_id"),))
    is_logit = True

    def score(self, inputs: Inputs) -> Floats:
        return (0.1 + 0.8 * inputs.dense[:, 0]).astype(np.float32)

    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        for wanted, score in zip(inputs.dense[:, 0], self.score(inputs).tolist(), strict=True):
            added = np.array([0.8 * wanted])
            yield Explanation(self.layout, score, score, 0.1, added, np.zeros(1), self.is_logit)


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
        if self.version is None or self.version < version:
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
        self.filled = 4

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        self.reads.append(list(keys))
        if self.away:
            raise Unavailable("redis", "connection refused")
        return StoreRead([self.kept.get(key) for key in keys], self.filled)


class StatusesOfAReadySystem(MemoryStatusRegistry):
    """What is posted, beside a learner and a shard that owns all four partitions."""

    async def collect(self) -> dict[str, Status]:
        owned: Status = {"partitions": {str(partition): {} for partition in range(4)}}
        return {"learner": {}, "shard-0": owned, **await super().collect()}


class ReplicaUnderTest:
    """One service, its fakes, and a client that speaks to it without a network."""

    def __init__(
        self,
        limits: RequestLimits | None = None,
        *,
        features: FeatureService | None = None,
        model: FakeModel | None = None,
        streams: Sequence[EventStream] = (),
        clock: Clock | None = None,
        status_registry: StatusRegistry | None = None,
        source: Callable[[], EventSource] | None = None,
        max_ongoing_requests: int | None = None,
        max_start_wait_ms: int = 0,
        access: Mapping[str, object] | None = None,
        retriever: Retriever | None = None,
        experiments: Sequence[Experiment] = (),
    ) -> None:
        clock = clock or SystemClock()
        self.log = MemoryLog(4)
        self.store = Outage()
        self.model = model or FakeModel()
        self.sink = MemorySink(self.log, clock)
        self.status_registry = status_registry or StatusesOfAReadySystem(clock)
        pipeline = ServedPipeline(
            name="shop",
            entity="user",
            features=features or FakeFeatures(),
            streams=streams or [EventStream("behaviour", JsonCodec(), EVENT_SCHEMA)],
            impressions_topic=IMPRESSIONS,
            layout="abc",
            limits=limits or RequestLimits(),
            experiments=experiments,
        )
        connectors = Connectors(
            partitions=self.log.partitions,
            source=source or partial(MemorySource, self.log),
            sink=self.sink,
            store=self.store,
            status_registry=self.status_registry,
            clock=clock,
            close=self._close,
        )
        settings = ServeSettings.model_validate(
            {"read_timeout_ms": 1_000, "max_start_wait_ms": max_start_wait_ms, **(access or {})}
        )
        if max_ongoing_requests is not None:  # a copy is not validated: 0 refuses all
            settings = settings.model_copy(update={"max_ongoing_requests": max_ongoing_requests})
        served = ServedModel(FakeScorer(), self.model, clock, settings.max_start_lag_ms)
        self.service = ScoringService(pipeline, settings, served, connectors, retriever=retriever)
        self.closed = False
        self.on_close: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def client(self, *, raises: bool = True) -> AsyncIterator[httpx.AsyncClient]:
        """The application, started; with `raises`, what it did not foresee fails the test."""

        async def made() -> ScoringService:
            return self.service

        app = build_app(made)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=raises)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=transport,
                base_url="http://localhost",
                headers={"content-type": "application/json"},
            ) as client,
        ):
            yield client

    def impressions(self) -> list[Impression]:
        """Those that it has logged, of one partition after the other."""
        return [
            decode_impression(value)
            for partition in range(self.log.partitions)
            for value in self.log.read(IMPRESSIONS, partition, 0, 1_000).values
            if value is not None
        ]

    async def _close(self) -> None:
        self.closed = True
        self.on_close()


class _Event(msgspec.Struct):
    user_id: str
    ts: int = 0


class JsonCodec:
    """Records of JSON events, keyed by their `user_id`."""

    def record(self, document: bytes, now_ms: int) -> tuple[bytes, bytes]:
        return self.key(document), document

    def key(self, value: bytes) -> bytes:
        try:
            return msgspec.json.decode(value, type=_Event).user_id.encode()
        except msgspec.DecodeError as error:
            raise BadRecord(f"user_id: {error}") from error

    def json(self, value: bytes) -> bytes:
        return value


class ReversedCodec(JsonCodec):
    """Records that hold an event's JSON backwards: a format that is not JSON."""

    def record(self, document: bytes, now_ms: int) -> tuple[bytes, bytes]:
        return super().key(document), document[::-1]

    def key(self, value: bytes) -> bytes:
        return super().key(value[::-1])

    def json(self, value: bytes) -> bytes:
        return value[::-1]


@dataclass(frozen=True)
class ReplicaFactory:
    """Makes such a replica elsewhere; it leaves `mark` behind when it was stopped in order."""

    mark: Path
    access: Mapping[str, object] | None = None

    async def __call__(self) -> ScoringService:
        replica = ReplicaUnderTest(access=self.access)
        replica.store.kept[b"row:u1"] = b"4"

        replica.on_close = partial(self.mark.write_text, "closed")
        return replica.service
