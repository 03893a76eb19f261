"""Rejected records wait for the broker, within bounds, and are written once if it lets us."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.records import RejectedRecord
from freshrank.feature_actors.partition.outcome import Outcome
from freshrank.feature_actors.shard.dead_letters import (
    MOST_WAITING,
    MOST_WAITING_BYTES,
    DeadLetterQueue,
)


class Sink:
    """Takes so many calls, then is away."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.written: list[int] = []
        self.failures = 0

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        if self.calls == 0:
            raise Unavailable("kafka", "away")
        self.calls -= 1
        self.written += [one.offset for one in records]

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        raise NotImplementedError

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        raise NotImplementedError

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        raise NotImplementedError


def dead(count: int, value: bytes | None = None) -> Outcome:
    return Outcome(dead=[RejectedRecord("t", 0, number, "bad", value) for number in range(count)])


def test_reading_waits_for_too_many_records_or_too_many_bytes() -> None:
    for few, one_more in (
        (dead(MOST_WAITING - 1), dead(1)),
        (dead(3, b"x" * (MOST_WAITING_BYTES // 3)), dead(1, b"xxx")),
    ):
        dead_letters = DeadLetterQueue(Sink(0))
        full = []
        for outcome in (few, one_more):
            dead_letters.add(outcome)
            full.append(dead_letters.full)
        assert full == [False, True]


@pytest.mark.parametrize("value", [None, b"x" * 10_000])
def test_what_was_written_before_an_outage_is_not_written_again(value: bytes | None) -> None:
    sink = Sink(calls=2)
    dead_letters = DeadLetterQueue(sink)
    dead_letters.add(dead(2_500, value))

    async def story() -> None:
        with pytest.raises(Unavailable):
            await dead_letters.flush()
        assert 0 < len(sink.written) < 2_500
        sink.calls = 100
        assert await dead_letters.settle()

    asyncio.run(story())
    assert sink.written == list(range(2_500))


def test_a_record_larger_than_what_is_written_at_a_time_is_written() -> None:
    sink = Sink(calls=3)
    dead_letters = DeadLetterQueue(sink)
    dead_letters.add(dead(2, b"x" * 10_000_000))
    asyncio.run(dead_letters.flush())
    assert sink.written == [0, 1]
