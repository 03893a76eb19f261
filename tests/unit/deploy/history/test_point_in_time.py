"""Features as of any time of a history: those that serving reads then, and those recomputed."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from fake_clock import FakeClock
from history_shop import (
    COMPOUND,
    PIPELINE,
    START_MS,
    Click,
    Clicking,
    Popularity,
    Product,
    Visit,
    catalogue,
    clicks,
    item,
    user,
)
from hypothesis import given
from hypothesis import strategies as st
from naive import DAY_MS, Behaviour, Days, Naive, always, stream
from naive import user as behaving

from freshrank import (
    Avro,
    Count,
    DistinctCount,
    Entity,
    FeatureView,
    Labelled,
    LastK,
    LogisticRegression,
    Mean,
    Pipeline,
    Stream,
    Sum,
    Table,
    Tumbling,
    col,
    get_historical_features,
)
from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.point_in_time import HistoricalFeatures
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.aggregations.windowed.windows import Window
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

PARTITIONS = 3


class Shop:
    """A system that serves, and the history of all records that it got."""

    def __init__(self) -> None:
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(PARTITIONS)
        settings = Settings.model_validate({"shards": {"count": 2}})
        self.system = LocalSystem(COMPOUND, settings, World(self.log, self.clock))
        self.records: list[tuple[bytes, bytes | None, int, str]] = []

    def add(self, topic: str, key: str, value: msgspec.Struct | None) -> None:
        encoded = None if value is None else msgspec.json.encode(value)
        at_ms = self.clock.now_ms()
        self.records.append((key.encode(), encoded, at_ms, topic))
        self.log.distribute(topic, [key.encode()], [encoded], np.array([at_ms]))

    def served(self, who: str, what: int) -> tuple[dict[str, object], dict[str, Any]]:
        """A row of now, and the features that an answer gives for it, of the rows in the store."""
        at_ms, features = self.clock.now_ms(), COMPOUND.online_features
        found: dict[str, Any] = {}
        keys = {"user": who, "item": f"{what}", "user_item": f"{who}:{what}"}
        keys["item_kind"] = f"{what}:order"
        for entity, key in keys.items():
            rows = [self.system.world.store.rows.get(one) for one in features.keys(entity, key)]
            found |= features.describe(entity, rows, at_ms)
        return {"user": who, "item": what, "kind": "order", "time": at_ms}, found


def some_events(shop: Shop, generator: np.random.Generator) -> None:
    """An event of each topic: late ones and repeated ones are among them."""
    now, number = shop.clock.now_ms(), len(shop.records)
    who = f"u{generator.integers(3)}"
    late_ms = int(generator.choice([0, 0, 700, 15_000, 90_000]))
    what = int(generator.integers(1, 4))
    kind = str(generator.choice(["view", "order"]))
    click = Click(f"{who} {what} {number // 20}", who, what, kind, now - late_ms)
    shop.add("clicks", who, click)
    shop.add("visits", who, Visit(number, who, 2.5, now))
    if number % 4 == 0:
        row = None if generator.integers(3) == 0 else Product(what, "b", float(number))
        shop.add("catalogue", str(what), row)


def without_nothing(value: Any) -> Any:
    """A bag's entry has no key in an answer where a column has null."""
    if not isinstance(value, list):
        return value
    return [{key: part for key, part in entry.items() if part is not None} for entry in value]


def test_a_row_is_what_serving_reads_at_that_moment_bit_for_bit() -> None:
    async def test() -> None:
        shop, asked = Shop(), list[tuple[dict[str, object], dict[str, Any]]]()
        generator = np.random.default_rng(5)
        await shop.system.start()
        for _ in range(60):
            some_events(shop, generator)
            shop.clock.advance(int(generator.choice([0, 1, 900, 20_000])) / 1000)
            await shop.system.drain()
            for who, what in (("u0", 1), ("u1", 2), ("nobody", 99)):
                asked.append(shop.served(who, what))
            shop.clock.advance(0.001)  # what comes next was not known
        await shop.system.stop()
        asked = [asked[place] for place in generator.permutation(len(asked))]
        rows = [row for row, _ in asked]
        found = get_historical_features(COMPOUND, rows, [shop.records]).to_pylist()
        for (row, served), got in zip(asked, found, strict=True):
            assert {name: without_nothing(got.pop(name)) for name in served} == served
            assert got == row

    asyncio.run(test())


