"""When a system counts as having told of a fault, and when as silent."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank.actors.alerts import AlertKind
from freshrank.actors.metrics.latency_histogram import LatencyHistogram
from freshrank.benchmarks.chaos.detection import (
    GIVE_UP_S,
    POLL_S,
    TOLD_S,
    Detection,
    Observation,
    Observer,
    alerted,
    counted,
    either,
    every,
    not_ready,
    replaced,
    slow,
    unreachable,
)

BEFORE = Observation(
    1_000,
    {},
    {
        "shard-0": {"late": 4, "process_id": 7},
        "learner": {"alerts": {"newest": [{"kind": "not_saved", "at_ms": 900}]}},
    },
)


def after(missing: dict[str, str] | None = None, **statuses: dict[str, Any]) -> Observation:
    named = {name.replace("_", "-"): status for name, status in statuses.items()}
    return Observation(1_200, missing, {**BEFORE.statuses, **named})


def latencies(ms: float) -> dict[str, Any]:
    histogram = LatencyHistogram()
    histogram.add(np.array([ms]))
    return {"freshness": histogram.to_json()}


@pytest.mark.parametrize(
    ("tells", "told", "not_told"),
    [
        (counted("late"), after(shard_0={"late": 5}), after(shard_0={"late": 4})),
        (
            alerted(AlertKind.NOT_SAVED),
            after(shard_0={"alerts": {"newest": [{"kind": "not_saved", "at_ms": 1_000}]}}),
            after(shard_0={"alerts": {"newest": [{"kind": "clocks", "at_ms": 1_100}]}}),
        ),
        (not_ready("a", "b"), after({"b": "away"}), after({"c": "away"})),
        (not_ready("a"), after(None), after({"b": "away"})),
        (unreachable, after(None), after({"a": "away"})),
        (slow(50.0), after({}, shard_0=latencies(80.0)), after({}, shard_0=latencies(20.0))),
        (replaced("shard-0"), after(shard_0={"process_id": 8}), after(shard_0={"starting": True})),
        (either(unreachable, not_ready("a")), after({"a": "away"}), after({})),
        (
            every(counted("late"), not_ready("a")),
            after({"a": ""}, shard_0={"late": 5}),
            after({"a": ""}),
        ),
    ],
)
def test_what_tells_of_a_fault_and_what_does_not(
    tells: Detection, told: Observation, not_told: Observation
) -> None:
    assert tells(BEFORE, told) and not tells(BEFORE, not_told) and not tells(BEFORE, BEFORE)


class Endpoint:
    """Gives the answers of a list in turn, the last one for ever."""

    def __init__(self, *missing: dict[str, str] | None) -> None:
        self._missing = list(missing)

    async def missing(self) -> dict[str, str] | None:
        return self._missing.pop(0) if len(self._missing) > 1 else self._missing[0]

    async def statuses(self) -> dict[str, Any]:
        return {}


async def seconds_until_unreachable(*missing: dict[str, str] | None) -> float | None:
    observer = Observer(Endpoint(*missing), FakeClock())
    task = asyncio.create_task(observer.observe_forever())
    try:
        return await observer.seconds_until(unreachable, BEFORE)
    finally:
        task.cancel()


def test_a_fault_that_a_ready_system_does_not_tell_of_for_ten_seconds_is_silent() -> None:
    told_s = asyncio.run(seconds_until_unreachable({}, {}, {}, None))
    assert told_s is not None and told_s <= 5 * POLL_S
    assert asyncio.run(seconds_until_unreachable({})) is None
    late: list[dict[str, str] | None] = [{}] * int(TOLD_S / POLL_S + 5)
    assert asyncio.run(seconds_until_unreachable(*late, None)) is None


def test_a_system_that_says_that_it_is_not_ready_has_longer() -> None:
    most = int(0.8 * TOLD_S / POLL_S)
    ready: list[dict[str, str] | None] = [{}] * most
    told_s = asyncio.run(seconds_until_unreachable(*ready, {"learner": "away"}, *ready, None))
    assert told_s is not None and TOLD_S < told_s < GIVE_UP_S
    assert asyncio.run(seconds_until_unreachable({"learner": "away"})) is None
