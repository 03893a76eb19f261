"""When producers that are faulty write beside the right ones."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fake_clock import ManualClock

from freshrank.benchmarks.chaos import producer_faults
from freshrank.benchmarks.chaos.faults import Handles
from freshrank.benchmarks.chaos.producer_faults import BURST, OUTNUMBERED_BY, Habit, writing


class CountingProducer:
    """A client that notes how many records it was given, and has delivered all of them."""

    def __init__(self) -> None:
        self.given = 0

    def __len__(self) -> int:
        return 0

    def produce(self, *_: object, **__: object) -> None:
        self.given += 1

    def poll(self, timeout_s: float) -> None:
        pass

    def flush(self, timeout_s: float) -> int:
        return 0


class Scene:
    """A producer of a habit, beside right ones whose deliveries a test counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.clock, self.delivered = CountingProducer(), ManualClock(), 0
        monkeypatch.setattr(producer_faults, "Producer", lambda config: self.client)
        parts: dict[str, Any] = {
            "clock": self.clock,
            "rng": np.random.default_rng(0),
            "partitions": 2,
            "bootstrap": "",
            "pipeline": SimpleNamespace(stream=SimpleNamespace(topic="shop")),
            "observer": SimpleNamespace(newest=None),
            "delivered": lambda: self.delivered,
        }
        self.handles = cast("Handles", SimpleNamespace(**parts))

    async def tick(self, times: int) -> int:
        """Let time pass; gives how many records have been written by then."""
        for _ in range(times):
            await self.clock.tick(1.0)
        return self.client.given


@pytest.mark.parametrize("behind_ms", [0, 60_000])
def test_none_writes_while_the_right_ones_do_not_get_on(
    behind_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        scene = Scene(monkeypatch)
        async with writing(scene.handles, [Habit(stamp_ms=lambda now_ms: now_ms - behind_ms)]):
            assert await scene.tick(20) == 0
            scene.delivered += OUTNUMBERED_BY
            assert await scene.tick(20) == BURST, "whatever its clock is"
            scene.delivered += OUTNUMBERED_BY - 1
            assert await scene.tick(20) == BURST
            scene.delivered += 1
            assert await scene.tick(20) == 2 * BURST

    asyncio.run(test())


def test_a_producer_without_others_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        scene = Scene(monkeypatch)
        scene.handles.delivered = None
        async with writing(scene.handles, [Habit()]):
            assert await scene.tick(3) >= 3 * BURST

    asyncio.run(test())