class Played(msgspec.Struct):
    play_id: str
    listener: str
    at: int
    genre: str
    mood: str | None = None
    tone: str = "major"
    volume: int = 5


class Tastes(FeatureView):
    entity = Entity("listener", key="listener")
    source = Stream("plays", id="play_id", time="at", key=entity, schema=Played)
    genres = DistinctCount("genre", windows=["lifetime"])
    named = DistinctCount("genre", where=col.genre != "", windows=["lifetime"])
    moods = DistinctCount("mood", windows=["lifetime"])
    tones = DistinctCount("tone", windows=["lifetime"])
    volume = Sum("volume", windows=["lifetime"])


@pytest.mark.parametrize("quoted", [False, True])
def test_an_empty_text_is_a_value_and_an_empty_cell_none_where_the_field_may_be(
    tmp_path: Path, quoted: bool
) -> None:
    pipeline = Pipeline(
        "tastes", stream=Tastes.source, features=[Tastes], context=["mood"],
        label=Labelled(positive=col.genre == "jazz"), model=LogisticRegression(),
    )  # fmt: skip
    first = '"p1"' if quoted else "p1"  # rows with quotes are read one by one
    lines = [
        "play_id,listener,at,genre,mood,tone,volume",
        f"{first},ann,{START_MS},,,,",
        f"p2,ann,{START_MS},jazz,calm,minor,2",
    ]
    file = tmp_path / "plays.csv"
    file.write_text("\n".join(lines) + "\n")
    rows = [{"listener": "ann", "time": START_MS + 1}]
    (found,) = get_historical_features(pipeline, rows, str(file)).to_pylist()
    assert {name: value for name, value in found.items() if name.endswith("_lifetime")} == {
        "genres_lifetime": 2, "named_lifetime": 1, "moods_lifetime": 1, "tones_lifetime": 2,
        "volume_lifetime": 7,
    }  # fmt: skip


def behaviours() -> st.SearchStrategy[list[Behaviour]]:
    one = st.tuples(
        st.integers(0, 2), st.integers(0, 90_000), st.sampled_from([None, 1.5, 8.0]), st.booleans()
    )
    return st.lists(one, max_size=25).map(
        lambda all_of: [
            Behaviour(
                f"e{number}", f"u{who}", START_MS + at, "view" if view else "order", price=price
            )
            for number, (who, at, price, view) in enumerate(all_of)
        ]
    )


# A day of New York that begins a minute after the first event may come, and the one before it.
DAY_ON = Tumbling("1d", begins="62060s", zone="America/New_York")


class Behaving(FeatureView):
    entity, source = behaving, stream
    everything = Count(windows=["1m", "lifetime"])
    today = Mean("price", windows=["lifetime", Tumbling("12s"), Tumbling("12s", previous=True)])
    views = Count(where=col.type == "view", windows=["12s"])
    mean = Mean("price", windows=["1m"])
    there = Count(windows=[DAY_ON, replace(DAY_ON, previous=True)])
    ever = LastK("item_id", k=1)  # keeps each entity


BEHAVING = Pipeline(
    "behaving",
    stream=stream,
    features=[Behaving],
    context=["item_id"],
    label=Labelled(positive=col.type == "order"),
    model=LogisticRegression(),
)


