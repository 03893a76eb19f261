"""The states of a host process: standing by, starting, working, failed, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fake_clock import settle

from freshrank.actors.errors import ProgressError, SnapshotError, Unavailable
from freshrank.deploy.cluster.host import TRANSITIONS, Host, HostEvent, HostState


class Part:
    """A part whose start waits for the test."""

    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.start_error: Exception | None = None
        self.ping_error: Exception | None = None

    async def start(self) -> None:
        await self.may_start.wait()
        if self.start_error:
            raise self.start_error

    async def ping(self) -> None:
        if self.ping_error:
            raise self.ping_error


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing_to_load() -> None:
    pass


async def broken() -> None:
    raise SnapshotError("the loop has ended")


def scenario(play: Callable[[Host[Part], Part], Awaitable[None]]) -> None:
    async def go() -> None:
        await play(Host("shard", nothing_to_load), Part())

    asyncio.run(go())


def test_the_first_ping_begins_the_start_and_does_not_wait_for_it() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        seen = [host.state]
        await host.run_part(lambda: part, forever)
        seen.append(host.state)
        waiting = asyncio.ensure_future(host.working_part())
        await settle()
        assert not waiting.done()
        part.may_start.set()
        assert await waiting is part
        seen.append(host.state)
        assert seen == [HostState.STANDING_BY, HostState.STARTING, HostState.WORKING]

    scenario(play)


def test_the_part_is_made_once_however_often_the_host_is_pinged() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        made: list[Part] = []

        def make() -> Part:
            made.append(part)
            return part

        for _ in range(3):
            await host.run_part(make)
        assert made == [part]

    scenario(play)


def test_a_host_that_stands_by_has_no_part() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        with pytest.raises(Unavailable, match="this process stands by"):
            await host.working_part()

    scenario(play)


def test_a_part_that_cannot_be_made_leaves_the_host_standing_by() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        def make() -> Part:
            raise SnapshotError("no such folder")

        with pytest.raises(SnapshotError):
            await host.run_part(make)
        states = [host.state]
        await host.run_part(lambda: part)
        states.append(host.state)
        assert states == [HostState.STANDING_BY, HostState.STARTING]

    scenario(play)


def test_a_host_with_a_part_does_not_stand_by() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        await host.run_part(lambda: part)
        with pytest.raises(ProgressError, match="was replaced, and its process still works"):
            await host.stand_by()

    scenario(play)


def test_a_standby_answers_at_once_while_it_loads_its_code() -> None:
    async def play() -> None:
        loaded, calls = asyncio.Event(), list[int]()

        async def load() -> None:
            calls.append(1)
            await loaded.wait()
            raise SnapshotError("the code is damaged")

        host: Host[Part] = Host("shard", load)
        for _ in range(3):
            await host.stand_by()
        loaded.set()
        await settle()
        with pytest.raises(SnapshotError, match="the code is damaged"):
            await host.stand_by()
        assert calls == [1], "loaded once"

    asyncio.run(play())


def test_a_part_starts_when_its_code_is_loaded_and_its_pings_are_answered_before() -> None:
    async def play() -> None:
        loaded, part = asyncio.Event(), Part()

        async def load() -> None:
            await loaded.wait()

        host: Host[Part] = Host("shard", load)
        part.may_start.set()
        for _ in range(3):
            await host.run_part(lambda: part)
            await settle()
            assert host.state is HostState.STARTING
        loaded.set()
        await settle()
        assert host.state is HostState.WORKING

    asyncio.run(play())


def test_a_start_that_fails_raises_in_every_ping_and_every_call() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        part.start_error = SnapshotError("damaged")
        part.may_start.set()
        await host.run_part(lambda: part)
        await settle()
        assert host.state is HostState.FAILED
        for call in (lambda: host.run_part(lambda: part), host.working_part):
            with pytest.raises(SnapshotError, match="damaged"):
                await call()

    scenario(play)


def test_a_background_loop_that_ends_with_an_error_fails_the_host() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        await host.run_part(lambda: part, forever, broken)
        await settle()
        with pytest.raises(SnapshotError, match="the loop has ended"):
            await host.run_part(lambda: part)
        part.may_start.set()  # the start goes on, and mends nothing
        await settle()
        assert host.state is HostState.FAILED

    scenario(play)


def test_a_part_that_waits_for_a_broker_has_not_failed() -> None:
    async def play(host: Host[Part], part: Part) -> None:
        part.ping_error = Unavailable("disk", "full")
        with pytest.raises(Unavailable):
            await host.run_part(lambda: part)
        assert host.state is HostState.STARTING

    scenario(play)


def test_a_stopped_host_takes_nothing_over() -> None:
    assert all(TRANSITIONS[state][HostEvent.STOP] is HostState.STOPPED for state in HostState)
    assert set(TRANSITIONS[HostState.STOPPED].values()) == {HostState.STOPPED}


@pytest.mark.parametrize("state", [one for one in HostState if one is not HostState.STANDING_BY])
def test_a_host_takes_over_once(state: HostState) -> None:
    assert HostEvent.TAKE_OVER not in TRANSITIONS[state]
