"""What a real broker refuses for good is told or counted, and harms no other record."""

from __future__ import annotations

import asyncio
import unittest.mock
from collections.abc import Awaitable, Callable, Mapping
from functools import partialmethod

import aiokafka
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.deploy.servers.brokers import Broker
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

# Seconds: ten times what it takes on two busy cores.
PATIENCE_S = 60.0
# Of the topic, in bytes: less than a batch on its way may have.
NARROW = 20_000
LARGE = b"x" * (2 * NARROW)


async def make(bootstrap: str, topic: str, configs: Mapping[str, str]) -> None:
    """Make a topic of one partition, so that all its records share a sequence."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    await admin.close()


async def contents(bootstrap: str, topic: str) -> list[bytes | None]:
    """All values of the topic, in order."""
    part = aiokafka.TopicPartition(topic, 0)
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    consumer.assign([part])
    consumer.seek(part, 0)
    wanted = (await consumer.end_offsets([part]))[part]
    found: list[bytes | None] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < wanted:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value for record in records]
    await consumer.stop()
    return found


def tell(
    kafka: Broker,
    topic: str,
    story: Callable[[KafkaSink], Awaitable[None]],
    configs: Mapping[str, str] | None = None,
) -> list[bytes | None]:
    """Play `story` with a sink and such a topic; gives what the topic holds afterwards."""

    async def play() -> list[bytes | None]:
        await make(kafka.bootstrap, topic, configs or {"max.message.bytes": str(NARROW)})
        sink = KafkaSink(KafkaAccess(kafka.bootstrap))
        await sink.start()
        try:
            await story(sink)
        finally:
            await sink.stop()
        return await contents(kafka.bootstrap, topic)

    return asyncio.run(play())


def test_records_after_one_that_is_too_large_are_written(kafka: Broker, fresh_name: str) -> None:
    async def story(sink: KafkaSink) -> None:
        assert await sink.send(fresh_name, b"k", b"before") == (0, 0)
        for _ in range(2):
            with pytest.raises(BadRecord, match=f"{len(LARGE)} bytes are more than .*{fresh_name}"):
                await sink.send(fresh_name, b"k", LARGE)
        assert await sink.send(fresh_name, b"k", b"after") == (0, 1)
        sink.send_nowait(fresh_name, b"k", b"at last")

    assert tell(kafka, fresh_name, story) == [b"before", b"after", b"at last"]


def test_of_queued_records_only_the_one_that_is_too_large_is_lost_and_counted(
    kafka: Broker, fresh_name: str
) -> None:
    good = [b"%d" % number for number in range(20)]

    async def story(sink: KafkaSink) -> None:
        for value in (*good[:5], LARGE, *good[5:10]):
            sink.send_nowait(fresh_name, b"k", value)
        await sink.stop()
        assert sink.failures == 1
        await sink.start()
        for value in good[10:]:
            sink.send_nowait(fresh_name, None, value)
        await sink.stop()
        assert sink.failures == 1

    found = tell(kafka, fresh_name, story)
    assert sorted(map(str, found)) == sorted(map(str, good))


def test_records_of_which_only_many_at_once_are_too_large_are_all_written_once(
    kafka: Broker, fresh_name: str
) -> None:
    sent = [b"%03d" % number + b"x" * (NARROW // 10) for number in range(100)]

    async def story(sink: KafkaSink) -> None:
        for value in sent[:50]:
            sink.send_nowait(fresh_name, b"k", value)
        places = await asyncio.gather(*(sink.send(fresh_name, b"k", one) for one in sent[50:]))
        assert len(set(places)) == 50
        await sink.stop()
        assert sink.failures == 0

    assert sorted(map(str, tell(kafka, fresh_name, story))) == sorted(map(str, sent))


def test_records_after_one_that_is_refused_for_another_reason_are_written(
    kafka: Broker, fresh_name: str
) -> None:
    async def story(sink: KafkaSink) -> None:
        for value in (b"one", b"two"):
            with pytest.raises(Unavailable, match="kafka"):
                await sink.send(fresh_name, None, b"a compacted topic takes none without a key")
            assert (await sink.send(fresh_name, b"k", value))[0] == 0

    assert tell(kafka, fresh_name, story, {"cleanup.policy": "compact"}) == [b"one", b"two"]


def test_a_topic_that_has_refused_a_record_is_not_written_to_record_by_record_afterwards(
    kafka: Broker, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(sink: KafkaSink) -> None:
        await sink.send(fresh_name, b"k", b"x")
        with pytest.raises(BadRecord):
            await sink.send(fresh_name, b"k", LARGE)
        # Called for records that go alone; aiokafka's own batches do without it.
        alone = unittest.mock.AsyncMock()
        monkeypatch.setattr(aiokafka.AIOKafkaProducer, "send_batch", alone)
        places = await asyncio.gather(*(sink.send(fresh_name, b"k", b"x") for _ in range(20)))
        assert [offset for _, offset in places] == list(range(1, 21))
        alone.assert_not_awaited()

    assert tell(kafka, fresh_name, story) == [b"x"] * 21


@pytest.mark.parametrize("narrow", [False, True])
def test_many_records_that_are_written_together_keep_their_order(
    kafka: Broker, fresh_name: str, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = unittest.mock.AsyncMock(side_effect=aiokafka.AIOKafkaProducer.send_batch)
    monkeypatch.setattr(aiokafka.AIOKafkaProducer, "send_batch", partialmethod(sent))
    # Three batches of the client and more, of which the narrow topic refuses each.
    small = [(b"%d" % number, b"%d " % number + b"x" * 600) for number in range(1_000)]
    records = [*small[:500], (b"large", LARGE if narrow else b"x" * (1 << 20)), *small[500:]]

    async def story(sink: KafkaSink) -> None:
        answers = await sink.send_all(fresh_name, records)
        assert [at for at, answer in enumerate(answers) if answer is not None] == [500]
        assert "bytes are more than" in str(answers[500]) and fresh_name in str(answers[500])
        assert await sink.send_all(fresh_name, [(b"k", b"after")]) == [None]

    configs = None if narrow else {"retention.ms": "-1"}
    values = [value for _, value in small]
    found = tell(kafka, fresh_name, story, configs)
    # Behind a refused batch some may lie that are written again.
    assert found[-len(values) - 1 :] == [*values, b"after"]
    assert narrow or len(found) == len(values) + 1
    # Not one for each record: as many as halves, where they are refused.
    assert sent.await_count < 120


def test_records_for_many_partitions_lie_where_their_keys_belong(
    kafka: Broker, fresh_name: str
) -> None:
    records = [(b"key %d" % (number % 50), b"%d" % number) for number in range(500)]

    async def story() -> list[tuple[int, bytes | None]]:
        access = KafkaAccess(kafka.bootstrap)
        await ensure_topics(access, [fresh_name], 4)
        sink = KafkaSink(access)
        await sink.start()
        assert await sink.send_all(fresh_name, records) == [None] * len(records)
        assert await sink.send_all(fresh_name, []) == []
        await sink.stop()
        with pytest.raises(Unavailable, match="not started, or stopped"):
            await sink.send_all(fresh_name, records)
        source, found = KafkaSource(access), list[tuple[int, bytes | None]]()
        await source.start({(fresh_name, partition): 0 for partition in range(4)})
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < len(records):
                for batch in await source.poll(1_000, 0.2):
                    found += [(batch.partition, value) for value in batch.values]
        await source.stop()
        return found

    found = asyncio.run(story())
    for partition in range(4):
        own = [value for key, value in records if partition_of(key, 4) == partition]
        assert [value for at, value in found if at == partition] == own
