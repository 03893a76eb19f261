"""Reads are batched, and go on without the store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from fake_clock import FakeClock, settle

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import BEGINNING
from freshrank.actors.protocols import StoreRead
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.serve.scoring.feature_reader import KEPT_ROW_S, FeatureReader, StoredRow


class Store(MemoryStore):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[bytes]] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        self.batches.append(list(keys))
        await self.gate.wait()
        if self.away:
            raise Unavailable("redis", "gone")
        return StoreRead([b"row of " + key for key in keys], 0)


class SlowStore(MemoryStore):
    """Reads from `store` while it answers, and never ends a read while it does not."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.answers = True

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        if not self.answers:
            await asyncio.Event().wait()
        return await self.store.read(keys)


def test_concurrent_reads_share_a_batch_with_each_key_once() -> None:
    async def story() -> None:
        store = Store()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0)
        rows = await asyncio.gather(*(reader.read([key]) for key in (b"a", b"b", b"a")))
        assert store.batches == [[b"a", b"b"]]
        assert [row.row for (row,) in rows] == [b"row of a", b"row of b", b"row of a"]

    asyncio.run(story())


def test_a_request_for_several_rows_is_answered_by_one_read() -> None:
    async def story() -> None:
        store = Store()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0)
        found = await asyncio.gather(reader.read([b"u", b"i", b"j"]), reader.read([b"v", b"j"]))
        assert store.batches == [[b"u", b"i", b"j", b"v"]]
        rows = [[stored.row for stored in request] for request in found]
        assert rows == [[b"row of u", b"row of i", b"row of j"], [b"row of v", b"row of j"]]

    asyncio.run(story())


