"""Event times that are texts or datetimes, against the plain arithmetic of datetime."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.records import RejectKind
from freshrank.feature_actors.streams.times.reader import EventTimes, TimeReader
from freshrank.feature_actors.streams.times.time_field import TimeField
from freshrank.feature_actors.streams.times.units import TimeUnit

BERLIN = ZoneInfo("Europe/Berlin")


class At(msgspec.Struct):
    at: Any


def read(*values: Any, zone: ZoneInfo | None = None, kind: Any = str) -> EventTimes:
    return TimeReader(TimeField("at", kind, zone=zone)).read([At(value) for value in values])


def utc_ms(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-17T09:30:00Z",
        "2024-05-17 09:30:00Z",
        "2024-05-17T11:30:00+02:00",
        "2024-05-17T11:30+02",
        "20240517T093000Z",
        "2024-W20-5T09:30:00Z",
        "2024-05-17T09:30:00.000999999Z",
    ],
)
def test_spellings_of_one_moment(text: str) -> None:
    assert read(text).ms.tolist() == [utc_ms("2024-05-17T09:30:00")]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2024-07-01T12:00:00", "2024-07-01T10:00:00"),
        ("2024-01-01T12:00:00", "2024-01-01T11:00:00"),
        ("2024-01-01", "2023-12-31T23:00:00"),
        # Clocks go from 02:00 to 03:00: read with the offset from before, +01:00.
        ("2024-03-31T01:59:59", "2024-03-31T00:59:59"),
        ("2024-03-31T02:30:00", "2024-03-31T01:30:00"),
        ("2024-03-31T03:00:00", "2024-03-31T01:00:00"),
        # Clocks go from 03:00 back to 02:00: the first of the two, +02:00.
        ("2024-10-27T02:30:00", "2024-10-27T00:30:00"),
        ("2024-10-27T03:00:00", "2024-10-27T02:00:00"),
    ],
)
@pytest.mark.parametrize("kind", [str, datetime.datetime])
def test_a_local_time_is_in_the_declared_zone(kind: Any, local: str, utc: str) -> None:
    value = local if kind is str else datetime.datetime.fromisoformat(local)
    assert read(value, zone=BERLIN, kind=kind).ms.tolist() == [utc_ms(utc)]


def test_a_time_with_a_zone_keeps_it_whatever_is_declared() -> None:
    found = read("1970-01-01T00:00:01Z", "1970-01-01T00:00:01", zone=ZoneInfo("America/New_York"))
    assert found.ms.tolist() == [1000, 5 * 3_600_000 + 1000]


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ("yesterday", RejectKind.INVALID, "'yesterday' is no time of ISO 8601"),
        ("", RejectKind.INVALID, "'' is no time"),
        ("1700000000", RejectKind.INVALID, "is no time of ISO 8601"),
        ("2024-02-30T00:00:00Z", RejectKind.INVALID, "is no time"),
        ("x" * 1000, RejectKind.INVALID, "x" * 60 + "' is no time"),
        ("1969-12-31T23:59:59Z", RejectKind.INVALID, "is before 1970"),
        ("0001-01-01T00:00:00+14:00", RejectKind.INVALID, "is before 1970"),
        ("2024-05-17T09:30:00", RejectKind.TIME_ZONE, "names no time zone.*time_zone="),
    ],
)
def test_what_cannot_be_read_has_its_kind_and_the_others_go_on(
    value: str, kind: RejectKind, reason: str
) -> None:
    found = read("1970-01-01T00:00:01Z", value, "1970-01-01T00:00:02Z")
    assert found.ms[[0, 2]].tolist() == [1000, 2000]
    (fault,) = found.faults(np.full(3, 5000), 10)
    assert (fault.place, fault.kind) == (1, kind)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(fault.reason)


def test_a_text_too_far_ahead_is_a_fault_and_never_of_a_unit() -> None:
    log_ms = utc_ms("2024-05-17T09:30:00")
    found = read("2024-05-17T10:30:00Z", "2024-05-17T10:30:01Z", "1970-01-20T17:31:18Z")
    (fault,) = found.faults(np.full(3, log_ms), 3_600_000)
    assert (fault.place, fault.kind) == (1, RejectKind.TIME_AHEAD)


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# Up to a day from the ends of what a datetime can hold, so that each zone can show it.
LONGEST_S = 253_402_300_800 - 2 * 86_400
local_times = st.integers(-62_135_510_400, LONGEST_S).flatmap(
    lambda s: st.integers(0, 999_999).map(
        lambda us: (EPOCH + datetime.timedelta(seconds=s, microseconds=us)).replace(tzinfo=None)
    )
)
offsets = st.none() | st.integers(-1439, 1439).map(
    lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
)
moments = st.builds(lambda local, offset: local.replace(tzinfo=offset), local_times, offsets)


@given(st.lists(moments, max_size=5), st.timezones())
def test_texts_and_datetimes_are_read_as_datetime_reckons(
    values: list[datetime.datetime], zone: ZoneInfo
) -> None:
    wanted = [
        (value.replace(tzinfo=zone) if value.tzinfo is None else value) - EPOCH for value in values
    ]
    as_texts = read(*(value.isoformat() for value in values), zone=zone)
    as_datetimes = read(*values, zone=zone, kind=datetime.datetime)
    for found in (as_texts, as_datetimes):
        for place, since in enumerate(wanted):
            ms = since // datetime.timedelta(milliseconds=1)
            assert (place in found.unreadable) == (ms < 0)
            assert found.ms[place] == max(ms, 0)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=5), st.sampled_from(TimeUnit))
def test_integers_are_milliseconds_rounded_down_and_never_overflow(
    values: list[int], unit: TimeUnit
) -> None:
    found = TimeReader(TimeField("at", unit=unit)).read([At(value) for value in values])
    for value, ms in zip(values, found.ms.tolist(), strict=True):
        exact = value * 1000 // unit.per_second
        assert ms == exact if exact < 2**63 else ms >= 2**63 - 1000
    assert found.given.tolist() == values
