"""The driver as a part: what it posts of the servers that the run has started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_clock import ManualClock, settle

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import DependencyLost, Unavailable
from freshrank.deploy.cluster.driver_part import DRIVER, DriverPart
from freshrank.deploy.servers.server_watch import POLL_S, ServerWatch
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.serve.monitoring.status import AUTOSCALER
from freshrank.serve.monitoring.system_readiness import missing_parts


class Ray:
    """A server that no start brings back, once it has ended."""

    ended: str | None = None

    def start_again(self) -> None:
        raise DependencyLost(f"ray: {self.ended}")


class Connection:
    """To a broker that is away for the first attempts, and never takes the last alerts."""

    def __init__(self) -> None:
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts < 3:
            raise Unavailable("kafka", "no answer")

    async def stop(self) -> None:
        raise Unavailable("kafka", "no answer")


async def run_blocking(start: Callable[[], None]) -> None:
    start()


def test_the_driver_tells_readiness_of_a_lost_server_before_the_run_stops() -> None:
    async def run() -> None:
        clock, ray, connection = ManualClock(), Ray(), Connection()
        registry, alerts = MemoryStatusRegistry(clock), Alerts(DRIVER, clock)
        watch = ServerWatch({"ray": ray}, clock, alerts, print, run_blocking)
        driver = DriverPart(registry, watch, alerts, connection, clock)
        running = asyncio.ensure_future(driver.run())
        for _ in range(120):
            await clock.tick(0.1)
        assert (await registry.collect())[DRIVER] == driver.status()
        assert connection.starts == 3
        assert DRIVER not in missing_parts(await registry.collect(), 0)

        ray.ended = "its process raylet has ended"
        await clock.tick(POLL_S)
        await settle()
        told = missing_parts(await registry.collect(), 0)
        assert told[DRIVER] == "ray: its process raylet has ended"
        assert running.done()
        with pytest.raises(DependencyLost, match="raylet"):
            await running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_an_overload_that_the_autoscaler_tells_is_an_alert_of_the_driver_in_the_topic() -> None:
    """Each time for which it lasts is one, however often it is posted, and by whatever reason."""

    async def run() -> None:
        clock, log = ManualClock(), MemoryLog(1)
        sink, registry = MemorySink(log, clock), MemoryStatusRegistry(clock)
        alerts = Alerts(DRIVER, clock, sink, "shop.alerts")
        watch = ServerWatch({"ray": Ray()}, clock, alerts, print, run_blocking)
        driver = DriverPart(registry, watch, alerts, Connection(), clock)
        running = asyncio.ensure_future(driver.run())

        def in_topic() -> list[dict[str, Any]]:
            return [json.loads(one or b"") for one in log.read("shop.alerts", 0, 0, 100).values]

        async def told(*reasons: str | None) -> list[str]:
            for reason in reasons:
                await registry.post(AUTOSCALER, {"overloaded": reason})
                for _ in range(20):
                    await clock.tick(0.1)
            return [alert["message"] for alert in in_topic()]

        assert await told(None) == []
        assert await told("9 would do", "8 would do") == ["9 would do"]
        for _ in range(100):  # its status expires, and it goes on
            await clock.tick(0.1)
        assert AUTOSCALER not in await registry.collect()
        assert await told("7 would do") == ["9 would do"]
        assert await told(None, "5 would do") == ["9 would do", "5 would do"]
        assert {(one["part"], one["kind"]) for one in in_topic()} == {(DRIVER, "overloaded")}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
