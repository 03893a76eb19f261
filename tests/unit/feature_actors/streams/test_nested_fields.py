"""Fields of structs in events, by path: where they may be named, and what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from freshrank import Count, Entity, FeatureView, LastK, Stream, Sum, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields


class Maker(msgspec.Struct, rename="camel"):
    maker_name: str
    founded: int | None = None


class Device(msgspec.Struct):
    os: str
    maker: Maker
    price: float = 0.0


class Node(msgspec.Struct):
    depth: int
    parent: Node | None = None


class Ping(msgspec.Struct):
    node: Pong | None = None
    size: int = 0


class Pong(msgspec.Struct):
    ping: Ping | None = None


class Play(msgspec.Struct):
    play_id: str
    listener: str
    at: int
    device: Device
    last_device: Device | None = None
    node: Node | None = None
    ping: Ping | None = None
    meta: dict[str, str] = {}


listener = Entity("listener", key="listener")


def stream(**changes: Any) -> Stream:
    arguments: dict[str, Any] = {"id": "play_id", "time": "at", "key": listener, "schema": Play}
    return Stream("plays", **(arguments | changes))


def view(feature: object) -> type[FeatureView]:
    return type("V", (FeatureView,), {"entity": listener, "source": stream(), "f": feature})


def test_fields_are_named_by_their_path_and_may_be_none_where_their_struct_may() -> None:
    fields = Fields(Play, "plays")
    assert {name: field.optional for name, field in fields.items() if "." in name} == {
        "device.os": False,
        "device.maker.maker_name": False,
        "device.maker.founded": True,
        "device.price": False,
        "last_device.os": True,
        "last_device.maker.maker_name": True,
        "last_device.maker.founded": True,
        "last_device.price": True,
    }
    assert fields.json_path("device.maker.maker_name") == ("device", "maker", "makerName")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda: view(Count(where=col.device.oss == "a", windows=["1h"])), "mean .device.os.\\?"),
        (lambda: view(LastK("device.maker.makerName", k=2)), "mean .device.maker.maker_name."),
        (lambda: view(LastK("device", k=2)), r"\(struct\).*fields are .device.os."),
        (lambda: view(Sum("device.os", windows=["1h"])), "the field .device.os. is str"),
        (lambda: view(LastK("device.os.version", k=2)), "no field .device.os.version."),
        (lambda: view(LastK("meta.colour", k=2)), "no field .meta.colour.*It has: play_id"),
        (lambda: view(LastK("node.depth", k=2)), "no field .node.depth."),
        (lambda: view(Count(where=col.device.os.is_null(), windows=["1h"])), "never None"),
        (lambda: view(Count(where=col.device.os == 3, windows=["1h"])), "constant is int"),
        (lambda: col.device.os.startswith("a"), "no such method.*isin, is_null"),
        (lambda: stream(id="device.os"), r"id: .device.os. is a field of a field"),
        (lambda: stream(time="last_device.os"), r"time: .last_device.os. is a field of a field"),
        (lambda: stream(key=Entity("u", key="device.os")), r"key: .device.os. is a field of a"),
    ],
)
def test_a_path_that_cannot_be_meant_is_a_mistake_with_the_nearest_name(
    write: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        write()


def test_a_struct_that_occurs_twice_is_one_type_of_the_schema_of_events() -> None:
    _, components = msgspec.json.schema_components([stream().event_type])
    assert {"Play", "Device", "Maker", "Node"} <= set(components)


def test_columns_of_nested_fields_can_be_taken() -> None:
    from freshrank.feature_actors.streams.columns import Columns  # noqa: PLC0415

    device = Device("ios", Maker("x"), 2.0)
    events: list[msgspec.Struct] = [Play("1", "a", 1, device), Play("2", "a", 2, device, device)]
    columns = Columns.of_events(stream().fields, events, np.arange(2), np.arange(2))
    np.testing.assert_array_equal(columns.number("last_device.price"), [np.nan, 2.0])
    assert columns.present("last_device.os").tolist() == [False, True]
    assert columns.text("last_device.os") == ["", "ios"]
    assert columns.take(np.array([1])).text("last_device.os") == ["ios"]
