"""One battery of checks for each protocol, run over every implementation of it.

A test module derives a class from a battery and gives it the fixture that makes the thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest
from source_offsets import upto

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import BEGINNING
from freshrank.actors.protocols import (
    EventSource,
    OnlineStore,
    RecordSink,
    StatusRegistry,
    WriteOutcome,
)
from freshrank.actors.records import DeletedRecords, RecordBatch, RejectedRecord
from freshrank.actors.snapshots.store import SnapshotStore

# Seconds: a broker on a busy machine may take some to answer.
PATIENCE_S = 20.0
# Seconds: many times what an answer takes.
AWHILE_S = 0.5


class LogWorld(Protocol):
    """A log, as a test sees it from outside."""

    topic: str
    """It has three partitions, and nothing in them."""

    async def write(self, partition: int, values: Sequence[bytes | None]) -> None:
        """Write records, all of the key ``any``."""
        ...

    async def delete(self, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does."""
        ...

    async def contents(self, topic: str) -> list[tuple[bytes | None, dict[str, bytes]]]:
        """Values and headers of all records of a topic."""
        ...

    async def source(self) -> EventSource: ...

    async def sink(self) -> RecordSink: ...

    async def close(self) -> None: ...


def run(world: LogWorld, test: Callable[[LogWorld], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            async with asyncio.timeout(4 * PATIENCE_S):
                await test(world)
        finally:
            await world.close()

    asyncio.run(whole())


async def read(source: EventSource, count: int, at_once: int = 1_000) -> list[RecordBatch]:
    """Poll until `count` records have come."""
    batches: list[RecordBatch] = []
    async with asyncio.timeout(PATIENCE_S):
        while sum(len(one.values) for one in batches) < count:
            batches += await source.poll(at_once, 0.2)
    return batches


def values_of(batches: Sequence[RecordBatch], partition: int) -> list[bytes | None]:
    return [value for one in batches if one.partition == partition for value in one.values]


class EventSourceBattery:
    def test_records_come_in_order_with_offsets_and_times(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"a", None, b"c"])
            await world.write(2, [b"x"])
            source = await world.source()
            await source.start({(world.topic, 0): None, (world.topic, 2): 0})
            batches = await read(source, 4)
            assert values_of(batches, 0) == [b"a", None, b"c"]
            assert values_of(batches, 2) == [b"x"]
            offsets = [o for one in batches if one.partition == 0 for o in one.offsets.tolist()]
            assert offsets == [0, 1, 2]
            assert all(one.topic == world.topic for one in batches)
            assert all(list(one.keys) == [b"any"] * len(one.values) for one in batches)
            assert all((one.timestamps_ms > 1_500_000_000_000).all() for one in batches)
            await source.stop()
            await source.stop()

        run(world, test)

    def test_reading_begins_at_the_given_offset_and_only_where_assigned(
        self, world: LogWorld
    ) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(10)])
            await world.write(1, [b"not mine"])
            source = await world.source()
            await source.start({(world.topic, 0): 7})
            assert values_of(await read(source, 3), 0) == [b"7", b"8", b"9"]
            assert await source.poll(10, 0.05) == []
            await source.stop()

        run(world, test)

    def test_the_bounds_of_a_partition_are_those_of_its_records(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(10)])
            source = await world.source()
            await source.start({(world.topic, 0): 7, (world.topic, 1): None})
            assert await source.bounds(world.topic, 0) == (0, 10)
            assert await source.bounds(world.topic, 1) == (0, 0)
            await world.write(0, [b"10"])
            assert await source.bounds(world.topic, 0) == (0, 11)
            assert values_of(await read(source, 4), 0) == [b"7", b"8", b"9", b"10"]
            await source.stop()

        run(world, test)

    def test_a_poll_gives_no_more_than_asked_for_and_loses_nothing(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            wanted = [b"%d" % i for i in range(50)]
            await world.write(0, wanted)
            source = await world.source()
            await source.start({(world.topic, 0): 0})
            batches: list[RecordBatch] = []
            while sum(len(one.values) for one in batches) < 50:
                some = await source.poll(7, 0.2)
                assert sum(len(one.values) for one in some) <= 7
                batches += some
            assert values_of(batches, 0) == wanted
            await source.stop()

        run(world, test)

    def test_records_that_were_deleted_before_they_were_read_are_told_once(
        self, world: LogWorld
    ) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(10)])
            source = await world.source()
            await source.start({(world.topic, 0): 0, (world.topic, 1): 0})
            await read(source, 10)
            await world.delete(0, 7)
            source.seek(world.topic, 0, 2)
            assert values_of(await read(source, 3), 0) == [b"7", b"8", b"9"]
            assert source.take_deleted() == [DeletedRecords(world.topic, 0, 2, 7)]
            assert source.take_deleted() == []
            await source.start({(world.topic, 0): 4, (world.topic, 1): None})
            assert source.take_deleted() == [DeletedRecords(world.topic, 0, 4, 7)]
            await source.start({(world.topic, 0): None})
            assert values_of(await read(source, 3), 0) == [b"7", b"8", b"9"]
            assert source.take_deleted() == [], "a new reader has lost nothing"
            await source.stop()

        run(world, test)

    def test_a_paused_partition_is_silent_while_others_go_on(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(20)])
            source = await world.source()
            await source.start({(world.topic, 0): 0, (world.topic, 1): 0})
            first = await source.poll(5, PATIENCE_S)  # the rest may lie in memory by now
            assert 0 < len(values_of(first, 0)) <= 5
            source.pause(world.topic, 0)
            await world.write(1, [b"other"])
            assert values_of(await read(source, 1), 1) == [b"other"]
            assert await source.poll(100, 0.05) == []
            source.resume(world.topic, 0)
            rest = await read(source, 20 - len(values_of(first, 0)))
            assert values_of([*first, *rest], 0) == [b"%d" % i for i in range(20)]
            await source.stop()

        run(world, test)

    def test_a_seek_goes_back_and_forth_even_where_it_is_paused(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(10)])
            source = await world.source()
            await source.start({(world.topic, 0): 0})
            await read(source, 10)
            source.seek(world.topic, 0, 4)
            source.pause(world.topic, 0)
            assert await source.poll(100, 0.05) == []
            source.resume(world.topic, 0)
            assert values_of(await read(source, 6), 0) == [b"4", b"5", b"6", b"7", b"8", b"9"]
            source.seek(world.topic, 0, 9)
            assert values_of(await read(source, 1), 0) == [b"9"]
            await source.stop()

        run(world, test)

    def test_lag_counts_what_lies_beyond_the_position(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"%d" % i for i in range(10)])
            source = await world.source()
            await source.start({(world.topic, 0): 4, (world.topic, 1): None})
            assert await source.lag() == {(world.topic, 0): 6, (world.topic, 1): 0}
            await read(source, 6)
            assert await source.lag() == {(world.topic, 0): 0, (world.topic, 1): 0}
            source.seek(world.topic, 0, 9)
            assert (await source.lag())[world.topic, 0] == 1
            await source.stop()

        run(world, test)

    def test_the_age_of_a_fetch_tells_of_partitions_that_wait_for_the_broker_alone(
        self, world: LogWorld
    ) -> None:
        async def test(world: LogWorld) -> None:
            await world.write(0, [b"a", b"b", b"c"])
            source = await world.source()
            assert source.fetch_age_s() == 0.0
            await source.start({(world.topic, 0): 0, (world.topic, 1): 0})
            await read(source, 1, at_once=1)
            await asyncio.sleep(AWHILE_S)
            # The others came with the first: while they lie in memory no more are asked for.
            await source.poll(1, PATIENCE_S)
            assert source.fetch_age_s() < AWHILE_S
            await read(source, 1)
            await asyncio.sleep(AWHILE_S)
            # An answer without a record is one, too.
            async with asyncio.timeout(PATIENCE_S):
                while source.fetch_age_s() >= AWHILE_S:
                    assert await source.poll(100, 0.05) == []
            for partition in (0, 1):
                source.pause(world.topic, partition)
            await source.poll(100, 2 * AWHILE_S)
            assert source.fetch_age_s() == 0.0
            source.resume(world.topic, 1)
            assert source.fetch_age_s() < AWHILE_S
            await source.stop()
            assert source.fetch_age_s() == 0.0

        run(world, test)

    def test_records_that_arrive_while_polling_come_at_once(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            source = await world.source()
            await source.start({(world.topic, 0): 0})
            assert await source.poll(10, 0.05) == []
            polling = asyncio.create_task(source.poll(10, PATIENCE_S))
            await asyncio.sleep(0.02)
            await world.write(0, [b"now"])
            async with asyncio.timeout(PATIENCE_S / 2):
                assert values_of(await polling, 0) == [b"now"]
            await source.stop()

        run(world, test)


class RecordSinkBattery:
    def test_a_sent_record_tells_where_it_lies(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            sink = await world.sink()
            first = await sink.send(world.topic, b"foobar", b"one")
            second = await sink.send(world.topic, b"foobar", b"two")
            assert first == (second[0], second[1] - 1)
            assert first[0] == (-790332482 & 0x7FFFFFFF) % 3  # the Java client's murmur2
            source = await world.source()
            await source.start({(world.topic, first[0]): first[1]})
            assert values_of(await read(source, 2), first[0]) == [b"one", b"two"]
            await source.stop()

        run(world, test)

    def test_a_queued_record_arrives_and_no_failure_is_counted(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            sink = await world.sink()
            for number in range(5):
                sink.send_nowait(world.topic, None, b"%d" % number)
            source = await world.source()
            await source.start({(world.topic, partition): None for partition in range(3)})
            batches = await read(source, 5)
            assert sorted(v for one in batches for v in one.values if v) == [
                b"0",
                b"1",
                b"2",
                b"3",
                b"4",
            ]
            assert sink.failures == 0
            await source.stop()

        run(world, test)

    def test_rejected_records_keep_reason_and_origin(self, world: LogWorld) -> None:
        async def test(world: LogWorld) -> None:
            sink = await world.sink()
            large = b"z" * 1_000_001
            await sink.reject(
                ".dead",
                [
                    RejectedRecord(world.topic, 1, 77, "not JSON: ä", b"{"),
                    RejectedRecord(world.topic, 2, 78, "tombstone", None),
                    RejectedRecord(world.topic, 2, 79, "too large", large),
                ],
            )
            found = {h["offset"]: (v, h) for v, h in await world.contents(world.topic + ".dead")}
            assert found.keys() == {b"77", b"78", b"79"}
            value, headers = found[b"77"]
            assert value == b"{"
            assert headers["reason"].decode() == "not JSON: ä"
            assert (headers["topic"], headers["partition"]) == (world.topic.encode(), b"1")
            assert found[b"78"][0] is None
            kept = found[b"79"][0]
            assert kept is not None and large.startswith(kept) and len(kept) >= 100_000

        run(world, test)


class OnlineStoreBattery:
    """Needs the fixtures `store` (a fresh one for the running loop) and `forget`."""

    def check(self, world: StoreWorld, test: Callable[[OnlineStore], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await test(world.store)
            finally:
                await world.close()

        asyncio.run(whole())

    def test_rows_are_read_back_and_missing_ones_are_none(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            assert await store.claim(0, 5) is None
            outcome = await store.write(0, 5, upto(10), [b"a", b"b"], b"11112222")
            assert outcome is WriteOutcome.WRITTEN
            assert (await store.read([b"b", b"none", b"a"])).rows == [b"2222", None, b"1111"]
            assert (await store.read([])).rows == []

        self.check(world, test)

    def test_thousands_of_rows_are_written_in_one_call(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 5)
            keys = [b"k%d" % i for i in range(2_345)]
            rows = b"".join(b"%05d" % i * 100 for i in range(2_345))
            assert await store.write(0, 5, upto(1), keys, memoryview(rows)) is WriteOutcome.WRITTEN
            assert (await store.read(keys)).rows == [b"%05d" % i * 100 for i in range(2_345)]
            assert await store.write(0, 5, upto(1), [], b"") is WriteOutcome.WRITTEN

        self.check(world, test)

    def test_removed_rows_are_gone(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 5)
            await store.write(0, 5, upto(1), [b"a", b"b"], b"1122")
            assert await store.remove(0, 5, [b"a", b"never there"]) is WriteOutcome.WRITTEN
            assert (await store.read([b"a", b"b"])).rows == [None, b"22"]

        self.check(world, test)

    def test_an_older_epoch_is_fenced_off_and_changes_nothing(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(3, 5)
            await store.write(3, 5, upto(1), [b"a"], b"old")
            assert await store.claim(3, 6) == upto(1)
            assert await store.write(3, 5, upto(9), [b"a"], b"bad") is WriteOutcome.FENCED
            assert await store.remove(3, 5, [b"a"]) is WriteOutcome.FENCED
            assert (await store.read([b"a"])).rows == [b"old"]
            assert await store.write(3, 6, upto(2), [b"a"], b"new") is WriteOutcome.WRITTEN
            with pytest.raises(ProgressError, match="claimed by epoch 6"):
                await store.claim(3, 5)
            assert await store.write(3, 6, upto(2), [b"a"], b"now") is WriteOutcome.WRITTEN

        self.check(world, test)

    def test_partitions_are_claimed_one_by_one(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 9)
            await store.claim(1, 5)
            assert await store.write(1, 5, upto(1), [b"a"], b"x") is WriteOutcome.WRITTEN
            assert await store.write(2, 5, upto(1), [b"a"], b"y") is WriteOutcome.LOST

        self.check(world, test)

    def test_a_claim_tells_how_far_was_written_and_never_less(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            assert await store.claim(0, 5) is None
            assert await store.claim(0, 6) == BEGINNING
            await store.write(0, 6, upto(1_700_000_000_000_123), [b"a"], b"x")
            await store.write(0, 6, upto(40), [b"a"], b"x")
            assert await store.claim(0, 7) == upto(1_700_000_000_000_123)

        self.check(world, test)

    def test_a_claim_keeps_the_offsets_of_each_topic(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 5)
            await store.write(0, 5, upto(events=7), [b"a"], b"x")
            await store.write(0, 5, upto(shown=9), [b"b"], b"y")
            await store.write(0, 5, upto(events=6, shown=11), [b"c"], b"z")
            assert await store.claim(0, 6) == upto(events=7, shown=11)

        self.check(world, test)

    def test_a_store_that_was_emptied_says_so(self, world: StoreWorld) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 5)
            await store.write(0, 5, upto(7), [b"a"], b"x")
            await world.forget()
            assert await store.write(0, 5, upto(8), [b"a"], b"x") is WriteOutcome.LOST
            assert await store.remove(0, 5, [b"a"]) is WriteOutcome.LOST
            assert (await store.read([b"a"])).rows == [None]
            assert await store.claim(0, 5) is None
            assert await store.write(0, 5, upto(8), [b"a"], b"x") is WriteOutcome.WRITTEN

        self.check(world, test)

    def test_a_refresh_names_the_keys_without_a_row_to_the_holder_of_the_claim(
        self, world: StoreWorld
    ) -> None:
        async def test(store: OnlineStore) -> None:
            await store.claim(0, 5)
            keys = [b"%d" % place for place in range(1_200)]
            await store.write(0, 5, upto(1), keys, b"x" * 1_200)
            await store.remove(0, 5, [b"3", b"777"])
            assert await store.refresh(0, 5, keys) == [3, 777]
            assert await store.refresh(0, 4, keys) == []
            assert await store.refresh(1, 5, keys) == []
            assert await store.evicted() == 0

        self.check(world, test)

    def test_a_store_has_all_rows_of_the_partitions_that_were_filled_since_it_was_emptied(
        self, world: StoreWorld
    ) -> None:
        async def test(store: OnlineStore) -> None:
            assert await store.mark_filled(1, 5) is WriteOutcome.LOST
            await store.claim(1, 5)
            assert (await store.read([])).filled == 0
            assert await store.mark_filled(1, 5) is WriteOutcome.WRITTEN
            await store.claim(9, 5)
            assert await store.mark_filled(9, 5) is WriteOutcome.WRITTEN
            assert await store.mark_filled(9, 5) is WriteOutcome.WRITTEN
            await store.claim(9, 6)
            assert await store.mark_filled(9, 5) is WriteOutcome.FENCED
            assert (await store.read([b"a"])) == ([None], 2)
            await world.forget()
            assert await store.claim(1, 5) is None
            assert (await store.read([b"a"])).filled == 0
            assert await store.mark_filled(1, 5) is WriteOutcome.WRITTEN
            assert (await store.read([b"a"])).filled == 1

        self.check(world, test)


class StoreWorld(Protocol):
    """An online store, as a test sees it from outside."""

    @property
    def store(self) -> OnlineStore: ...

    async def forget(self) -> None: ...

    async def close(self) -> None: ...


class StatusRegistryBattery:
    """Needs the fixture `make`: a registry for the running loop."""

    def test_the_newest_figures_of_each_part_are_collected(
        self, make: Callable[[], AbstractAsyncContextManager[StatusRegistry]]
    ) -> None:
        async def test() -> None:
            async with make() as status_registry:
                assert await status_registry.collect() == {}
                await status_registry.post("shard-0", {"events": 1, "lag": {"0": [1, 2]}})
                await status_registry.post("shard-0", {"events": 2, "health": None})
                await status_registry.post("learner", {"version": "1.2"})
                assert await status_registry.collect() == {
                    "shard-0": {"events": 2, "health": None},
                    "learner": {"version": "1.2"},
                }

        asyncio.run(test())

    def test_a_part_that_is_withdrawn_is_collected_no_more_until_it_posts_again(
        self, make: Callable[[], AbstractAsyncContextManager[StatusRegistry]]
    ) -> None:
        async def test() -> None:
            async with make() as status_registry:
                await status_registry.withdraw("replica-a")
                for part in ("replica-a", "replica-b"):
                    await status_registry.post(part, {"requests": 1})
                await status_registry.withdraw("replica-a")
                assert await status_registry.collect() == {"replica-b": {"requests": 1}}
                await status_registry.post("replica-a", {"requests": 2})
                assert (await status_registry.collect())["replica-a"] == {"requests": 2}

        asyncio.run(test())


class SnapshotStoreBattery:
    """Needs the fixture `store`, which keeps three of each name."""

    def test_the_newest_three_come_newest_first(self, store: SnapshotStore) -> None:
        assert store.candidates("p-0") == []
        for payload in (b"1", b"2", b"3", b"4"):
            assert store.save("p-0", [payload, memoryview(b"!")]) == 2
        store.save("p-1", [b"other"])
        kept = store.candidates("p-0")
        assert [bytes(one.read()) for one in kept] == [b"4!", b"3!", b"2!"]
        assert len({one.place for one in kept}) == 3
        assert [bytes(one.read()) for one in store.candidates("p-1")] == [b"other"]
