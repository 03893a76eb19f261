"""The log's clock is a function of the log, and no minority of its producers moves it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.messages import Ints
from freshrank.feature_actors.state.log_clock import (
    LEAST_VOTES,
    QUORUM,
    TOLERANCE_MS,
    WINDOW,
    LogClock,
    LogTimes,
)

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def advance(clock: LogClock, keys: Ints, stamps_ms: Ints, broker: bool = False) -> LogTimes:
    return clock.advance(keys, NOW_MS + stamps_ms, np.full(len(keys), broker))


def steady(count: int, step_ms: int, keys: int = 1_000) -> tuple[Ints, Ints]:
    """Records of many keys, each by so much later than the one before."""
    return np.arange(count) % keys + 1, np.arange(count) * step_ms


records = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 100_000), st.sampled_from([False, False, True])),
    max_size=120,
)


@settings(deadline=None)
@given(records, st.lists(st.integers(0, 120), max_size=6), st.integers(0, 6))
def test_the_times_are_the_same_wherever_batches_end_and_after_a_restart(
    log: list[tuple[int, int, bool]], cuts: list[int], restart: int
) -> None:
    keys, stamps = (np.array([one[at] for one in log], dtype=np.int64) for at in (0, 1))
    broker = np.array([one[2] for one in log], dtype=np.bool_)
    whole = LogClock().advance(keys, stamps, broker)
    clock, found = LogClock(), []
    ends = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    for number, (begin, end) in enumerate(pairwise(ends)):
        if number == restart:
            before, clock = clock, LogClock()
            clock.load(before.freeze()())
        found.append(clock.advance(keys[begin:end], stamps[begin:end], broker[begin:end]))
    assert np.concatenate([part.log_ms for part in found]).tolist() == whole.log_ms.tolist()
    assert np.concatenate([part.clock_ms for part in found]).tolist() == whole.clock_ms.tolist()
    assert sum(part.ahead for part in found) == whole.ahead
    assert sum(part.behind for part in found) == whole.behind


def by_hand(log: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """The rule as it is written down: (log time, clock) of each record; -1 for no clock."""
    clock, voters, found = -1, list[tuple[int, int]](), []
    for key, stamp, broker in log:
        if broker:
            clock = max(clock, stamp)
            found.append((clock, clock))
            continue
        voters.append((key, stamp))
        votes = sorted(dict(voters[-WINDOW:]).values())
        quartile, median = votes[len(votes) // 4], votes[len(votes) // 2]
        if len(votes) >= LEAST_VOTES:
            clock = max(clock, quartile)
        wild = stamp > clock + TOLERANCE_MS + 8 * (median - quartile)
        trusted = stamp >= clock and not (len(votes) >= QUORUM and wild)
        found.append((stamp if trusted else clock, clock))
    return found


@settings(deadline=None)
@given(records)
def test_it_is_the_rule_that_is_written_down(log: list[tuple[int, int, bool]]) -> None:
    keys, stamps = (np.array([one[at] for one in log], dtype=np.int64) for at in (0, 1))
    times = LogClock().advance(keys, stamps, np.array([one[2] for one in log], dtype=np.bool_))
    clocks = np.maximum(times.clock_ms, -1)
    assert list(zip(times.log_ms.tolist(), clocks.tolist(), strict=True)) == by_hand(log)


def test_the_brokers_stamps_are_the_time_and_never_go_back() -> None:
    clock = LogClock()
    times = advance(clock, np.array([1, 1, 2]), np.array([5, 9, 7]), broker=True)
    assert (times.log_ms - NOW_MS).tolist() == [5, 9, 9]
    assert (times.clock_ms == times.log_ms).all()


@pytest.mark.parametrize("wrong", [HOUR_MS, -HOUR_MS, 10**18, -(10**13)])
def test_one_wrong_stamp_moves_nothing(wrong: int) -> None:
    keys, stamps = steady(200, 10)
    stamps[100] += wrong
    times = advance(LogClock(), keys, stamps)
    right = np.arange(200) * 10
    assert (np.abs(times.log_ms - NOW_MS - right)[3:] <= WINDOW * 10).all()
    assert (times.ahead, times.behind) == ((1, 0) if wrong > 0 else (0, 1))


@pytest.mark.parametrize("share", [0.05, 0.15])
@pytest.mark.parametrize("wrong", [HOUR_MS, -HOUR_MS])
def test_a_minority_of_wrong_producers_moves_no_time_of_others(share: float, wrong: int) -> None:
    random = np.random.default_rng(1)
    keys, stamps = random.integers(1, 5_000, 20_000), np.arange(20_000) * 10
    times = advance(LogClock(), keys, stamps + wrong * (random.random(20_000) < share))
    assert (np.abs(times.log_ms - NOW_MS - stamps)[WINDOW:] <= 10 * WINDOW * 10).all()


def test_a_wild_key_that_sends_most_of_the_records_has_one_vote() -> None:
    random = np.random.default_rng(2)
    keys, stamps = random.integers(1, 500, 5_000), np.arange(5_000) * 10
    wild = random.random(5_000) < 0.6
    keys[wild] = 777
    times = advance(LogClock(), keys, stamps + HOUR_MS * wild)
    assert (np.abs(times.clock_ms - NOW_MS - stamps)[100:] < 10_000).all()


@pytest.mark.parametrize("step_ms", [1, 60_000, HOUR_MS, 24 * HOUR_MS])
def test_a_log_whose_stamps_all_move_on_is_followed_at_any_pace(step_ms: int) -> None:
    keys, stamps = steady(300, step_ms)
    times = advance(LogClock(), keys, stamps)
    assert (times.log_ms - NOW_MS).tolist() == stamps.tolist(), "each is believed"
    assert times.ahead == 0
    assert times.clock_ms[-1] - NOW_MS == stamps[-1] - 23 * step_ms


def test_after_a_pause_the_clock_follows_within_a_window() -> None:
    keys, stamps = steady(100, 10)
    later = np.concatenate([stamps, stamps + 8 * HOUR_MS])
    times = advance(LogClock(), np.concatenate([keys, keys + 100]), later)
    assert times.ahead == 15, "from the 16th on most of the votes are of the new time"
    assert (times.log_ms - NOW_MS)[115:].tolist() == later[115:].tolist()


def test_a_few_users_are_believed_after_a_pause() -> None:
    keys, stamps = np.array([1, 2, 3, 4, 5] * 6), np.arange(30) * 1_000
    times = advance(LogClock(), np.append(keys, 1), np.append(stamps, 24 * HOUR_MS))
    assert times.log_ms[-1] - NOW_MS == 24 * HOUR_MS
    assert times.clock_ms[-1] - NOW_MS < 30_000, "one does not say what time it is for the others"


def test_users_who_have_left_do_not_hold_the_clock() -> None:
    keys, stamps = steady(100, 10, keys=20)
    few = np.array([1, 2, 3, 4] * 10)
    clock = LogClock()
    advance(clock, keys, stamps)
    times = advance(clock, few, 24 * HOUR_MS + np.arange(40) * 1_000)
    assert times.clock_ms[-1] - NOW_MS > 24 * HOUR_MS


def test_before_three_keys_have_come_the_time_is_not_known() -> None:
    clock = LogClock()
    advance(clock, np.array([1, 2, 1, 2]), np.array([0, 1, 2, 3]))
    assert clock.now_ms < 0
    advance(clock, np.array([3]), np.array([9]))
    assert clock.now_ms == NOW_MS + 2


def test_a_file_without_a_clock_begins_with_an_empty_one() -> None:
    clock = LogClock()
    clock.load({})
    assert clock.now_ms < 0
