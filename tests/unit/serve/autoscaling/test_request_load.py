"""A replica measures how many requests it works on, and how long, without what they wait for."""

from __future__ import annotations

import asyncio

import pytest
from fake_clock import FakeClock

from freshrank.serve.autoscaling.policy import Load
from freshrank.serve.autoscaling.request_load import RequestLoad


def test_the_mean_of_ongoing_requests_is_that_of_the_time_since_the_last_sample() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    with load.request():
        clock.advance(1.0)
        with load.request():
            clock.advance(2.0)
            assert load.ongoing == 2
    clock.advance(1.0)
    assert load.sample().ongoing == pytest.approx(5.0 / 4.0)
    assert (load.ongoing, load.sample()) == (0, Load(0.0))


def test_a_request_that_goes_on_is_counted_in_each_sample() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    with load.request():
        for _ in range(3):
            clock.advance(1.0)
            assert load.sample().ongoing == pytest.approx(1.0)


def test_what_a_request_waits_for_on_its_demand_is_no_load() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    for _ in range(100):
        with load.request():
            clock.advance(0.002)
            with load.waiting():
                clock.advance(0.500)
                assert load.ongoing == 1
            clock.advance(0.001)
    sample = load.sample()
    assert sample.ongoing == pytest.approx(0.003 / 0.503)
    assert sample.p99_ms == pytest.approx(3.0, rel=0.05)


def test_a_wait_outside_of_any_request_counts_nothing() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    with load.waiting():
        clock.advance(1.0)
    assert load.sample() == Load(0.0)


def test_requests_of_other_tasks_keep_their_own_waits() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)

    async def answer(waits: bool) -> None:
        with load.request():
            if waits:
                with load.waiting():
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(0)
            clock.advance(0.010)

    async def answers() -> None:
        await asyncio.gather(*(answer(waits=one % 2 == 0) for one in range(200)))

    asyncio.run(answers())
    slow = load.sample().p99_ms
    assert slow is not None
    assert slow > 500  # those that did not wait were ongoing while all others ended


def test_the_slowest_of_few_requests_is_no_percentile() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    for count in range(1, 101):
        with load.request():
            clock.advance(0.02)
        assert (load.sample().p99_ms is None) == (count < 100)


def test_latencies_of_before_a_rest_are_dropped() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    for _ in range(200):
        with load.request():
            clock.advance(0.02)
    assert load.sample().p99_ms == pytest.approx(20.0, rel=0.05)
    clock.advance(20.0)
    assert load.sample() == Load(0.0)


def test_a_request_that_fails_is_counted_and_ends() -> None:
    clock = FakeClock()
    load = RequestLoad(clock)
    with pytest.raises(ValueError, match="broken"), load.request():
        clock.advance(1.0)
        raise ValueError("broken")
    clock.advance(1.0)
    assert load.ongoing == 0
    assert load.sample().ongoing == pytest.approx(0.5)
