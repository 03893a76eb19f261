"""Times in a wrong unit, and wild ones, are told apart from times that may be right."""

from __future__ import annotations

import numpy as np
import pytest

from freshrank.actors.records import RejectKind
from freshrank.feature_actors.streams.times.faults import TimeFault, time_faults
from freshrank.feature_actors.streams.times.units import TimeUnit

LOG_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
YEAR_MS = 365 * 86_400_000


def faults(*times: int, log_ms: int = LOG_MS, max_ahead_ms: int = HOUR_MS) -> list[TimeFault]:
    given = np.array(times, dtype=np.int64)
    return list(time_faults(given, np.full(len(times), log_ms), max_ahead_ms))


@pytest.mark.parametrize(
    ("time", "unit", "fix"),
    [
        (LOG_MS // 1000, "seconds", "multiply by 1000"),
        (LOG_MS // 1000 - 4 * YEAR_MS // 1000, "seconds", "multiply by 1000"),
        (LOG_MS * 1000, "microseconds", "divide by 1000"),
        (LOG_MS * 1_000_000, "nanoseconds", "divide by 1000000"),
        ((LOG_MS - YEAR_MS) * 1_000_000, "nanoseconds", "divide by 1000000"),
    ],
)
def test_a_time_in_another_unit_is_named_with_its_unit_and_the_fix(
    time: int, unit: str, fix: str
) -> None:
    (fault,) = faults(time)
    assert fault.kind is RejectKind.TIME_UNIT
    assert fault.reason == f"{time} is a time in {unit}, not in milliseconds: {fix}"


@pytest.mark.parametrize("time", [LOG_MS + HOUR_MS + 1, LOG_MS * 2, 10**18, 2**63 - 1])
def test_a_time_that_no_unit_explains_is_too_far_ahead(time: int) -> None:
    (fault,) = faults(time)
    assert fault.kind is RejectKind.TIME_AHEAD
    assert fault.reason.startswith(f"{time} is ")


def test_times_of_the_past_and_those_within_the_bound_are_no_fault() -> None:
    past = [0, 5, 10**12, LOG_MS - 6 * YEAR_MS, LOG_MS - 1, LOG_MS]
    assert faults(*past, LOG_MS + HOUR_MS) == []
    assert faults(10**9, log_ms=0, max_ahead_ms=2 * 10**9) == [], "a log of 1970"


def test_a_wide_bound_does_not_hide_a_wrong_unit() -> None:
    (fault,) = faults(LOG_MS * 1000, max_ahead_ms=2**60)
    assert fault.kind is RejectKind.TIME_UNIT


def test_faults_come_in_the_order_of_the_events() -> None:
    found = faults(2**62, LOG_MS, LOG_MS * 1000, LOG_MS // 1000, LOG_MS + HOUR_MS + 1)
    assert [fault.place for fault in found] == [0, 2, 3, 4]


UNITS = {
    TimeUnit.SECONDS: LOG_MS // 1000,
    TimeUnit.MILLISECONDS: LOG_MS,
    TimeUnit.MICROSECONDS: LOG_MS * 1000,
    TimeUnit.NANOSECONDS: LOG_MS * 1_000_000,
}


@pytest.mark.parametrize("declared", TimeUnit)
def test_units_are_told_relative_to_the_declared_one(declared: TimeUnit) -> None:
    times = np.array(list(UNITS.values()))
    found = list(time_faults(times, np.full(4, LOG_MS), HOUR_MS, declared))
    assert [fault.place for fault in found] == [
        place for place, unit in enumerate(UNITS) if unit is not declared
    ]
    for fault in found:
        given = list(UNITS)[fault.place]
        ratio = max(given.per_second, declared.per_second) // min(
            given.per_second, declared.per_second
        )
        verb = "multiply" if declared.per_second > given.per_second else "divide"
        assert fault.kind is RejectKind.TIME_UNIT
        assert fault.reason == (
            f"{times[fault.place]} is a time in {given.word}, not in {declared.word}: "
            f"{verb} by {ratio}"
        )


@pytest.mark.parametrize("declared", TimeUnit)
def test_the_bound_is_the_same_moment_in_every_unit(declared: TimeUnit) -> None:
    last = (LOG_MS + HOUR_MS) // 1000 * declared.per_second
    second = declared.per_second
    times = np.array([last, last + second, 2**63 - 1])
    found = list(time_faults(times, np.full(3, LOG_MS), HOUR_MS, declared))
    assert [(fault.place, fault.kind) for fault in found] == [
        (1, RejectKind.TIME_AHEAD),
        (2, RejectKind.TIME_AHEAD),
    ]


def test_times_without_a_unit_are_in_no_other() -> None:
    times = np.array([LOG_MS // 1000, LOG_MS * 1000])
    (fault,) = time_faults(times, np.full(2, LOG_MS), HOUR_MS, None)
    assert (fault.place, fault.kind) == (1, RejectKind.TIME_AHEAD)
