"""The last events of an entity: found from the end of its partition, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from fake_clock import ManualClock
from http_calls import get
from serving import EVENT_SCHEMA, JsonCodec, ReplicaUnderTest, ReversedCodec

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.serve.entities import entity_events
from freshrank.serve.entities.entity_events import MAX_SCANNED, SCAN_TIMEOUT_S
from freshrank.serve.scoring.served_pipeline import EventStream, OriginalRecord

PARTITION = partition_of(b"u1", 4)


def event(user: str, number: int = 0) -> bytes:
    return msgspec.json.encode({"user_id": user, "ts": number})


def fill(log: MemoryLog, *values: bytes, first_ms: int = 1_000) -> None:
    """Append to the partition of u1, one record each millisecond."""
    stamps = np.arange(first_ms, first_ms + len(values), dtype=np.int64)
    log.extend("behaviour", PARTITION, values, stamps)


def events_of(replica: ReplicaUnderTest, query: str = "", key: str = "u1") -> dict[str, Any]:
    answer = get(replica, f"/v1/entities/user/{key}/events{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_events_of_the_entity_are_given_newest_first_with_their_place_and_content(
    replica: ReplicaUnderTest,
) -> None:
    fill(replica.log, event("u1", 1), event("other"), b"no json", event("u1", 2))
    found = events_of(replica)
    place = {"topic": "behaviour", "partition": PARTITION}
    assert found == {
        "entity": "user",
        "id": "u1",
        "events": [
            {**place, "offset": 3, "timestamp_ms": 1_003, "event": {"user_id": "u1", "ts": 2}},
            {**place, "offset": 0, "timestamp_ms": 1_000, "event": {"user_id": "u1", "ts": 1}},
        ],
        "scanned": [{**place, "begin": 0, "end": 4, "begin_timestamp_ms": 1_000, "complete": True}],
    }


def test_events_of_all_streams_are_given_in_the_order_of_their_times() -> None:
    streams = [EventStream(topic, JsonCodec(), EVENT_SCHEMA) for topic in ("behaviour", "orders")]
    replica = ReplicaUnderTest(streams=streams)
    fill(replica.log, event("u1", 1), event("u1", 2))
    replica.log.append("orders", PARTITION, event("u1", 3), 1_001)
    replica.log.append("orders", PARTITION, event("u1", 4), 2_000)
    found = events_of(replica, "?limit=3")
    times = [(found["topic"], found["timestamp_ms"]) for found in found["events"]]
    assert times == [("orders", 2_000), ("behaviour", 1_001), ("orders", 1_001)]
    assert [scanned["topic"] for scanned in found["scanned"]] == ["behaviour", "orders"]


def test_a_record_that_was_copied_twice_is_given_once_as_the_one_of_its_own_topic() -> None:
    def originals(copy: bytes) -> list[OriginalRecord]:
        if b"|" not in copy:
            raise BadRecord("no copy")
        found = [one.partition(b"|") for one in copy.split(b"+")]
        return [OriginalRecord(3, int(at), 500 + int(at), value) for at, _, value in found]

    stream = EventStream("plays", JsonCodec(), EVENT_SCHEMA, log_topic="behaviour")
    replica = ReplicaUnderTest(streams=[replace(stream, originals=originals)])
    copies = [b"7|" + event("u1", 1), b"8|" + event("u1", 2)]
    pack = b"+".join([copies[1], b"9|" + event("other")])
    fill(replica.log, *copies, copies[0], pack, event("u1", 3))
    found = events_of(replica)
    place = {"topic": "plays", "partition": 3}
    assert found["events"] == [
        {**place, "offset": 8, "timestamp_ms": 508, "event": {"user_id": "u1", "ts": 2}},
        {**place, "offset": 7, "timestamp_ms": 507, "event": {"user_id": "u1", "ts": 1}},
    ]


def test_events_of_any_format_are_given_as_json() -> None:
    streams = [EventStream("behaviour", ReversedCodec(), EVENT_SCHEMA)]
    replica = ReplicaUnderTest(streams=streams)
    fill(replica.log, event("u1", 7)[::-1], event("u1"), event("other")[::-1])
    assert [found["event"] for found in events_of(replica)["events"]] == [
        {"user_id": "u1", "ts": 7}
    ]


def test_an_entity_without_events_is_answered_with_an_empty_list(replica: ReplicaUnderTest) -> None:
    found = events_of(replica)
    assert found["events"] == []
    (scanned,) = found["scanned"]
    assert (scanned["begin"], scanned["end"]) == (0, 0)
    assert scanned["complete"] and scanned["begin_timestamp_ms"] is None


@pytest.mark.parametrize(("query", "count"), [("", 20), ("?limit=1", 1), ("?limit=200", 200)])
def test_no_more_than_the_limit_are_given_and_those_are_the_newest(
    replica: ReplicaUnderTest, query: str, count: int
) -> None:
    fill(replica.log, *(event("u1", number) for number in range(300)))
    numbers = [one["event"]["ts"] for one in events_of(replica, query)["events"]]
    assert numbers == list(range(299, 299 - count, -1))


@pytest.mark.parametrize("limit", ["0", "201", "many"])
def test_a_limit_beyond_its_bounds_is_a_422(replica: ReplicaUnderTest, limit: str) -> None:
    answer = get(replica, f"/v1/entities/user/u1/events?limit={limit}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "limit"


def test_another_entity_is_a_404(replica: ReplicaUnderTest) -> None:
    answer = get(replica, "/v1/entities/item/u1/events")
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "entity"


def test_events_far_back_are_found_and_nothing_older_is_read(replica: ReplicaUnderTest) -> None:
    others = [event("other")] * 10_000
    old = [event("u1", number) for number in range(3)]
    fill(replica.log, *others, *old, *others, event("u1", 3), *others)
    found = events_of(replica, "?limit=2")
    assert [one["offset"] for one in found["events"]] == [20_003, 10_002]
    (scanned,) = found["scanned"]
    assert 0 < scanned["begin"] <= 10_002
    assert scanned["begin_timestamp_ms"] == 1_000 + scanned["begin"]
    assert not scanned["complete"]


def test_a_scan_ends_after_its_bound_of_records_and_says_so(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entity_events, "SCAN_TIMEOUT_S", 60.0)  # a busy machine reads slowly
    longest = MAX_SCANNED + entity_events.LONGEST_STEP
    fill(replica.log, event("u1"), *[event("other")] * longest)
    found = events_of(replica)
    (scanned,) = found["scanned"]
    assert found["events"] == []
    assert MAX_SCANNED <= scanned["end"] - scanned["begin"] < longest
    assert not scanned["complete"]


class SlowSource(MemorySource):
    """Each poll takes 100 ms of a fake clock and gives at most 100 records."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        super().__init__(log)
        self._clock = clock

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        self._clock.advance(0.1)
        return await super().poll(100, timeout_s)


