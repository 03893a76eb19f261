"""Events whose time cannot be right are refused at the door."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from fake_clock import FakeClock

from freshrank.actors.errors import RequestError
from freshrank.benchmarks.crashes.recorded_stream import PARTITIONS, recorded_pipeline, stream
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

NOW_MS = 1_790_000_000_000
EVENT: dict[str, Any] = {"id": "e", "user": "ann", "item": 3, "kind": "view", "price": 1.0}


def refusal(*times: object) -> RequestError | None:
    """Why events with these times are refused; None where they are written."""

    async def post() -> RequestError | None:
        world = World(MemoryLog(PARTITIONS), FakeClock(NOW_MS))
        system = LocalSystem(recorded_pipeline(), Settings(), world)
        await system.start()
        events = [EVENT | {"id": f"e{number}", "ts": ts} for number, ts in enumerate(times)]
        try:
            await system.replica.events.write(msgspec.json.encode(events), stream.topic)
        except RequestError as error:
            return error
        finally:
            written = sum(world.log.end(stream.topic, at) for at in range(PARTITIONS))
            await system.stop()
        assert written == len(times)
        return None

    return asyncio.run(post())


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (NOW_MS // 1000, "1790000000 is a time in seconds, not in milliseconds: multiply by 1000"),
        (NOW_MS * 1000, "is a time in microseconds"),
        (NOW_MS * 1_000_000, "is a time in nanoseconds"),
        (1e18, "more than 1h ahead"),
        (NOW_MS + 9_000_000, "more than 1h ahead of the log: 1790009000000 is 9000.0 s ahead"),
    ],
)
def test_a_time_that_cannot_be_right_is_a_422_with_field_and_reason(
    time: object, reason: str
) -> None:
    error = refusal(NOW_MS, time)
    assert error is not None
    assert (error.status, error.field) == (422, "events[1].ts")
    assert reason in error.reason


def test_times_that_may_be_right_are_written() -> None:
    assert refusal(NOW_MS, NOW_MS + 3_500_000, 0, NOW_MS - 10**11) is None
