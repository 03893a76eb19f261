"""A fault plan is carried out fault by fault, and those that nothing told of are kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_clock import FakeClock

from freshrank.benchmarks.chaos.detection import TOLD_S, Observation, Observer, unreachable
from freshrank.benchmarks.chaos.fault_injector import FaultInjector
from freshrank.benchmarks.chaos.faults import Fault, Handles


class Endpoint:
    """Answers unless it is away."""

    def __init__(self) -> None:
        self.away = False

    async def missing(self) -> dict[str, str] | None:
        return None if self.away else {}

    async def statuses(self) -> dict[str, Any]:
        return {}


def test_faults_come_in_turn_and_the_silent_ones_are_kept() -> None:
    endpoint, clock, lines = Endpoint(), FakeClock(), list[str]()

    @contextlib.asynccontextmanager
    async def away(handles: Handles) -> AsyncIterator[Observation]:
        before, endpoint.away = handles.observer.newest, True
        yield before
        endpoint.away = False

    @contextlib.asynccontextmanager
    async def hidden(handles: Handles) -> AsyncIterator[Observation]:
        yield handles.observer.newest

    seen = Fault("seen", away, unreachable, lasts_s=(3.0, 3.0))
    silent = Fault("silent", hidden, unreachable)
    harmless = Fault("harmless", hidden, None)

    async def inject() -> FaultInjector:
        observer = Observer(endpoint, clock)
        handles: Any = SimpleNamespace(clock=clock, observer=observer, rng=np.random.default_rng(0))
        injector = FaultInjector(handles, lines.append)
        observing = asyncio.create_task(observer.observe_forever())
        await injector.inject([(1.0, seen), (0.0, silent), (0.0, harmless)])
        observing.cancel()
        return injector

    assert asyncio.run(inject()).silent == [silent]
    assert [line.partition(" ")[0].rstrip(":") for line in lines] == (
        ["seen"] * 3 + ["silent"] * 3 + ["harmless"] * 2
    )
    assert clock.monotonic() > 1.0 + 3.0 + TOLD_S