@given(
    events=behaviours(),
    asked=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 95_000)), min_size=1, max_size=12),
    files=st.integers(1, 3),
)
def test_features_equal_those_recomputed_from_what_had_arrived(
    events: list[Behaviour], asked: list[tuple[int, int]], files: int
) -> None:
    # A record arrived at its time, or with the latest before it in its source.
    arrivals: list[tuple[int, int, Behaviour]] = []
    sources: list[list[tuple[bytes, bytes, int]]] = []
    for number in range(files):
        mine, clock = events[number::files], 0
        sources.append([(one.user_id.encode(), msgspec.json.encode(one), one.ts) for one in mine])
        for one in mine:
            clock = max(clock, one.ts)
            arrivals.append((clock, number, one))
    arrivals.sort(key=lambda arrival: arrival[:2])
    rows = [{"user_id": f"u{who}", "time": START_MS + at} for who, at in asked]
    if not events:
        with pytest.raises(ConfigError, match="there is no record in it"):
            get_historical_features(BEHAVING, rows, sources)
        return
    found = get_historical_features(BEHAVING, rows, sources).to_pylist()
    for (who, at), row in zip(asked, found, strict=True):
        at_ms = START_MS + at
        known = Naive(
            [one for clock, _, one in arrivals if clock <= at_ms and one.user_id == f"u{who}"]
        )
        minute, short = Window("", 60_000, 5_000), Window("", 12_000, 1_000)
        prices = known.prices(minute, always, at_ms)
        assert row["everything_1m"] == known.count(minute, always, at_ms)
        assert row["everything_lifetime"] == len(known.events)
        kinds = {
            "lifetime": None,
            "current_12s": Days(12_000),
            "previous_12s": Days(12_000, back=1),
        }
        for column, days in kinds.items():
            mean = known.mean(days, always, at_ms)
            assert row[f"today_{column}"] == (None if np.isnan(mean) else pytest.approx(mean))
        for column, back in {"current_1d": 0, "previous_1d": 1}.items():
            day = Days(DAY_MS, 62_060_000, back, zone="America/New_York")
            assert row[f"there_{column}"] == known.count(day, always, at_ms)
        assert row["views_12s"] == known.count(short, lambda one: one.type == "view", at_ms)
        assert row["mean_1m"] == (pytest.approx(float(np.mean(prices))) if prices else None)


def jsonl(path: Path, events: Sequence[Click]) -> Path:
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in events)
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def click(number: int, at_ms: int, who: str = "ann", what: int = 1) -> Click:
    return Click(f"e{number}", who, what, "view", START_MS + at_ms)


CLICKS = replace(PIPELINE, streams=(), stream=clicks, tables=(), features=[Clicking, Popularity],
                 context=["item"])  # fmt: skip


def seen_at(history: Sequence[Path | str], *times_ms: int, who: str = "ann") -> list[object]:
    rows = [{"user": who, "time": START_MS + at} for at in times_ms]
    found = get_historical_features(CLICKS, rows, history, columns=["seen_10s"])
    assert found.column_names == ["user", "time", "seen_10s"]
    return found["seen_10s"].to_pylist()


def test_one_path_and_one_column_need_no_list(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(1, 5)])
    rows = [{"user": "ann", "time": START_MS + 5}]
    for history in (file, str(file)):
        found = get_historical_features(CLICKS, rows, history, columns="seen_10s")
        assert found["seen_10s"].to_pylist() == [1]


def test_what_arrives_at_a_row_s_time_is_known_to_it(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(n, at) for n, at in enumerate([5, 5, 7, 7])])
    assert seen_at([file], 4, 5, 6, 7) == [0, 2, 2, 4]


def test_a_late_event_is_known_when_it_arrived(tmp_path: Path) -> None:
    events = [click(0, 1_000), click(1, 3_000), click(2, 2_000), click(3, 4_000)]
    file = jsonl(tmp_path / "a.jsonl", events)
    assert seen_at([file], 1_000, 2_500, 3_000, 4_000) == [1, 1, 3, 4]


def test_files_that_overlap_are_merged_by_time(tmp_path: Path) -> None:
    events = [click(number, number * 10) for number in range(20_000)]
    for part in range(3):
        jsonl(tmp_path / f"{part}.jsonl.gz", events[part::3])
    whole = jsonl(tmp_path / "whole.ndjson", events)
    times = [95, 10_000, 77_777, 199_999]
    assert seen_at([tmp_path / f"{part}.jsonl.gz" for part in range(3)], *times) == (
        seen_at([whole], *times)
    )
    assert seen_at([whole], 95, 9_999) == [10, 1_000]


def test_an_entity_that_was_never_seen_has_missing_values(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0)])
    rows = [{"user": "nobody", "item": 77, "time": START_MS + 5, "note": "x"}]
    (row,) = get_historical_features(CLICKS, rows, [file]).to_pylist()
    assert row == {
        **rows[0], "seen_10s": 0, "seen_1m": 0, "seen_lifetime": 0, "idle": None,
        "interest": [], "recent": [], "views_10s": 0, "buyers": [],
    }  # fmt: skip


