"""Injects faults into a running system, and waits after each until the system has mended it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.chaos.fault_plan import Fault, FaultPlan
from freshrank.benchmarks.polling import wait_for
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.system_process import SystemProcess, kill_process
from freshrank.deploy.servers.external import ExternalServers

T = TypeVar("T")

# Seconds for which Kafka is away, and the least and the most for Redis.
BROKER_AWAY_S = 20.0
STORE_AWAY_S = (0.5, 3.0)
# Seconds after which a fault counts as not mended: the application starts in 25 s on two idle
# cores, and a fault of the other plan may delay it.
TIMEOUT_S = 240.0


class FaultInjector:
    """Runs fault plans against one system; several may run at the same time.

    Parameters
    ----------
    process
        The system's process, which the plan may kill and start.
    log
        Called with a line before and after each fault.
    """

    def __init__(
        self,
        outside: ExternalServers,
        process: SystemProcess,
        client: StatusClient,
        rng: np.random.Generator,
        log: Callable[[str], None],
    ) -> None:
        self._outside = outside
        self._process = process
        self._system = process.system
        self._client = client
        self._rng = rng
        self._log = log
        self._clock = SystemClock()
        self._actions: dict[Fault, Callable[[], Awaitable[None]]] = {
            Fault.SHARD: lambda: self._kill_part("shard-0", "ShardHost"),
            Fault.LEARNER: lambda: self._kill_part("learner", "LearnerHost"),
            Fault.REPLICA: lambda: self._kill("ServeReplica"),
            Fault.INGRESS: lambda: self._kill("bin/haproxy"),
            Fault.HANG: self._hang_shard,
            Fault.STORE: self._restart_store,
            Fault.BROKER: self._restart_broker,
            Fault.APPLICATION: self._restart_application,
        }

    async def inject(self, plan: FaultPlan) -> None:
        """Inject the faults of `plan` in order. Raises Unavailable for one that is not mended."""
        for wait_s, fault in plan:
            await self._clock.sleep(wait_s)
            self._log(fault.value)
            began = self._clock.monotonic()
            await self._actions[fault]()
            self._log(f"{fault.value}: {self._clock.monotonic() - began:.1f} s")

    async def until_ready(self) -> None:
        """Wait until ``GET /readyz`` misses nothing. Raises Unavailable."""

        async def ready() -> bool:
            return bool((await self._client.get("/readyz")).get("ready"))

        await self._wait_for(ready, "the endpoint is not ready")

    async def _kill(self, title: str) -> None:
        """Kill a process with `title`, and wait for a new one."""

        async def processes() -> list[int]:
            return self._system.processes(title)

        before = await self._wait_for(processes, f"there is no process {title}")
        kill_process(before[0])

        async def replaced() -> bool:
            return not set(before).issuperset(self._system.processes(title))

        await self._wait_for(replaced, f"there is no new process {title}")

    async def _kill_part(self, part: str, title: str) -> None:
        """Kill the process that runs `part`, and wait until another runs it."""
        process = await self._process_of(part, title)
        kill_process(process)
        await self._taken_over(part, title, process)

    async def _hang_shard(self) -> None:
        part, title = "shard-0", "ShardHost"
        process = await self._process_of(part, title)
        _signal(process, signal.SIGSTOP)
        try:
            await self._taken_over(part, title, process)
        finally:
            _signal(process, signal.SIGCONT)

        async def ended() -> bool:
            return process not in self._system.processes(title)

        await self._wait_for(ended, "the replaced shard still runs")

    async def _process_of(self, part: str, title: str) -> int:
        async def process() -> int | None:
            return await self._running_process(part, title)

        return await self._wait_for(process, f"there is no {part}")

    async def _taken_over(self, part: str, title: str, process: int) -> None:
        async def other() -> bool:
            return await self._running_process(part, title) not in (None, process)

        await self._wait_for(other, f"no process took over from {part}")

    async def _running_process(self, part: str, title: str) -> int | None:
        """Return the process that posted the newest status of `part`, if it still runs."""
        process = await self._client.process_of(part)
        return process if process in self._system.processes(title) else None

    async def _restart_store(self) -> None:
        redis = self._outside.redis
        await asyncio.to_thread(redis.kill)
        await self._clock.sleep(self._rng.uniform(*STORE_AWAY_S))
        await asyncio.to_thread(redis.start)

    async def _restart_broker(self) -> None:
        broker = self._outside.broker
        await asyncio.to_thread(broker.stop)
        await self._clock.sleep(BROKER_AWAY_S)
        await asyncio.to_thread(broker.start)

    async def _restart_application(self) -> None:
        await asyncio.to_thread(self._process.kill)
        await asyncio.to_thread(self._process.start)

    async def _wait_for(self, poll: Callable[[], Awaitable[T | None]], problem: str) -> T:
        return await wait_for(poll, TIMEOUT_S, "the system", problem)


def _signal(process: int, number: signal.Signals) -> None:
    """Send a signal, unless the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
