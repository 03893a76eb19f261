"""Where simulated processes crash, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from freshrank.benchmarks.crashes.process import (
    Crash,
    CrashPoint,
    CrashSchedule,
    Process,
    as_step,
    current_process,
    replaced,
)


@contextmanager
def running_in(process: Process) -> Iterator[None]:
    token = current_process.set(process)
    yield
    current_process.reset(token)


class Counter:
    count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    async def add_later(self) -> int:
        return self.add()


@pytest.mark.parametrize(("crash_at", "done"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_a_crash_comes_before_or_after_the_effect_of_a_step(crash_at: int, done: int) -> None:
    counter, process = Counter(), Process("shard", CrashSchedule([crash_at]))
    step = as_step(counter.add, "add")
    with running_in(process), pytest.raises(Crash):
        for _ in range(3):
            step()
    assert counter.count == done
    assert not process.alive


def test_a_crash_comes_before_or_after_a_step_that_is_awaited() -> None:
    counter, process = Counter(), Process("shard", CrashSchedule([1]))
    with running_in(process), pytest.raises(Crash):
        asyncio.run(as_step(counter.add_later, "add")())
    assert counter.count == 1
    assert process.schedule.crashes == [CrashPoint("shard", "add", after=True)]


def test_no_step_of_a_crashed_process_has_an_effect() -> None:
    counter, process = Counter(), Process("shard", CrashSchedule(), alive=False)
    with running_in(process):
        for _ in range(2):
            with pytest.raises(Crash):
                as_step(counter.add, "add")()
    assert counter.count == 0
    assert process.schedule.passed == []


def test_outside_of_a_simulation_a_step_is_the_function() -> None:
    assert as_step(Counter().add, "add")() == 1


def test_the_second_crash_is_counted_from_the_first() -> None:
    schedule = CrashSchedule([2, 1])
    points = [CrashPoint("shard", f"step {number}", after=False) for number in range(8)]
    assert [schedule.reach(point) for point in points] == [number in (2, 4) for number in range(8)]
    assert schedule.crashes == [points[2], points[4]]
    assert schedule.passed == points[5:]


def test_the_end_of_a_step_and_the_beginning_of_the_next_are_one_place_to_crash() -> None:
    schedule = CrashSchedule()
    for process, step, after in (
        ("shard", "poll", False),
        ("shard", "poll", True),
        ("shard", "decode", False),  # nothing has happened since
        ("learner", "aggregate", False),  # another process
        ("shard", "decode", True),
    ):
        schedule.reach(CrashPoint(process, step, after))
    assert schedule.distinct() == [0, 1, 3, 4]


def test_replaced_functions_come_back_even_after_an_error() -> None:
    original = Counter.add
    with pytest.raises(ZeroDivisionError), replaced([(Counter, "add", lambda counter: 7)]):
        assert Counter().add() == 7
        raise ZeroDivisionError
    assert vars(Counter)["add"] is original
