"""Does to a running system what `faults` names, and waits each time until that has been mended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.chaos.fault_plan import Fault, Plan
from freshrank.benchmarks.workloads.status_client import LiveView
from freshrank.benchmarks.workloads.system_process import Application, end
from freshrank.deploy.servers.external import Outside

# Seconds that Kafka is away, and Redis at least and at most.
BROKER_AWAY_S = 20.0
STORE_AWAY_S = (0.5, 3.0)
# Seconds after which something counts as lost for good: the application starts in 25 s on two idle
# cores, and a fault of the other hand may meet it.
PATIENCE_S = 240.0
# Between two looks.
LOOK_S = 0.1


class Harm:
    """Two hands that hurt one system at the same time.

    Parameters
    ----------
    say
        Called with a line before each fault.
    """

    def __init__(
        self,
        outside: Outside,
        application: Application,
        view: LiveView,
        rng: np.random.Generator,
        say: Callable[[str], None],
    ) -> None:
        self._outside = outside
        self._application = application
        self._system = application.system
        self._view = view
        self._rng = rng
        self._say = say
        self._clock = SystemClock()
        self._ways: dict[Fault, Callable[[], Awaitable[None]]] = {
            Fault.SHARD: lambda: self._kill_part("shard-0", "ShardHost"),
            Fault.LEARNER: lambda: self._kill_part("learner", "LearnerHost"),
            Fault.REPLICA: lambda: self._kill("ServeReplica"),
            Fault.INGRESS: lambda: self._kill("bin/haproxy"),
            Fault.HANG: self._hang,
            Fault.STORE: self._lose_store,
            Fault.BROKER: self._lose_broker,
            Fault.APPLICATION: self._kill_application,
        }

    async def inflict(self, plan: Plan) -> None:
        """One hand: its faults, one after another. Raises Unavailable for what is not mended."""
        for wait_s, fault in plan:
            await self._clock.sleep(wait_s)
            self._say(fault.value)
            began = self._clock.monotonic()
            await self._ways[fault]()
            self._say(f"{fault.value}: {self._clock.monotonic() - began:.1f} s")

    async def until_ready(self) -> None:
        """Come back when the endpoint says that nothing is missing. Raises Unavailable."""
        await self._until(self._ready, "the endpoint is not ready")

    async def _ready(self) -> bool:
        return bool((await self._view.get("/readyz")).get("ready"))

    async def _kill(self, title: str) -> None:
        """Kill a process of that title, and wait for one that was not there before."""
        before: set[int] = set()

        async def there() -> bool:
            before.update(self._system.processes(title))
            return bool(before)

        async def replaced() -> bool:
            return not before.issuperset(self._system.processes(title))

        await self._until(there, f"there is no process {title}")
        end(min(before))
        await self._until(replaced, f"no new process {title}")

    async def _kill_part(self, part: str, title: str) -> None:
        """Kill the process that is `part`, and wait for another that is."""
        process = await self._process_of(part, title)
        end(process)
        await self._taken_over(part, title, process)

    async def _hang(self) -> None:
        part, title = "shard-0", "ShardHost"
        process = await self._process_of(part, title)
        _signal(process, signal.SIGSTOP)
        try:
            await self._taken_over(part, title, process)
        finally:
            _signal(process, signal.SIGCONT)

        async def gone() -> bool:
            return process not in self._system.processes(title)

        await self._until(gone, "who was replaced as a shard goes on beside the other")

    async def _process_of(self, part: str, title: str) -> int:
        found: set[int] = set()

        async def there() -> bool:
            found.update(await self._posted(part, title))
            return bool(found)

        await self._until(there, f"there is no {part}")
        return found.pop()

    async def _taken_over(self, part: str, title: str, process: int) -> None:
        async def other() -> bool:
            return bool(await self._posted(part, title) - {process})

        await self._until(other, f"nobody took over from {part}")

    async def _posted(self, part: str, title: str) -> set[int]:
        """The process that was last heard to be `part`, if it is there."""
        posted = await self._view.process_of(part)
        return {one for one in self._system.processes(title) if one == posted}

    async def _lose_store(self) -> None:
        redis = self._outside.redis
        await asyncio.to_thread(redis.kill)
        await self._clock.sleep(self._rng.uniform(*STORE_AWAY_S))
        await asyncio.to_thread(redis.start)

    async def _lose_broker(self) -> None:
        broker = self._outside.broker
        await asyncio.to_thread(broker.stop)
        await self._clock.sleep(BROKER_AWAY_S)
        await asyncio.to_thread(broker.start)

    async def _kill_application(self) -> None:
        await asyncio.to_thread(self._application.kill)
        await asyncio.to_thread(self._application.start)

    async def _until(self, true: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        deadline = self._clock.monotonic() + PATIENCE_S
        while not await true():
            if self._clock.monotonic() > deadline:
                raise Unavailable("the system", f"{otherwise} after {PATIENCE_S} s")
            await self._clock.sleep(LOOK_S)


def _signal(process: int, number: signal.Signals) -> None:
    """Unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