def test_a_scan_ends_in_time_and_leaves_out_the_step_that_it_did_not_finish() -> None:
    clock = ManualClock()
    replica = ReplicaUnderTest(clock=clock, source=lambda: SlowSource(replica.log, clock))
    fill(replica.log, *[event("u1")] * 5_000, *[event("other")] * 1_000)
    found = events_of(replica)
    assert clock.monotonic() == pytest.approx(SCAN_TIMEOUT_S)
    (scanned,) = found["scanned"]
    assert (scanned["begin"], scanned["end"]) == (5_000, 6_000)
    assert found["events"] == []
    assert not scanned["complete"]


class SparseSource(MemorySource):
    """Keeps no record of the last offsets, as after a transaction's marker."""

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        return await super().poll(max_records, 0.0)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        oldest, end = await super().bounds(topic, partition)
        return oldest, end + 2


def test_offsets_of_which_nothing_is_kept_are_not_waited_for() -> None:
    replica = ReplicaUnderTest(source=lambda: SparseSource(replica.log))
    fill(replica.log, event("u1", 1))
    found = events_of(replica)
    assert [one["offset"] for one in found["events"]] == [0]
    (scanned,) = found["scanned"]
    assert (scanned["begin"], scanned["end"], scanned["complete"]) == (0, 3, True)


class CountedSource(MemorySource):
    """Counts the open readers; fails or hangs on demand."""

    open = 0

    def __init__(self, log: MemoryLog, failure: str = "") -> None:
        super().__init__(log)
        self._failure = failure

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        type(self).open += 1
        if self._failure == "away":
            raise Unavailable("kafka", "connection refused")
        if self._failure == "hangs":
            await asyncio.Event().wait()
        await super().start(positions)

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        if self._failure == "dies":
            raise Unavailable("kafka", "connection reset")
        return await super().poll(max_records, timeout_s)

    async def stop(self) -> None:
        type(self).open -= 1
        await super().stop()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("away", "connection refused"),
        ("dies", "connection reset"),
        ("hangs", "no answer in 0.01 s"),
    ],
)
def test_without_the_broker_the_answer_is_a_503_with_the_reason_and_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, failure: str, reason: str
) -> None:
    monkeypatch.setattr(entity_events, "CONNECT_TIMEOUT_S", 0.01)
    replica = ReplicaUnderTest(source=lambda: CountedSource(replica.log, failure))
    fill(replica.log, event("u1"))
    answer = get(replica, "/v1/entities/user/u1/events")
    assert answer.status_code == 503
    assert answer.json()["error"] == {"field": "kafka", "reason": reason}
    assert answer.headers["retry-after"] == "1"
    assert CountedSource.open == 0


def test_a_reader_is_open_only_while_it_reads() -> None:
    replica = ReplicaUnderTest(source=lambda: CountedSource(replica.log))
    fill(replica.log, event("u1"))
    assert CountedSource.open == 0
    assert len(events_of(replica)["events"]) == 1
    assert CountedSource.open == 0


def test_more_scans_at_once_than_a_replica_takes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entity_events, "CONNECT_TIMEOUT_S", 0.05)
    replica = ReplicaUnderTest(source=lambda: CountedSource(replica.log, "hangs"))

    async def talk() -> tuple[httpx.Response, ...]:
        async with replica.client() as client:
            ask = partial(client.get, "/v1/entities/user/u1/events")
            return await asyncio.gather(ask(), ask(), ask())

    fields = sorted(answer.json()["error"]["field"] for answer in asyncio.run(talk()))
    assert fields == ["kafka", "kafka", "server"]