class Counting(MemoryStore):
    """Gives with each read a row that is newer by one."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        self.reads += 1
        return StoreRead([b"%d" % self.reads for _ in keys], 0)


@pytest.mark.parametrize(("wanted", "in_time"), [(1, True), (3, True), (9_999, False)])
def test_rows_are_read_again_until_they_are_as_wanted(wanted: int, in_time: bool) -> None:
    async def story() -> None:
        store, clock = Counting(), FakeClock()
        reader = FeatureReader(store, clock, timeout_s=1.0, partitions=0)

        def enough(rows: list[StoredRow]) -> bool:
            return int(rows[0].row or 0) >= wanted

        assert await reader.read_until([b"u"], enough, 0.1) == in_time
        assert clock.monotonic() <= 0.1
        assert store.reads == wanted if in_time else store.reads > 10

    asyncio.run(story())


def test_requests_gather_while_a_batch_is_read() -> None:
    async def story() -> None:
        store = Store()
        store.gate.clear()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0)
        reads = [asyncio.ensure_future(reader.read([b"a"]))]
        await settle()
        reads += [asyncio.ensure_future(reader.read([key])) for key in (b"b", b"c")]
        await settle()
        assert store.batches == [[b"a"]]
        store.gate.set()
        await asyncio.gather(*reads)
        assert store.batches == [[b"a"], [b"b", b"c"]]

    asyncio.run(story())


def test_a_cancelled_request_does_not_affect_the_others() -> None:
    async def story() -> None:
        store = Store()
        store.gate.clear()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0)
        leaving, staying = (asyncio.ensure_future(reader.read([b"a"])) for _ in range(2))
        await settle()
        leaving.cancel()
        await settle()
        store.gate.set()
        assert (await staying)[0].row == b"row of a"

    asyncio.run(story())


def test_after_a_single_failure_the_next_request_reads_again() -> None:
    async def story() -> None:
        store, clock = Store(), FakeClock()
        reader = FeatureReader(store, clock, timeout_s=1.0, partitions=0)
        await reader.read([b"a"])
        store.away = True
        assert await reader.read([b"a"]) == [StoredRow(b"row of a", "stale")]
        assert reader.error == "redis: gone"
        store.away = False
        assert (await reader.read([b"b"]))[0].source == "online"
        assert reader.error is None

    asyncio.run(story())


def test_after_failures_in_a_row_reads_pause_for_longer_and_longer() -> None:
    async def story() -> list[float]:
        store, clock = Store(), FakeClock()
        reader = FeatureReader(store, clock, timeout_s=1.0, partitions=0)
        store.away, asked = True, []
        for _ in range(400):
            before = len(store.batches)
            assert await reader.read([b"a"]) == [StoredRow(None, "outage")]
            if len(store.batches) > before:
                asked.append(clock.monotonic())
            clock.advance(0.01)
        return [round(later - at, 2) for at, later in itertools.pairwise(asked)]

    pauses = asyncio.run(story())
    # To a step of the clock.
    assert pauses[:5] == pytest.approx([0.01, 0.05, 0.1, 0.2, 0.4], abs=0.011)
    assert pauses[5:] == pytest.approx([0.5] * len(pauses[5:]), abs=0.011)


def test_a_row_is_kept_no_longer_than_the_store_would_keep_it() -> None:
    async def story() -> None:
        store, clock = Store(), FakeClock()
        reader = FeatureReader(store, clock, timeout_s=1.0, partitions=0)
        await reader.read([b"a"])
        clock.advance(KEPT_ROW_S + 1)
        await reader.read([b"b"])
        store.away = True
        assert [one.source for one in await reader.read([b"a", b"b"])] == ["outage", "stale"]

    asyncio.run(story())


def test_rows_of_who_is_forgotten_are_not_kept() -> None:
    async def story() -> None:
        store = Store()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0)
        await reader.read([b"a", b"a:1", b"b:1"])
        reader.forget([b"a"], lambda key: key.startswith(b"a:"))
        store.away = True
        found = await reader.read([b"a", b"a:1", b"b:1"])
        assert [one.source for one in found] == ["outage", "outage", "stale"]

    asyncio.run(story())


def test_at_most_the_given_number_of_rows_is_kept() -> None:
    async def story() -> None:
        store = Store()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=0, kept_rows=2)
        for key in (b"a", b"b", b"a", b"c"):
            await reader.read([key])
        store.away = True
        sources = {key: (await reader.read([key]))[0].source for key in (b"a", b"b", b"c")}
        assert sources == {b"a": "stale", b"b": "outage", b"c": "stale"}

    asyncio.run(story())


def test_a_row_that_is_not_read_in_time_is_an_outage_and_a_key_without_a_row_is_new() -> None:
    async def story() -> None:
        store = MemoryStore()
        await store.claim(0, 1)
        await store.write(0, 1, BEGINNING, [b"known"], b"1")
        slow = SlowStore(store)
        reader = FeatureReader(slow, FakeClock(), timeout_s=0.02, partitions=0)
        slow.answers = False
        assert await reader.read([b"known", b"stranger"]) == [StoredRow(None, "outage")] * 2
        slow.answers = True
        known, stranger = await reader.read([b"known", b"stranger"])
        assert (known, stranger) == (StoredRow(b"1", "online"), StoredRow(None, "new"))

    asyncio.run(story())


def test_a_store_that_is_filled_again_has_no_new_users() -> None:
    async def story() -> None:
        store = MemoryStore()
        reader = FeatureReader(store, FakeClock(), timeout_s=1.0, partitions=2)

        async def sources() -> list[str]:
            return [
                stored.source for stored in await reader.read([b"known", b"quiet", b"stranger"])
            ]

        async def fill(partition: int, *keys: bytes) -> None:
            await store.claim(partition, 5)
            await store.write(partition, 5, BEGINNING, keys, b"1" * len(keys))
            await store.mark_filled(partition, 5)

        await fill(0, b"known")
        assert await sources() == ["online", "outage", "outage"]
        await fill(1, b"quiet")
        assert await sources() == ["online", "online", "new"]
        store.forget()
        assert await sources() == ["stale", "stale", "outage"]
        await fill(0, b"known")
        assert await sources() == ["online", "stale", "outage"]
        await fill(1, b"quiet")
        assert await sources() == ["online", "online", "new"]

    asyncio.run(story())
