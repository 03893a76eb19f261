"""Replicas are added within seconds, removed one at a time, and noise moves none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from freshrank.serve.autoscaling.policy import (
    DOWN_SHARE,
    SETTLE_S,
    UP_AFTER_S,
    Decision,
    Load,
    ScalingBounds,
    ScalingPolicy,
)

BOUNDS = ScalingBounds(least=1, most=8, ongoing=10.0, p99_ms=50.0, down_after_s=60.0)
TICK_S = 0.1
START_S = 7.0
"""Seconds until a new replica takes requests."""


class Replicas:
    """An endpoint whose replicas take a while to start, and whose load a test gives."""

    def __init__(self, bounds: ScalingBounds = BOUNDS) -> None:
        self.policy = ScalingPolicy(bounds)
        self.wanted = self.running = bounds.least
        self.at_s = 0.0
        self.changes: list[tuple[float, int]] = []
        self._ready_at = 0.0

    def run(self, seconds: float, loads: Callable[[int], Sequence[Load]]) -> Decision:
        """Let time pass under the loads of so many replicas; gives the last decision."""
        for _ in range(round(seconds / TICK_S)):
            self.at_s += TICK_S
            if self.running < self.wanted and self.at_s >= self._ready_at:
                self.running = self.wanted
            decision = self.policy.decide(loads(self.running), self.wanted, self.running, self.at_s)
            if decision.replicas != self.wanted:
                self.changes.append((self.at_s, decision.replicas))
                self.running = min(self.running, decision.replicas)
                self._ready_at = self.at_s + START_S
            self.wanted = decision.replicas
        return decision


def shared(total: float, p99_ms: float | None = None) -> Callable[[int], Sequence[Load]]:
    """The load of `total` ongoing requests, whatever the number of replicas."""
    return lambda running: [Load(total / running, p99_ms)] * running


def test_ongoing_requests_above_the_target_add_replicas_within_seconds() -> None:
    replicas = Replicas()
    decision = replicas.run(UP_AFTER_S + 1, shared(18))
    assert replicas.wanted == decision.replicas == 2
    assert replicas.changes[0][0] <= UP_AFTER_S + 2 * TICK_S
    replicas.run(300, shared(18))
    assert len(replicas.changes) == 1


def test_a_step_at_most_doubles_and_waits_for_the_replicas_of_the_step_before() -> None:
    replicas = Replicas()
    replicas.run(300, shared(60))
    assert [count for _, count in replicas.changes] == [2, 4, 6]
    steps = [at for at, _ in replicas.changes]
    assert min(later - at for at, later in pairwise(steps)) >= START_S + SETTLE_S - 1


def test_replicas_that_do_not_start_are_not_followed_by_more() -> None:
    policy, wanted = ScalingPolicy(BOUNDS), 1
    for tick in range(6_000):
        wanted = policy.decide([Load(80.0)], wanted, running=1, at_s=tick * TICK_S).replicas
    assert wanted == 2


def test_a_slow_p99_adds_one_at_a_time_and_says_so() -> None:
    replicas = Replicas()
    decision = replicas.run(UP_AFTER_S + TICK_S, shared(2, p99_ms=80.0))
    assert decision == Decision(2, 2, "a p99 of 80.0 ms, above 50 ms")
    replicas.run(START_S + SETTLE_S - 1, shared(2, p99_ms=80.0))
    assert replicas.wanted == 2
    replicas.run(10, shared(2, p99_ms=80.0))
    assert replicas.wanted == 3


def test_never_more_than_the_most_and_what_is_needed_is_told() -> None:
    replicas = Replicas()
    decision = replicas.run(600, shared(1_000))
    assert (decision.replicas, decision.needed) == (8, 100)
    assert "1000.0 ongoing requests of 8 replica(s)" in decision.reason


def test_replicas_go_one_at_a_time_after_the_delay_each_and_never_below_the_least() -> None:
    bounds = ScalingBounds(least=2, most=8, ongoing=10.0, p99_ms=50.0, down_after_s=60.0)
    replicas = Replicas(bounds)
    replicas.run(200, shared(50))
    assert replicas.wanted == 5
    replicas.changes.clear()
    begun = replicas.at_s
    replicas.run(1_000, shared(0))
    assert [count for _, count in replicas.changes] == [4, 3, 2]
    gaps = [at - begun - 60 * (place + 1) for place, (at, _) in enumerate(replicas.changes)]
    assert max(abs(gap) for gap in gaps) < 1


def test_a_moment_of_load_puts_the_removal_off() -> None:
    replicas = Replicas()
    replicas.run(60, shared(18))
    replicas.run(50, shared(1))
    replicas.run(TICK_S, shared(18))
    replicas.run(50, shared(1))
    assert replicas.wanted == 2
    replicas.run(11, shared(1))
    assert replicas.wanted == 1


def test_a_burst_that_is_over_at_once_adds_none() -> None:
    replicas = Replicas()
    for _ in range(100):
        replicas.run(UP_AFTER_S - 1, shared(70, p99_ms=200.0))
        replicas.run(10, shared(3, p99_ms=4.0))
    assert replicas.changes == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("total", [3.0, 9.5, 14.0, 20.0, 33.0, 50.0])
def test_noise_about_any_load_moves_no_replica_back_and_forth(total: float, seed: int) -> None:
    noise = random.Random(seed)

    def loads(running: int) -> list[Load]:
        return [
            Load(total / running * noise.uniform(0.8, 1.2), 30.0 * noise.uniform(0.9, 1.1))
            for _ in range(running)
        ]

    replicas = Replicas()
    replicas.run(900, loads)
    counts = [count for _, count in replicas.changes]
    assert counts == sorted(counts)


def test_the_load_at_which_a_replica_is_removed_does_not_bring_it_back() -> None:
    total = DOWN_SHARE * BOUNDS.ongoing
    replicas = Replicas()
    replicas.run(60, shared(18))
    replicas.run(600, shared(total))
    assert [count for _, count in replicas.changes] == [2, 1]


@pytest.mark.parametrize("ongoing", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("p99_ms", [None, math.nan])
def test_an_idle_endpoint_and_loads_that_are_no_numbers_stay_at_the_least(
    ongoing: float, p99_ms: float | None
) -> None:
    replicas = Replicas()
    decision = replicas.run(600, lambda running: [Load(ongoing, p99_ms)] * running)
    assert (replicas.wanted, decision.needed, replicas.changes) == (1, 1, [])


@pytest.mark.parametrize("known", [0, 1], ids=["none", "one of two"])
def test_replicas_that_have_not_reported_are_not_taken_for_idle_ones(known: int) -> None:
    replicas = Replicas()
    replicas.run(60, shared(18))
    replicas.run(600, lambda _: [Load(1.0)] * known)
    assert replicas.wanted == 2


def test_a_number_outside_of_changed_bounds_is_brought_within_them() -> None:
    policy = ScalingPolicy(ScalingBounds(2, 4, 10.0, 50.0, 60.0))
    assert policy.decide([Load(1.0)] * 9, wanted=9, running=9, at_s=0.0).replicas == 4
    assert policy.decide([Load(1.0)], wanted=1, running=1, at_s=0.1).replicas == 2