def test_a_table_in_avro_has_the_rows_that_the_same_file_gives_one_in_json(tmp_path: Path) -> None:
    types = {"item": "long", "brand": "string", "price": ["null", "double"]}
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    avro = Avro({"type": "record", "name": "Product", "fields": fields})
    in_avro = Table("catalogue", key=item, schema=Product, format=avro)
    events = jsonl(tmp_path / "clicks.jsonl", [click(0, 0)])
    products = tmp_path / "catalogue.jsonl"
    products.write_bytes(
        b"\n".join([msgspec.json.encode(Product(7, "b", 2.5)), b'{"item": "none"}', b"{"])
    )
    rows = [{"item": one, "user": "ann", "time": START_MS + 5} for one in (7, 8)]
    found = []
    for table in (catalogue, in_avro):
        made = replace(PIPELINE, tables=[table], context=["item", table.price])
        found.append(get_historical_features(made, rows, [events, products]).to_pylist())
    assert found[0] == found[1]
    assert [row["price"] for row in found[1]] == [2.5, None]


def test_a_column_of_the_rows_keeps_its_name(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0)])
    rows = pa.table({"user": ["ann"], "time": [START_MS], "idle": ["mine"]})
    (row,) = get_historical_features(CLICKS, rows, [file], columns=["idle"]).to_pylist()
    assert row == {"user": "ann", "time": START_MS, "idle": "mine", "user.idle": 0.0}


def test_idle_entities_that_are_dropped_change_no_row(tmp_path: Path) -> None:
    """Rows are read late, in batches: entities are dropped after the rows of times before."""

    class Short(FeatureView):
        entity, source = user, clicks
        seen = Count(windows=["10s"])

    # An entity each second, for longer than any is kept.
    events = [click(n, n * 1_000, who=f"u{n}") for n in range(300)]
    file = jsonl(tmp_path / "a.jsonl", events)
    rows = [
        {"user": f"u{n}", "time": START_MS + n * 1_000 + after}
        for n in range(300)
        for after in (0, 9_000, 20_000)
    ]
    pipeline = replace(CLICKS, features=[Short])
    found = get_historical_features(pipeline, rows, [file])["seen_10s"].to_pylist()
    assert found == [1, 1, 0] * 300


@pytest.mark.parametrize(
    ("rows", "columns", "place", "said"),
    [
        ([{"usr": "a", "time": START_MS}], None, "rows", "Is it 'usr'? Rename that column."),
        ([{"user": "a", "tme": START_MS}], None, "rows", "there is no column 'time' or 'ts'"),
        ([{"user": "a", "time": START_MS}], ["sen_10s"], "columns", "Did you mean 'seen_10s'?"),
        ([{"user": None, "time": START_MS}], None, "row 1 of the rows, user", "None is no key"),
        ([{"item": "x", "time": START_MS}], None, "row 1 of the rows, item", "is no integer"),
        (
            [{"user": "a", "time": START_MS}, {"user": "b", "time": None}], None,
            "row 2 of the rows, time", "None is no int",
        ),
        (
            [{"user": "a", "time": START_MS // 1000}], None,
            "row 1 of the rows, time", "is a time in seconds, not in milliseconds",
        ),
        (
            [{"user": "a", "time": "2024-05-17T11:30:00"}], None,
            "row 1 of the rows, time", "names no time zone",
        ),
        (5, None, "entity_rows", "int is no table"),
    ],
)  # fmt: skip
def test_mistakes_in_rows_are_named(
    rows: object, columns: list[str] | None, place: str, said: str, tmp_path: Path
) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0)])
    with pytest.raises(ConfigError) as caught:
        get_historical_features(CLICKS, rows, [file], columns=columns)
    assert caught.value.place == place
    assert said in str(caught.value)


def test_times_of_rows_may_be_texts_timestamps_or_those_of_the_stream(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0)])
    moments = pa.array([START_MS * 1_000_000 + 999], pa.timestamp("ns"))
    for times in (
        {"time": ["2023-11-14T22:13:20Z"]},
        {"time": moments},
        {"time": moments.cast(pa.timestamp("ns", "Asia/Tokyo"))},
        {"ts": [START_MS]},
    ):
        table = pa.table({"user": ["ann"], **times})
        found = get_historical_features(CLICKS, table, [file], columns=["seen_10s"])
        assert found["seen_10s"].to_pylist() == [1]


