from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise, product
from typing import Any

import pytest

from freshrank.actors.errors import FreshrankError, Gone, ProgressError, StartFailed, Unavailable
from freshrank.deploy.cluster.actor_slot import (
    LEAST_AGE_S,
    MISSED_PINGS,
    STAND_BY,
    START_S,
    STARTS_ALLOWED,
    TRANSITIONS,
    ActorSlot,
    Reply,
    Role,
    SlotState,
)

DEAD, SLOW = Gone("shard-0", "dead"), Unavailable("shard-0", "slow")
PING_S = 5.0


class Host:
    """A shard host somewhere: what it is asked, and whether it can answer."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.asked: list[Any] = []
        self.error: FreshrankError | None = None
        self.answers_after_s = 0.0
        self.killed = False

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        self.asked.append((method, *args))
        self.story.now_s += self.answers_after_s
        if self.error:
            raise self.error
        return "done"

    def kill(self) -> None:
        self.killed = True


class Story:
    """A slot, the hosts in the order in which they were made, and the time."""

    def __init__(self, *, standby: bool) -> None:
        self.now_s = 0.0
        self.hosts: list[Host] = []
        duty = Role("take_over", (0, [0, 2]))
        self.said: list[str] = []
        self.slowness = 1.0
        self.slot = self.new_slot("shard-0", duty)
        if standby:
            self.slot.standby = self.new_slot("standby", STAND_BY)

    def new_slot(self, name: str, duty: Role) -> ActorSlot:
        now, slowness = (lambda: self.now_s), (lambda: self.slowness)
        return ActorSlot(name, duty, self.make, self.said.append, now, slowness)

    def make(self) -> Host:
        self.hosts.append(Host(self))
        return self.hosts[-1]

    def pings(self, count: int = 1) -> int:
        """How many of so many are answered."""
        return self._pings(self.slot, count)

    def standby_pings(self) -> int:
        assert self.slot.standby is not None
        return self._pings(self.slot.standby, 1)

    def _pings(self, part: ActorSlot, count: int) -> int:
        answered = 0
        for _ in range(count):
            try:
                asyncio.run(part.ping(PING_S))
                answered += 1
            except Unavailable:
                pass
        return answered


TAKE_OVER = ("take_over", 0, [0, 2])


def test_each_ping_calls_the_method_of_the_role() -> None:
    story = Story(standby=False)
    assert story.pings(2) == 2
    assert story.hosts[0].asked == [TAKE_OVER] * 2


def test_a_dead_host_is_replaced_by_the_standby_and_a_new_standby_starts() -> None:
    story = Story(standby=True)
    assert story.pings() == story.standby_pings() == 1
    story.now_s += LEAST_AGE_S
    story.hosts[0].error = DEAD
    assert story.pings() == 0
    assert story.pings() == 1
    assert story.hosts[1].asked == [("stand_by",), TAKE_OVER]
    assert story.standby_pings() == 1
    assert story.hosts[2].asked == [("stand_by",)]
    assert story.said == ["shard-0 is replaced: shard-0: dead"]
    assert story.slot.replaced == 1


def test_a_standby_takes_over_before_it_has_loaded_its_code() -> None:
    story = Story(standby=True)  # nobody has asked it to get ready
    story.now_s += LEAST_AGE_S
    story.hosts[0].error = DEAD
    assert story.pings(2) == 1
    assert story.hosts[1].asked == [TAKE_OVER]
    assert len(story.hosts) == 3


def test_a_dead_standby_is_replaced() -> None:
    story = Story(standby=True)
    story.now_s += LEAST_AGE_S
    story.hosts[1].error = DEAD
    assert story.standby_pings() == 0
    assert story.standby_pings() == 1
    assert [host.killed for host in story.hosts] == [False, True, False]


def test_a_host_that_waits_for_a_broker_is_not_replaced() -> None:
    story = Story(standby=True)
    story.now_s += LEAST_AGE_S
    story.hosts[0].error = Unavailable("kafka", "away")
    assert story.pings(2 * MISSED_PINGS) == 0
    assert not story.hosts[0].killed


def test_a_host_that_dies_while_it_starts_is_not_replaced_at_once() -> None:
    story = Story(standby=False)
    story.hosts[0].error = DEAD
    assert story.pings(9) == 0
    assert len(story.hosts) == 1
    story.now_s += LEAST_AGE_S
    assert story.pings(2) == 1
    assert len(story.hosts) == 2


def test_a_host_that_loads_for_a_minute_is_not_replaced_and_one_that_never_answers_is() -> None:
    story = Story(standby=False)
    story.hosts[0].error, story.hosts[0].answers_after_s = SLOW, PING_S
    assert story.pings(int(START_S / PING_S) - 1) == 0
    kills = [story.hosts[0].killed]
    assert story.pings() == 0
    kills.append(story.hosts[0].killed)
    assert kills == [False, True]
    story.hosts[1].answers_after_s = 0.0
    assert story.pings() == 1


def test_pings_that_a_host_missed_while_it_loaded_do_not_count_once_it_has_answered() -> None:
    story = Story(standby=False)
    host = story.hosts[0]
    host.error, host.answers_after_s = SLOW, PING_S
    assert story.pings(MISSED_PINGS) == 0
    host.answers_after_s = 0.0  # it waits for its broker now, and says so
    assert story.pings() == 0
    host.answers_after_s = PING_S
    for _ in range(MISSED_PINGS - 1):
        assert story.pings() == 0
        assert story.slot.state is SlotState.SLOW
    assert story.pings() == 0
    assert host.killed


def test_hosts_that_do_not_start_end_the_run_after_growing_pauses() -> None:
    story = Story(standby=False)
    started_s: list[float] = []
    with pytest.raises(StartFailed, match="shard-0: 5 processes in a row were lost before their"):
        for _ in range(1_000):
            if not started_s or len(story.hosts) > len(started_s):
                started_s.append(story.now_s)
            story.hosts[-1].error = DEAD
            story.pings()
            story.now_s += 0.5
    pauses = [later - earlier for earlier, later in pairwise(started_s)]
    assert pauses == pytest.approx([3, 6, 12, 24], abs=1.0)
    assert story.now_s < 100


def test_a_part_that_has_answered_may_be_lost_again_and_again() -> None:
    story = Story(standby=False)
    for _ in range(4 * STARTS_ALLOWED):
        assert story.pings() == 1
        story.now_s += LEAST_AGE_S
        story.hosts[-1].error = DEAD
        assert story.pings() == 0
    assert story.pings() == 1


def test_a_standby_that_does_not_start_is_tried_on_and_ends_nothing() -> None:
    story = Story(standby=True)
    assert story.slot.standby is not None
    for _ in range(3 * STARTS_ALLOWED):
        story.hosts[-1].error = DEAD
        story.now_s += LEAST_AGE_S * 2**STARTS_ALLOWED
        assert story.standby_pings() == 0
    assert story.slot.standby.replaced == 3 * STARTS_ALLOWED
    assert story.pings() == 1


def test_a_slow_host_is_killed_after_some_missed_pings() -> None:
    story = Story(standby=True)
    assert story.pings() == story.standby_pings() == 1
    story.hosts[0].error, story.hosts[0].answers_after_s = SLOW, PING_S
    assert story.pings(MISSED_PINGS - 1) == 0
    kills = [story.hosts[0].killed]
    assert story.pings() == 0
    kills.append(story.hosts[0].killed)
    assert kills == [False, True]
    assert story.pings() == 1
    assert story.hosts[1].asked[-1] == TAKE_OVER


def test_a_slow_host_on_a_busy_machine_is_killed_after_more_missed_pings() -> None:
    story = Story(standby=False)
    story.slowness = 3.0
    assert story.pings() == 1
    story.hosts[0].error, story.hosts[0].answers_after_s = SLOW, PING_S
    assert story.pings(3 * MISSED_PINGS - 1) == 0
    kills = [story.hosts[0].killed]
    assert story.pings() == 0
    assert [*kills, story.hosts[0].killed] == [False, True]


def test_a_host_on_a_busy_machine_may_load_for_longer() -> None:
    story = Story(standby=False)
    story.slowness = 2.0
    story.hosts[0].error, story.hosts[0].answers_after_s = SLOW, PING_S
    assert story.pings(int(2 * START_S / PING_S) - 1) == 0
    kills = [story.hosts[0].killed]
    assert story.pings() == 0
    assert [*kills, story.hosts[0].killed] == [False, True]


def test_calls_go_to_the_present_host_also_after_a_kill() -> None:
    story = Story(standby=True)
    assert story.standby_pings() == 1
    story.slot.kill()
    assert asyncio.run(story.slot.call("stop", timeout_s=1.0)) == "done"
    assert story.hosts[0].killed and not story.hosts[1].killed
    assert story.hosts[1].asked[-1] == ("stop",)


def test_a_standby_with_an_error_raises_it_and_can_be_replaced() -> None:
    story = Story(standby=True)
    assert story.slot.standby is not None
    story.hosts[1].error = ProgressError("it still has its partitions")
    with pytest.raises(ProgressError):
        asyncio.run(story.slot.standby.ping(1.0))
    story.slot.standby.kill()
    assert story.hosts[1].killed
    assert story.standby_pings() == 1


def test_a_host_is_slow_until_it_answers() -> None:
    story = Story(standby=False)
    (host,), seen = story.hosts, []
    away = Unavailable("kafka", "away")
    for error, seconds in ((None, 0.0), (SLOW, PING_S), (away, 0.0), (SLOW, PING_S), (None, 1.0)):
        host.error, host.answers_after_s = error, seconds
        story.pings()
        seen.append(story.slot.state.value)
    assert seen == ["up", "slow", "slow", "slow", "up"]


def test_a_lost_host_stays_in_its_slot_until_it_is_old_enough_to_be_replaced() -> None:
    story = Story(standby=False)
    story.hosts[0].error = DEAD
    story.pings()
    seen = [story.slot.state]
    story.now_s += LEAST_AGE_S
    story.pings()
    seen.append(story.slot.state)  # of the replacement
    assert seen == [SlotState.LOST, SlotState.STARTING]
    assert story.slot.replaced == 1


def test_an_answer_always_leads_up_and_a_dead_process_is_lost() -> None:
    for state in SlotState:
        assert TRANSITIONS[state][Reply.ANSWERED] is SlotState.UP
        assert TRANSITIONS[state][Reply.GONE] is SlotState.LOST


def test_pings_that_timed_out_while_a_host_started_do_not_count_once_it_is_up() -> None:
    story = Story(standby=False)
    host = story.hosts[0]
    away = Unavailable("kafka", "away")
    for error, seconds in [(SLOW, PING_S)] * MISSED_PINGS + [(away, 0.0), (SLOW, PING_S)]:
        host.error, host.answers_after_s = error, seconds
        story.pings()
    assert story.slot.state is SlotState.SLOW
    assert not host.killed


def test_every_order_of_replies_has_its_transitions() -> None:
    replies = (None, 0.0), (Unavailable("kafka", "away"), 0.0), (SLOW, PING_S), (DEAD, 0.0)

    async def ping_in_every_order() -> None:
        for order in product(replies, repeat=MISSED_PINGS + 2):
            story = Story(standby=False)
            for error, seconds in order:
                story.hosts[-1].error, story.hosts[-1].answers_after_s = error, seconds
                with suppress(Unavailable):
                    await story.slot.ping(PING_S)
                assert story.slot.state in SlotState

    asyncio.run(ping_in_every_order())
