import datetime
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
from naive import Behaviour, stream, user

from freshrank import Count, DecayedCount, FeatureView, LastK, Mean, Sum, TimeSince, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.stream import Entity, Stream


class Rich(msgspec.Struct):
    event_id: str
    user_id: int
    ts: int
    kind: Literal["view", "order"]
    level: Literal[1, 2]
    flag: bool
    tags: list[str]
    mixed: int | str
    maybe: str | None = None


NO_CONDITION: Any = "view"


def rich(**changes: Any) -> Stream:
    given: dict[str, Any] = {
        "id": "event_id",
        "time": "ts",
        "key": Entity("user", key="user_id"),
        "schema": Rich,
    }
    return Stream("rich", **(given | changes))


def view(**body: Any) -> type[FeatureView]:
    return type("V", (FeatureView,), {"entity": user, "source": stream} | body)


def test_a_schema_tells_the_kinds_of_its_fields() -> None:
    fields = Fields(Rich, "here")
    assert {name: field.kind for name, field in fields.items()} == {
        "event_id": Kind.TEXT,
        "user_id": Kind.INTEGER,
        "ts": Kind.INTEGER,
        "kind": Kind.TEXT,
        "level": Kind.INTEGER,
        "flag": Kind.INTEGER,
        "maybe": Kind.TEXT,
    }
    assert [name for name, field in fields.items() if field.optional] == ["maybe"]


def test_a_view_collects_its_features_in_order_those_of_its_base_first() -> None:
    class Base(FeatureView):
        entity, source = user, stream
        views = Count(where=col.type == "view", windows=["5m"])

    class Activity(Base):
        recent = LastK("item_id", k=2)
        idle = TimeSince()

    assert list(Activity.features) == ["views", "recent", "idle"]
    assert list(Base.features) == ["views"]


@pytest.mark.parametrize(
    ("aggregate", "place", "problem"),
    [
        (Count(windows=["5min"]), "V.f.windows[0]", "not a duration"),
        (Count(windows=["1m"], hop="5m"), "V.f.windows[0]", "shorter than its hop"),
        (Count(), "V.f.windows", "no window is given"),
        (Count(windows="5m"), "V.f.windows", "is a string"),
        (Count(where=NO_CONDITION, windows=["5m"]), "V.f.where", "not a condition"),
        (Sum("prise", windows=["5m"]), "V.f", "Did you mean 'price'"),
        (Sum("type", windows=["5m"]), "V.f", "is str. Name a field of int or float"),
        (Mean("category", windows=["5m"]), "V.f", "is str"),
        (LastK("price", k=3), "V.f", "is float"),
        (LastK("item_id", k=0), "V.f.k", "0 entries"),
        (DecayedCount(by="price", half_life="1h"), "V.f", "is float"),
        (DecayedCount(by="category", half_life="soon"), "V.f.half_life", "not a duration"),
        (DecayedCount(by="category", half_life="1h", top=1_000), "V.f.top", "1000 entries"),
        (TimeSince(where=col.tipe == "view"), "V.f.where (tipe == 'view')", "no field 'tipe'"),
    ],
)
def test_a_feature_that_cannot_work_is_refused_with_its_place(
    aggregate: Aggregate, place: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        view(f=aggregate)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: view(f=3), "3 is not an aggregate"),
        (lambda: view(entity=None), "a view needs its entity"),
        (lambda: view(source="behaviour"), "a view needs its source"),
        (lambda: view(entity=Entity("item", key="user_id")), "is not the key of"),
        (lambda: view(entity=Entity("user", key="item_id")), "is not the key of"),
        (lambda: view(entity=Entity("item", key="thing")), "has no field 'thing'"),
        (lambda: view(entity=Entity("item", key="price")), "is float. Name a field of str or int"),
        (lambda: Entity("the user", key="user_id"), "letters, digits"),
        (lambda: rich(id="maybe"), "may be None"),
        (lambda: rich(id="flags"), "Did you mean 'flag'"),
        (lambda: rich(time="kind"), "is str. Name a field of int"),
        (lambda: rich(key=Entity("tag", key="tags")), "one of the values of the list 'tags'"),
        (lambda: rich(key=Entity("tag", key="mixed")), "cannot use the type"),
        (lambda: rich(dedup_within="10 minutes"), "dedup_within.*not a duration"),
        (lambda: rich(max_ahead="0s"), "max_ahead.*no time at all"),
        (lambda: rich(max_bytes=0), "max_bytes.*no size"),
        (lambda: rich(schema=dict), "not a schema"),
        (
            lambda: Stream("my topic", id="e", time="t", key=user, schema=Behaviour),
            "a topic's name",
        ),
    ],
)
def test_definitions_that_cannot_work_are_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make()