def test_records_that_are_no_events_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0), click(1, 1)])
    with file.open("ab") as more:
        more.write(b'{"id": "e9", "user": "ann"}\n\nno json\n')
    with caplog.at_level(logging.WARNING):
        assert seen_at([file], 5) == [2]
    (record,) = caplog.records
    head, first, second = record.message.splitlines()
    assert head == "2 of 4 records are left out:"
    assert first.startswith(f"  1, the first at line 3 of {file}: ")
    assert "missing required field `kind`" in first
    # Between them is an empty line, which is no record.
    assert second.startswith(f"  1, the first at line 5 of {file}: JSON is malformed")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "there is no record in it"),
        (b"\n\n", "there is no record in it"),
        (b"what\n{}\n", "none of its 2 records can be used: 1, the first at line 1 of"),
    ],
)
def test_a_history_without_an_event_is_a_mistake(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        seen_at([tmp_path / "a.jsonl"], 5)
    with pytest.raises(ConfigError, match="there is no record in it"):
        seen_at([], 5)


def test_an_event_beyond_the_present_is_dead(tmp_path: Path) -> None:
    """It would make all that follow it late."""
    far = Click("e1", "ann", 1, "view", 4_000_000_000_000)
    file = jsonl(tmp_path / "a.jsonl", [click(0, 0), far, click(2, 10)])
    assert seen_at([file], 5, 20) == [1, 2]


def test_a_row_without_a_part_of_a_compound_key_has_missing_values(tmp_path: Path) -> None:
    history = [jsonl(tmp_path / "clicks.jsonl", [click(1, 0), click(2, 10)])]
    kinds = ("view", None, "order", "")
    rows = [{"item": 1, "kind": kind, "time": START_MS + 20} for kind in kinds]
    found = get_historical_features(COMPOUND, rows, history, columns=["happened_10s"])
    assert found["happened_10s"].to_pylist() == [2.0, 0.0, 0.0, 0.0]


class Branded(Click):
    brand: str | None = None


branded = replace(clicks, schema=Branded)


class Branding(FeatureView):
    entity, source = user, branded
    clicked = Count(windows=["10s"])


class Brands(FeatureView):
    entity, source = Entity("user_brand", key=["user", "brand"]), branded
    liked = Count(windows=["10s"])


BY_BRAND = replace(
    PIPELINE,
    stream=branded,
    streams=[],
    features=[Branding, Brands],
    context=["item", catalogue.brand],
)


def test_features_whose_key_the_rows_lack_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = [jsonl(tmp_path / "clicks.jsonl", [click(1, 0)])]
    rows = [{"user": "ann", "item": 1, "time": START_MS + 20}]
    column = "the column 'brand' (serving takes it from the row of 'catalogue')"
    with caplog.at_level(logging.WARNING):
        found = get_historical_features(BY_BRAND, rows, history)
    assert "liked_10s" not in found.column_names
    assert f"without the features of 'user_brand' (liked_10s): Add to the rows {column}." in (
        caplog.text
    )
    problem = re.escape("'liked_10s' is a feature of 'user_brand', which is not asked for")
    with pytest.raises(ConfigError, match=f"{problem}.*{re.escape(column)}"):
        get_historical_features(BY_BRAND, rows, history, columns=["liked_10s"])
    given = [{"brand": "b"} | row for row in rows]
    whole = get_historical_features(BY_BRAND, given, history, columns=["liked_10s"])
    assert whole["liked_10s"].to_pylist() == [0.0]


def test_a_feature_of_another_entity_than_the_one_asked_for_is_told(tmp_path: Path) -> None:
    history = [jsonl(tmp_path / "clicks.jsonl", [click(1, 0)])]
    reader = HistoricalFeatures(COMPOUND, history, Settings())
    with pytest.raises(ConfigError, match=r"'item_kind'.*--entity"):
        reader.of_all(START_MS + 20, "user", ["happened_10s"])
