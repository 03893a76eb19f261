"""What a stream may declare of its event time."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec
import pytest

from freshrank import Count, Entity, FeatureView, Stream
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.views.plan import FeaturePlan


def stream(kind: Any, **settings: Any) -> Stream:
    schema = msgspec.defstruct("Play", [("id", str), ("user", str), ("at", kind)])
    user = Entity("user", key="user")
    return Stream("plays", id="id", time="at", key=user, schema=schema, **settings)


def fingerprint(kind: Any, **settings: Any) -> str:
    plays = stream(kind, **settings)
    body = {"entity": plays.key, "source": plays, "plays": Count(windows=["1h"])}
    return FeaturePlan([type("Plays", (FeatureView,), body)]).fingerprint


Naive = Annotated[datetime.datetime, msgspec.Meta(tz=False)]
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (int, {"time_unit": "seconds"}, r'time_unit: .seconds. is no unit.*"s", "ms", "us", "ns"'),
    (int, {"time_unit": None}, "time_unit: None is no unit"),
    (int, {"time_zone": "UTC"}, "time_zone: the field .at. is an integer.*Leave the zone out"),
    (str, {"time_unit": "s"}, "time_unit: the field .at. is a text.*Leave the unit out"),
    (str, {"time_zone": "Europe/Berlim"}, "time_zone: .*Did you mean .Europe/Berlin."),
    (str, {"time_zone": "europe/berlin "}, "time_zone: .*Did you mean .Europe/Berlin."),
    (str, {"time_zone": "../passwd"}, "time_zone: .*no time zone"),
    (str, {"time_zone": ""}, "time_zone: .*no time zone"),
    (str, {"time_zone": 3}, "time_zone: 3 is no time zone"),
    (Naive, {}, r'time_zone: the times of the field .at. name no zone.*time_zone="Europe/Berlin"'),
    (float, {}, "time: the field .at. is float"),
    (bool, {}, "time: the field .at. is a bool"),
    (str | None, {}, "time: the field .at. may be None"),
    (datetime.datetime | None, {}, "time: the field .at. may be None"),
    (datetime.date, {}, r"time: .*\(date\)"),
]


@pytest.mark.parametrize(("kind", "settings", "problem"), BAD)
def test_a_time_that_cannot_be_read_is_a_mistake_of_the_declaration(
    kind: Any, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        stream(kind, **settings)


def test_the_default_keeps_the_fingerprint_and_each_other_meaning_has_its_own() -> None:
    assert fingerprint(int) == fingerprint(int, time_unit="ms") == "b4742cdaf9f7c356"
    others = [
        fingerprint(int, time_unit="s"),
        fingerprint(int, time_unit="us"),
        fingerprint(str),
        fingerprint(str, time_zone="Europe/Berlin"),
        fingerprint(str, time_zone="Europe/Paris"),
    ]
    assert len({fingerprint(int), *others}) == 6
    assert fingerprint(datetime.datetime) == fingerprint(str), "they hold the same times"
