"""Servers that end by themselves: told, started again, and given up in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from fake_clock import ManualClock, settle

from freshrank.actors.alerts import AlertKind, Alerts
from freshrank.actors.errors import DependencyLost, Unavailable
from freshrank.deploy.console.alert_lines import AlertLines
from freshrank.deploy.servers.brokers import EmbeddedBroker
from freshrank.deploy.servers.server_watch import PAUSES_S, POLL_S, STEADY_S, ServerWatch


class Server:
    """A server that ends when a test says so, and of which the next `failing` starts fail."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.ended: str | None = None
        self.failing = 0
        self.starts: list[float] = []

    def start_again(self) -> None:
        self.starts.append(self.clock.monotonic())
        if self.failing:
            self.failing -= 1
            raise Unavailable("redis", "was not ready within 20 s\nthe end of its log")
        self.ended = None


class World:
    """Two servers and their watch."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.redis, self.kafka = Server(self.clock), Server(self.clock)
        self.alerts = Alerts("driver", self.clock)
        self.lines: list[str] = []
        servers = {"redis": self.redis, "kafka": self.kafka}
        self.watch = ServerWatch(
            servers, self.clock, self.alerts, self.lines.append, self._run_blocking
        )

    async def _run_blocking(self, start: Callable[[], None]) -> None:
        start()

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            await self.clock.tick(0.25)


def play(story: Callable[[World], Coroutine[None, None, None]]) -> World:
    async def run() -> World:
        world = World()
        watching = asyncio.ensure_future(world.watch.run())
        await settle()
        try:
            await story(world)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return world

    return asyncio.run(run())


def test_a_server_that_was_killed_is_told_and_started_again() -> None:
    async def story(world: World) -> None:
        world.redis.ended, world.redis.failing = "killed by SIGKILL", 1
        await world.pass_time(POLL_S)
        assert world.watch.missing == {"redis": "was not ready within 20 s"}
        await world.pass_time(2.0)
        assert world.watch.missing == {}

    world = play(story)
    assert world.redis.starts == [POLL_S, POLL_S + PAUSES_S[1]]
    assert world.kafka.starts == []
    assert world.alerts.status()["by_kind"] == {AlertKind.SERVER_ENDED: 1}
    assert AlertLines().new({"driver": {"alerts": world.alerts.status()}}) == [
        "alert of driver: server ended: redis has ended (killed by SIGKILL)"
    ]
    assert world.lines == ["redis is up again, 1.0 s after its end was noticed"]


def test_a_server_that_does_not_come_back_ends_the_run_in_bounded_time() -> None:
    async def run() -> World:
        world = World()
        world.redis.ended, world.redis.failing = "killed by SIGKILL", 99
        watching = asyncio.ensure_future(world.watch.run())
        await settle()
        await world.pass_time(sum(PAUSES_S) - 0.25)
        assert not watching.done()
        await world.pass_time(0.25)
        assert watching.done()
        with pytest.raises(
            DependencyLost, match=r"^redis: it was started 5 times in a row .*20 s$"
        ):
            await watching
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return world

    world = asyncio.run(run())
    assert len(world.redis.starts) == len(PAUSES_S)
    assert world.watch.missing["redis"], "readiness still tells while the run stops"


def test_a_server_that_ends_at_once_each_time_is_given_up_too() -> None:
    async def run() -> None:
        world = World()
        watching = asyncio.ensure_future(world.watch.run())
        for _ in range(200):
            world.kafka.ended = "ended with status 1"
            await world.pass_time(0.5)
        assert watching.done()
        with pytest.raises(DependencyLost, match="kafka: it was started 5 times in a row"):
            await watching
        assert len(world.kafka.starts) == len(PAUSES_S)

    asyncio.run(run())


def test_the_ends_of_a_server_that_ran_long_between_them_are_not_in_a_row() -> None:
    async def story(world: World) -> None:
        for _ in range(2 * len(PAUSES_S)):
            world.redis.ended = "killed by SIGKILL"
            await world.pass_time(STEADY_S + 1.0)
            assert world.watch.missing == {}

    assert len(play(story).redis.starts) == 2 * len(PAUSES_S)


def test_the_embedded_broker_is_not_replaced_by_an_empty_one() -> None:
    with pytest.raises(DependencyLost, match="with it all records"):
        EmbeddedBroker({}).start_again()
