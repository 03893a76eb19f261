"""A smoothed rate is refused where it could not be one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from freshrank import SmoothedRate, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields


class Event(msgspec.Struct):
    type: str


ORDER, VIEW = col.type == "order", col.type == "view"


def said(**changed: object) -> str:
    arguments: dict[str, Any] = {
        "of": ORDER,
        "among": VIEW,
        "expected": 0.02,
        "windows": ["1h"],
        **changed,
    }
    rate = SmoothedRate(**arguments)
    with pytest.raises(ConfigError) as refused:
        rate.check(Fields(Event, "Event"), "Item.rate")
    return str(refused.value)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"of": None}, "Item.rate.of: None is not a condition"),
        ({"among": "view"}, "Item.rate.among: 'view' is not a condition"),
        ({"among": col.kind == "view"}, "Item.rate.among (kind == 'view')"),
        ({"expected": -0.1}, "Item.rate.expected: -0.1"),
        ({"expected": float("nan")}, "Item.rate.expected: nan"),
        ({"prior": 0}, "Item.rate.prior: 0 "),
        ({"prior": "50"}, "Item.rate.prior: '50'"),
        ({"where": True}, "Item.rate.where: True is not a condition"),
        ({"windows": []}, "Item.rate.windows: no window"),
    ],
)
def test_the_place_and_the_value_are_named(changed: dict[str, object], place: str) -> None:
    assert said(**changed).startswith(place)


def test_each_part_of_the_definition_is_part_of_its_spelling() -> None:
    base = SmoothedRate(of=ORDER, among=VIEW, expected=0.02, windows=["1h"])
    others = [
        SmoothedRate(of=VIEW, among=VIEW, expected=0.02, windows=["1h"]),
        SmoothedRate(of=ORDER, among=ORDER, expected=0.02, windows=["1h"]),
        SmoothedRate(of=ORDER, among=VIEW, expected=0.03, windows=["1h"]),
        SmoothedRate(of=ORDER, among=VIEW, expected=0.02, windows=["2h"]),
        SmoothedRate(of=ORDER, among=VIEW, expected=0.02, windows=["1h"], prior=10.0),
        SmoothedRate(of=ORDER, among=VIEW, expected=0.02, windows=["1h"], where=VIEW),
    ]
    assert len({base.canonical(), *(one.canonical() for one in others)}) == 7