@pytest.mark.parametrize("wrong", ["id", "user", "at"])
@pytest.mark.parametrize("time", [int, datetime.datetime])
def test_a_default_of_id_key_or_time_is_refused(wrong: str, time: type) -> None:
    epoch = datetime.datetime.fromtimestamp(0, datetime.UTC)
    defaults = {"id": "", "user": "", "at": 0 if time is int else epoch}
    kinds: dict[str, type] = {"id": str, "user": str, "at": time}
    needed = [(name, kind) for name, kind in kinds.items() if name != wrong]
    schema = msgspec.defstruct("Play", [*needed, (wrong, kinds[wrong], defaults[wrong])])
    with pytest.raises(ConfigError, match=f"the field '{wrong}' has a default.*leave the default"):
        Stream("plays", id="id", time="at", key=Entity("user", key="user"), schema=schema)


def test_events_of_a_union_may_lack_another_entity_and_not_that_of_the_stream() -> None:
    named = [("id", str), ("user", str), ("at", int)]
    search = msgspec.defstruct("Search", named, tag="search")
    opened = msgspec.defstruct("Opened", [*named, ("job", str)], tag="opened")
    own = Entity("user", key="user")
    both = Stream("browsing", id="id", time="at", key=own, schema=search | opened)
    for entity in (Entity("job", key="job"), Entity("user_job", key=["user", "job"])):
        view(entity=entity, source=both, opened=Count(windows=["1d"]))
    with pytest.raises(ConfigError, match="'job' may be None"):
        Stream("browsing", id="id", time="at", key=Entity("job", key="job"), schema=search | opened)


def test_the_key_of_another_entity_has_no_default() -> None:
    """Events that lack it would all be of the same one."""
    schema = msgspec.defstruct(
        "Opened", [("id", str), ("user", str), ("at", int), ("job", str, "")]
    )
    opened = Stream("openings", id="id", time="at", key=Entity("user", key="user"), schema=schema)
    for key in ("job", ["user", "job"]):
        with pytest.raises(ConfigError, match="the field 'job' has a default"):
            view(entity=Entity("any", key=key), source=opened, opened=Count(windows=["1d"]))


def test_a_feature_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Twice\.views: it is defined twice"):

        class Twice(FeatureView):
            entity, source = user, stream
            views = Count(windows=["5m"])
            views = Count(windows=["1h"])


def test_equal_definitions_are_spelt_alike_and_others_are_not() -> None:
    spelt = [
        one.canonical()
        for one in (
            Count(windows=["1h"]),
            Count(windows=["60m"]),
            Count(windows=["1h"], hop="5m"),
            Count(windows=["1h"], hop="1m"),
            Count(windows=["1h"], where=col.type == "view"),
            Sum("price", windows=["1h"]),
            Mean("price", windows=["1h"]),
            LastK("item_id", k=3),
            LastK("item_id", k=4),
            DecayedCount(by="item_id", half_life="1h"),
            DecayedCount(by="item_id", half_life="2h"),
            TimeSince(),
            TimeSince(where=col.price > 1),
        )
    ]
    assert spelt[0] == spelt[1] == spelt[2]
    assert len(set(spelt)) == len(spelt) - 2
