import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import msgspec
import numpy as np
from fake_clock import FakeClock
from small_catalogue import START_MS, catalogue, item_rows, plan

from freshrank import Newest
from freshrank.actors.alerts import Alerts
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.features.retrieval import Query
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.protocols import StoreRead
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry, MemoryStore
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    Ask,
    CandidateSource,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.follower import CatalogueFollower, RetrievalSettings
from freshrank.feature_actors.retrieval.plan import RetrievalPlan

PARTITIONS = 3
PLAN = plan()


class Store(MemoryStore):
    """A store that can be away, and whose rows are put in by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.by_key: dict[bytes, bytes | None] = {}
        self.reads: list[int] = []

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        if self.away:
            raise Unavailable("redis", "it is away")
        self.reads.append(len(keys))
        return StoreRead([self.by_key.get(key) for key in keys], 1)


class AbsentBroker(MemorySource):
    away = True

    async def start(self, positions: Any) -> None:
        if self.away:
            raise Unavailable("kafka", "nobody listens")
        await super().start(positions)

    async def poll(self, max_records: int, timeout_s: float) -> Any:
        if self.away:
            raise Unavailable("kafka", "it has gone")
        return await super().poll(max_records, timeout_s)


class Shop:
    """A follower over a log and a store in memory."""

    def __init__(
        self,
        source: type[MemorySource] = MemorySource,
        plan: RetrievalPlan = PLAN,
        clock: FakeClock | None = None,
        **bounds: int,
    ) -> None:
        self.clock = clock or FakeClock(START_MS)
        self.log = MemoryLog(PARTITIONS)
        self.store = Store()
        self.alerts = Alerts("replica", self.clock)
        connectors = Connectors(
            partitions=1,
            source=partial(source, self.log),
            sink=MemorySink(self.log, self.clock, {}),
            store=self.store,
            status_registry=MemoryStatusRegistry(self.clock),
            clock=self.clock,
            close=lambda: asyncio.sleep(0),
            further_partitions={"item": PARTITIONS},
        )
        settings = RetrievalSettings(**{"most_items": 100, "rows_per_s": 1_000, **bounds})
        self.follower = CatalogueFollower(plan, settings, connectors, self.alerts)

    def write(self, *rows: tuple[str, dict[str, object] | None]) -> None:
        keys = [name.encode() for name, _ in rows]
        values = [
            None if row is None else msgspec.json.encode({"item": name, **row})
            for name, row in rows
        ]
        for key, value in zip(keys, values, strict=True):
            self.log.append("catalogue", partition_of(key, PARTITIONS), value, START_MS, key)

    def put_rows(self, events: Sequence[tuple[str, str, str]], names: Sequence[str]) -> None:
        (table,) = self.follower.tables
        for name, row in zip(names, item_rows(events, names), strict=True):
            self.store.by_key[table.row_key(name)] = row

    async def steps(self, count: int = 12, seconds: float = 0.3) -> None:
        for _ in range(count):
            await self.follower.step()
            self.clock.advance(seconds)

    def items(self, source: str) -> list[str]:
        query = Query(most=100, at_ms=self.clock.now_ms(), sources=[source])
        return list(self.follower.retrieve(query).items)


def test_it_is_ready_once_catalogue_and_rows_are_read() -> None:
    async def run() -> None:
        shop = Shop()
        shop.write(("a", {}), ("b", {"brand": "x"}), ("c", {}))
        shop.put_rows([("u", "b", "view"), ("u", "c", "view"), ("v", "c", "view")], ["a", "b", "c"])
        assert shop.follower.not_ready() == "0 records of 'catalogue' are left to read"
        await shop.follower.step()
        assert shop.follower.not_ready() is not None
        await shop.steps()
        assert shop.follower.not_ready() is None
        assert shop.items("popular:viewed_1h") == ["c", "b"]
        status = shop.follower.status()
        assert (status["items"], status["lag_records"], status["topic_error"]) == (3, 0, None)

    asyncio.run(run())


def test_items_come_and_go_and_rows_are_read_again() -> None:
    async def run() -> None:
        shop = Shop()
        shop.write(("a", {}), ("b", {}))
        await shop.steps()
        shop.write(("c", {}), ("a", None))
        shop.put_rows([("u", "b", "view"), ("u", "c", "view"), ("v", "c", "view")], ["b", "c"])
        await shop.steps(2)
        assert sorted(shop.items("newest")) == ["b", "c"]
        await shop.steps(3)
        assert shop.items("popular:viewed_1h") == ["c", "b"]

    asyncio.run(run())


class Slow(CandidateSource, SourceIndex):
    """A source without items, which is its own index, and takes three seconds to make."""

    name = "slow"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.made = 0
        self.making: Callable[[], None] = lambda: None

    def check(self, items: ItemFeatures, place: str) -> None:
        pass

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        return self

    def rebuild(self) -> None:
        self.made += 1
        self.making()
        self.clock.advance(3.0)

    def find(self, ask: Ask) -> Found:
        return NOTHING


def test_it_is_ready_no_sooner_than_its_indexes() -> None:
    async def run() -> None:
        clock = FakeClock(START_MS)
        slow = Slow(clock)
        sources = [slow, Newest()]
        shop = Shop(plan=replace(PLAN, sources=sources), clock=clock, most_items=1_000)
        seen = list[str | None]()
        slow.making = lambda: seen.append(shop.follower.not_ready())
        shop.write(*((f"n{number}", {}) for number in range(600)))
        while shop.follower.not_ready() is not None:
            await shop.follower.step()
        assert seen == ["the indexes of its sources have not been made yet"], "once, of all"
        assert shop.follower.size == 600

    asyncio.run(run())


def test_a_source_that_takes_long_is_made_seldom_and_keeps_no_other() -> None:
    async def run() -> None:
        clock = FakeClock(START_MS)
        slow = Slow(clock)
        shop = Shop(plan=replace(PLAN, sources=[slow, Newest()]), clock=clock)
        for number in range(90):
            shop.write((f"n{number}", {}))
            await shop.steps(2, seconds=0.5)
            assert f"n{number}" in shop.items("newest")
        # The first time it may have been by chance; then a twentieth of the time.
        assert (clock.now_ms() - START_MS, slow.made) == (99_000, 3)
        await shop.steps(200, seconds=0.5)
        assert slow.made == 4, "of what came last; then nothing has changed"

    asyncio.run(run())


def test_rows_are_read_no_faster_than_set_after_the_first_pass() -> None:
    async def run() -> None:
        shop = Shop(most_items=5_000, rows_per_s=1_000)
        shop.write(*((f"n{number}", {}) for number in range(1_200)))
        while shop.follower.not_ready() is not None:
            await shop.follower.step()
        assert shop.store.reads == [500, 500, 200]
        for _ in range(100):  # ten seconds
            shop.clock.advance(0.1)
            await shop.follower.step()
        assert 9_000 <= sum(shop.store.reads[3:]) <= 10_500
        assert shop.follower.status()["pass_s"] == 1.0

    asyncio.run(run())


def test_a_broker_that_is_away_is_named_and_tried_again() -> None:
    async def run() -> None:
        shop = Shop(AbsentBroker)
        shop.write(("a", {}))
        await shop.steps(3)
        assert shop.follower.not_ready() == "kafka: nobody listens"
        AbsentBroker.away = False
        await shop.steps()
        assert shop.follower.not_ready() is None
        AbsentBroker.away = True
        shop.write(("b", {}))
        shop.put_rows([("u", "a", "view")], ["a"])
        await shop.steps(3)
        # It answers with what it has, goes on to read rows, and says what is wrong.
        assert shop.items("popular:viewed_1h") == ["a"]
        assert shop.items("newest") == ["a"]
        assert shop.follower.status()["topic_error"] == "kafka: it has gone"
        AbsentBroker.away = False
        await shop.steps(12)
        assert sorted(shop.items("newest")) == ["a", "b"]
        assert shop.follower.status()["topic_error"] is None

    try:
        asyncio.run(run())
    finally:
        AbsentBroker.away = True


def test_a_store_that_is_away_keeps_what_was_read() -> None:
    async def run() -> None:
        shop = Shop()
        shop.store.away = True
        shop.write(("a", {}), ("b", {}))
        await shop.steps(5)
        assert shop.follower.not_ready() == "redis: it is away"
        shop.store.away = False
        shop.put_rows([("u", "b", "view")], ["a", "b"])
        await shop.steps()
        assert shop.follower.not_ready() is None
        shop.store.away = True
        await shop.steps()
        assert shop.items("popular:viewed_1h") == ["b"]
        assert shop.follower.not_ready() is None
        assert shop.follower.status()["rows_error"] == "redis: it is away"

    asyncio.run(run())


def test_records_that_are_no_rows_or_lie_in_a_wrong_partition_are_counted() -> None:
    async def run() -> None:
        shop = Shop()
        shop.write(("a", {}))
        home = partition_of(b"b", PARTITIONS)
        shop.log.append("catalogue", (home + 1) % PARTITIONS, b'{"item": "b"}', START_MS, b"b")
        shop.log.append("catalogue", home, b'{"item": "x"}', START_MS, b"b")
        shop.log.append("catalogue", home, b'{"item": "b"}', START_MS, None)
        await shop.steps()
        assert shop.items("newest") == ["a"]
        assert shop.follower.status()["records_rejected"] == 3

    asyncio.run(run())


def test_items_beyond_the_bound_are_counted_and_told_once() -> None:
    async def run() -> None:
        shop = Shop(most_items=2)
        shop.write(*((f"n{number}", {}) for number in range(4)))
        await shop.steps()
        assert len(shop.items("newest")) == 2
        assert shop.follower.status()["items_refused"] == 2
        (alert,) = cast(list[dict[str, str]], shop.alerts.status()["newest"])
        assert alert["kind"] == "catalogue_full"
        assert "Raise serve.most_items" in alert["message"]

    asyncio.run(run())


def test_the_indexes_of_a_large_catalogue_are_made_beside_the_event_loop() -> None:
    async def run() -> None:
        shop = Shop(most_items=5_000, rows_per_s=100_000)
        names = [f"n{number}" for number in range(2_500)]
        shop.write(*((name, {}) for name in names))
        shop.put_rows([("u", name, "view") for name in names[:3]], names)
        while shop.follower.not_ready() is not None:
            await shop.follower.step()
        await shop.steps()
        assert sorted(shop.items("popular:viewed_1h")) == sorted(names[:3])
        assert np.count_nonzero(shop.follower.catalogue.alive) == 2_500

    asyncio.run(run())


def test_it_runs_until_it_is_cancelled_and_closes_its_connection() -> None:
    async def run() -> None:
        shop = Shop()
        shop.write(("a", {}))
        task = asyncio.create_task(shop.follower.run())
        while shop.follower.not_ready() is not None:
            await asyncio.sleep(0)
            shop.clock.advance(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert shop.items("newest") == ["a"]

    asyncio.run(run())


def test_the_table_is_that_of_the_pipeline() -> None:
    assert Shop().follower.plan.items.table is catalogue
