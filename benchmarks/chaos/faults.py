"""What a fault is, and the handles by which it gets at a running system."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np

from freshrank.actors.clock import Clock, SystemClock
from freshrank.benchmarks.chaos.detection import Detection, Observation, Observer
from freshrank.benchmarks.polling import wait_for
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.system_process import SystemProcess
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers

T = TypeVar("T")

# Seconds after which a fault counts as not mended: the application starts in 25 s on two idle
# cores, and a fault of another plan may delay it.
TIMEOUT_S = 240.0


@dataclass(slots=True)
class Handles:
    """A running system, its servers and its producers, as faults get at them."""

    pipeline: Pipeline
    partitions: int
    """Of the stream's topic: it is not asked for, because the broker may be away."""
    bootstrap: str
    """The broker's address: it keeps it when it is started again, and has none while it is away."""
    outside: ExternalServers
    process: SystemProcess
    client: StatusClient
    observer: Observer
    rng: np.random.Generator
    clock: Clock = field(default_factory=SystemClock)
    shopper_clock_ms: int = 0
    """By how much the clocks of every other shopper are ahead."""
    delivered: Callable[[], int] | None = None
    """How many records of the right producers the broker has taken; None: none is at work."""

    async def wait_for(self, poll: Callable[[], Awaitable[T | None]], problem: str) -> T:
        """Poll until there is something. Raises Unavailable with `problem` after `TIMEOUT_S`."""
        return await wait_for(poll, TIMEOUT_S, "the system", problem)

    async def until_ready(self) -> None:
        """Wait until ``GET /readyz`` misses nothing. Raises Unavailable."""

        async def ready() -> bool:
            return await self.client.missing() == {}

        await self.wait_for(ready, "the endpoint is not ready")


Injection: TypeAlias = Callable[[Handles], AbstractAsyncContextManager[Observation]]
"""The fault is there when the block begins, which gets the observation of just before; the end of
the block returns when all is mended."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: how it is injected, and what has to tell of it."""

    line: str
    """Announces it."""
    inject: Injection
    told_by: Detection | None
    """None: the system works on as it should, and there is nothing to tell."""
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """The least and the most seconds of the block; it ends no sooner than the fault is told of."""
