import asyncio

import pytest
from fake_clock import FakeClock

from freshrank.actors.errors import DefinitionChanged, FreshrankError, SnapshotError, Unavailable
from freshrank.deploy.cluster.supervisor import (
    FAILURES_ALLOWED,
    INTERVAL_MISSING_S,
    INTERVAL_S,
    SILENCE_S,
    Supervisor,
    now_and_whenever_replaced,
    when_all_are_there,
)


class Actor:
    def __init__(self, name: str, outcomes: list[FreshrankError | None]) -> None:
        self.name = name
        self.outcomes = outcomes
        self.kills = 0

    async def ping(self, timeout_s: float) -> None:
        error = self.outcomes.pop(0) if self.outcomes else None
        if error:
            raise error

    def kill(self) -> None:
        self.kills += 1


def rounds(actors: list[Actor], count: int) -> list[str]:
    said: list[str] = []
    clock = FakeClock()

    async def go() -> None:
        supervisor = Supervisor(actors, clock, said.append)
        for _ in range(count):
            await supervisor.round()
            await clock.sleep(1)

    asyncio.run(go())
    return said


def test_an_actor_that_misses_some_pings_is_left_alone() -> None:
    silence: list[FreshrankError | None] = [Unavailable("s", "silent")] * int(SILENCE_S)
    actor = Actor("s", [*silence, None, *silence])
    assert rounds([actor], 3 * int(SILENCE_S)) == []
    assert actor.kills == 0


def test_an_actor_that_stays_silent_is_ended_and_only_that_one() -> None:
    silent = Actor("silent", [Unavailable("s", "nothing heard")] * (int(SILENCE_S) + 1))
    well = Actor("well", [])
    said = rounds([silent, well], int(SILENCE_S) + 1)
    assert (silent.kills, well.kills) == (1, 0)
    assert said == ["silent is started again: s: nothing heard"]


def test_a_missing_actor_is_looked_for_more_often_until_it_is_there() -> None:
    missing = [Unavailable("s", "starting")] * 3
    actor = Actor("s", [*missing, None, None, DefinitionChanged("the end of this test")])
    clock = FakeClock()
    with pytest.raises(DefinitionChanged):
        asyncio.run(Supervisor([actor], clock, lambda _: None).run())
    assert clock.monotonic() == pytest.approx(3 * INTERVAL_MISSING_S + 2 * INTERVAL_S)


def test_an_actor_whose_loop_ended_is_started_again_at_once() -> None:
    actor = Actor("s", [SnapshotError("damaged")])
    rounds([actor], 1)
    assert actor.kills == 1


def test_an_actor_that_fails_again_and_again_is_given_up_with_its_error() -> None:
    actor = Actor("s", [SnapshotError("damaged")] * (FAILURES_ALLOWED + 1))
    with pytest.raises(SnapshotError, match="damaged"):
        rounds([actor], FAILURES_ALLOWED + 1)
    assert actor.kills == FAILURES_ALLOWED


def test_an_error_that_no_restart_mends_is_raised_at_once() -> None:
    actor = Actor("s", [DefinitionChanged("other features")])
    with pytest.raises(DefinitionChanged):
        rounds([actor], 1)
    assert actor.kills == 0


def test_one_that_does_not_answer_holds_up_no_other() -> None:
    class Hanging(Actor):
        async def ping(self, timeout_s: float) -> None:
            await asyncio.Event().wait()

    async def go() -> int:
        well = Actor("well", [None] * 5 + [DefinitionChanged("the end of this test")])
        supervisor = Supervisor([Hanging("slow", [])], FakeClock(), lambda _: None)
        supervisor.add(well)
        with pytest.raises(DefinitionChanged):
            await supervisor.run()
        return len(well.outcomes)

    assert asyncio.run(go()) == 0


def test_what_needs_all_parts_waits_for_the_one_that_is_away_and_begins_anew() -> None:
    clock, begun = FakeClock(), []
    away: list[FreshrankError | None] = [Unavailable("shard-0", "no answer")] * 3
    shard = Actor("shard-0", away)

    async def freeze() -> None:
        begun.append(clock.monotonic())
        await shard.ping(1.0)

    asyncio.run(when_all_are_there(freeze, clock))
    assert begun == [at * INTERVAL_S for at in range(4)]


def test_what_is_lost_with_a_part_is_done_again_when_that_was_replaced() -> None:
    clock, replaced, done = FakeClock(), iter([0, 0, 0, 0, 1, 1, 1, 3, 3]), []

    async def freeze() -> None:
        done.append(clock.monotonic())

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(now_and_whenever_replaced(freeze, lambda: next(replaced), clock))
    assert done == [at * INTERVAL_S for at in (0, 3, 4)]


def test_what_needs_all_parts_raises_an_error_that_no_waiting_mends() -> None:
    broken = Actor("shard-0", [Unavailable("shard-0", "no answer"), SnapshotError("damaged")])
    with pytest.raises(SnapshotError, match="damaged"):
        asyncio.run(when_all_are_there(lambda: broken.ping(1.0), FakeClock()))
