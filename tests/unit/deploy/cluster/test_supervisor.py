import asyncio

import pytest
from fake_clock import FakeClock

from freshrank.actors.errors import DefinitionChanged, FreshrankError, SnapshotError, Unavailable
from freshrank.deploy.cluster.supervisor import (
    FAILURE_WINDOW_S,
    FAILURES_ALLOWED,
    INTERVAL_MISSING_S,
    INTERVAL_S,
    SILENCE_S,
    TRANSITIONS,
    ActorHealth,
    ActorState,
    PingOutcome,
    Supervisor,
    now_and_after_each_replacement,
    when_all_answer,
)


class Actor:
    def __init__(self, name: str, outcomes: list[FreshrankError | None]) -> None:
        self.name = name
        self.outcomes = outcomes
        self.kills = 0
        self.replaced = 0

    async def ping(self, timeout_s: float) -> None:
        error = self.outcomes.pop(0) if self.outcomes else None
        if error:
            raise error

    def kill(self) -> None:
        self.kills += 1


def rounds(actors: list[Actor], count: int, slowness: float = 1.0) -> list[str]:
    said: list[str] = []
    clock = FakeClock()

    async def go() -> None:
        supervisor = Supervisor(actors, clock, said.append, lambda: slowness)
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


def test_on_a_busy_machine_an_actor_may_be_silent_for_longer() -> None:
    silence: list[FreshrankError | None] = [Unavailable("s", "silent")] * (2 * int(SILENCE_S))
    actor = Actor("s", silence)
    assert rounds([actor], 2 * int(SILENCE_S), slowness=2.0) == []
    assert actor.kills == 0


def test_the_silence_of_a_process_is_not_held_against_the_one_that_replaces_it() -> None:
    health, away = ActorHealth(), Unavailable("s", "silent")
    states = [
        health.observe(away, at_s, host=host)
        for at_s, host in ((0.0, 0), (SILENCE_S - 1, 0), (SILENCE_S, 1), (2 * SILENCE_S, 1))
    ]
    assert states == [ActorState.SILENT] * 3 + [ActorState.RESTARTING]


def test_only_the_actor_that_stays_silent_is_killed() -> None:
    silent = Actor("silent", [Unavailable("s", "nothing heard")] * (int(SILENCE_S) + 1))
    well = Actor("well", [])
    said = rounds([silent, well], int(SILENCE_S) + 1)
    assert (silent.kills, well.kills) == (1, 0)
    assert said == ["silent is restarted: s: nothing heard"]


def test_a_silent_actor_is_pinged_more_often_until_it_answers() -> None:
    missing = [Unavailable("s", "starting")] * 3
    actor = Actor("s", [*missing, None, None, DefinitionChanged("the end of this test")])
    clock = FakeClock()
    with pytest.raises(DefinitionChanged):
        asyncio.run(Supervisor([actor], clock, lambda _: None).run())
    assert clock.monotonic() == pytest.approx(3 * INTERVAL_MISSING_S + 2 * INTERVAL_S)


def test_an_actor_whose_loop_has_ended_is_restarted_at_once() -> None:
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


def test_an_actor_that_hangs_does_not_delay_the_others() -> None:
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


def test_work_that_needs_all_actors_begins_again_until_all_answer() -> None:
    clock, begun = FakeClock(), []
    away: list[FreshrankError | None] = [Unavailable("shard-0", "no answer")] * 3
    shard = Actor("shard-0", away)

    async def freeze() -> None:
        begun.append(clock.monotonic())
        await shard.ping(1.0)

    asyncio.run(when_all_answer(freeze, clock))
    assert begun == [at * INTERVAL_S for at in range(4)]


def test_work_is_done_again_after_each_replacement() -> None:
    clock, replaced, done = FakeClock(), iter([0, 0, 0, 0, 1, 1, 1, 3, 3]), []

    async def freeze() -> None:
        done.append(clock.monotonic())

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(now_and_after_each_replacement(freeze, lambda: next(replaced), clock))
    assert done == [at * INTERVAL_S for at in (0, 3, 4)]


def test_work_that_needs_all_actors_raises_an_error_other_than_unavailable() -> None:
    broken = Actor("shard-0", [Unavailable("shard-0", "no answer"), SnapshotError("damaged")])
    with pytest.raises(SnapshotError, match="damaged"):
        asyncio.run(when_all_answer(lambda: broken.ping(1.0), FakeClock()))


SILENT, BROKEN = Unavailable("s", "no answer"), SnapshotError("damaged")


@pytest.mark.parametrize(
    ("pings", "states"),
    [
        ([(None, 0)], "up"),
        ([(SILENT, 0), (None, 1)], "silent up"),
        ([(SILENT, 0), (SILENT, SILENCE_S - 1), (SILENT, SILENCE_S)], "silent silent restarting"),
        ([(SILENT, 0), (None, 9), (SILENT, SILENCE_S)], "silent up silent"),
        ([(BROKEN, 0), (SILENT, 1), (SILENT, SILENCE_S)], "restarting silent silent"),
        ([(BROKEN, 0), (BROKEN, 1), (None, 2)], "restarting restarting up"),
        ([(SILENT, 0), (BROKEN, 1)], "silent restarting"),
        ([(SILENT, 0), (DefinitionChanged("other"), 1)], "silent given up"),
    ],
)
def test_the_state_follows_from_the_pings_and_their_times(
    pings: list[tuple[FreshrankError | None, float]], states: str
) -> None:
    health = ActorHealth()
    assert " ".join(health.observe(error, at_s).value for error, at_s in pings) == states


def test_failures_count_for_a_while_only() -> None:
    health = ActorHealth()
    for number in range(3 * FAILURES_ALLOWED):
        at_s = number * FAILURE_WINDOW_S / FAILURES_ALLOWED
        assert health.observe(BROKEN, at_s) is ActorState.RESTARTING


def test_from_every_state_but_the_last_an_answer_leads_up_and_a_hopeless_error_ends_it() -> None:
    assert TRANSITIONS[ActorState.GIVEN_UP] == {}
    for state in set(ActorState) - {ActorState.GIVEN_UP}:
        assert TRANSITIONS[state][PingOutcome.ANSWERED] is ActorState.UP
        assert TRANSITIONS[state][PingOutcome.HOPELESS] is ActorState.GIVEN_UP
        assert (PingOutcome.SILENT_TOO_LONG in TRANSITIONS[state]) == (state is ActorState.SILENT)
