"""Rows that become columns as a whole have the state, and the faults, of rows read one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import pytest
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank import (
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    Labelled,
    LastK,
    LastValue,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history import file_values, sources
from freshrank.deploy.history import reader as history_reader
from freshrank.deploy.history.arrivals import HistoryTally
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.columnar.ready_rows import ReadyRows
from freshrank.deploy.history.file_values import FileChunk
from freshrank.deploy.history.reader import HistoryReader
from freshrank.deploy.wiring.backfill import Backfill, Target
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns

pa = import_pyarrow("tests")
START_MS = 1_700_000_000_000
CHUNK = 5


class Sale(msgspec.Struct, rename={"note": "remark"}):
    sale_id: str
    user: str
    shop: str
    kind: Literal["view", "order"]
    count: int
    ts: int
    price: float | None = None
    code: int | None = None
    flag: bool = False
    place: str | None = None
    note: str = "none"


user, shop = Entity("user", key="user"), Entity("shop", key="shop")
pair = Entity("user_shop", key=["user", "shop"])
sales = Stream("sales", id="sale_id", time="ts", key=user, schema=Sale)


class Buying(FeatureView):
    entity, source = user, sales
    bought = Count(where=(col.kind == "order") & (col.flag == 1), windows=["1m"])
    spent = Sum(col.price * col.count, windows=["1m"])
    last_price = LastValue("price")
    places = LastK("place", k=2)
    codes = DecayedCount(by="code", half_life="1m", top=2)


class Selling(FeatureView):
    """Of another key, which some records have not."""

    entity, source = shop, sales
    notes = LastK("note", k=2)
    without = Count(where=col.code.is_null(), windows=["1m"])


class Loyalty(FeatureView):
    entity, source = pair, sales
    visits = Count(windows=["1m"])


LABELLED = Pipeline(
    "sales",
    stream=sales,
    features=[Buying, Selling],
    context=["shop"],
    label=Labelled(positive=col.kind == "order"),
    model=LogisticRegression(),
)
JOINED = replace(
    LABELLED,
    features=[Buying, Selling, Loyalty],
    label=Joined(positive=col.kind == "order", on="shop", within="1m"),
)
pipelines = st.sampled_from([LABELLED, JOINED])


def found_in(file: Path, pipeline: Pipeline, *, row_by_row: bool) -> object:
    """All that a backfill of a file makes and counts, or why it cannot be read."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for module in (file_values, sources):
            patch.setattr(module, "CHUNK", CHUNK)
        # Reasons say how far ahead of now a time is.
        patch.setattr(history_reader, "SystemClock", partial(FakeClock, START_MS + 86_400_000))
        if row_by_row:
            patch.setattr(ReadyRows, "of", lambda *_: None)
        reader, entities = HistoryReader(pipeline, [file]), list(pipeline.plans)
        made = Backfill(pipeline, Settings(), Target(dict.fromkeys(entities, 2)))
        tally = HistoryTally()
        try:
            for arrivals in reader.merged(entities, tally, made.numbered):
                made.take(arrivals)
        except ConfigError as error:
            return str(error)
        made.keep(Path(folder), START_MS)
        kept = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return asdict(tally), made.learned, [(path.name, path.read_bytes()) for path in kept]


def chunks(file: Path, skip: int = 0) -> list[FileChunk]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_values, "CHUNK", CHUNK)
        return list(file_values.read_values(file, sales, skip))


RIGHT: Mapping[str, Any] = {
    "sale_id": "s", "user": "ann", "shop": "a", "kind": "view", "count": 2, "ts": START_MS,
    "price": 1.5, "code": 7, "flag": True, "place": "x", "remark": "good",
}  # fmt: skip
TYPES = {
    "sale_id": pa.string(), "user": pa.string(), "shop": pa.string(), "kind": pa.string(),
    "count": pa.int64(), "ts": pa.int64(), "price": pa.float64(), "code": pa.int64(),
    "flag": pa.bool_(), "place": pa.string(), "remark": pa.string(),
}  # fmt: skip
TEXTS = ["", "ann", 'a "quoted" one', "back\\slash", "a\0b", "x" * 256, "x" * 257, "ü" * 256]
INTEGERS = [0, -1, 3, 2**62, 2**63 - 1, -(2**63)]
NUMBERS = [0.0, -0.0, 1.5, 1e300, 5e-324, float("nan"), float("inf"), 0.1]
NORMAL: Mapping[str, st.SearchStrategy[Any]] = {
    "sale_id": st.integers(0, 30).map("s{}".format),
    "user": st.sampled_from(["ann", "bob", "cid"]),
    "shop": st.sampled_from(["a", "b"]),
    "kind": st.sampled_from(["view", "order"]),
    "count": st.integers(0, 9),
    "ts": st.integers(START_MS, START_MS + 90_000),
    "price": st.none() | st.integers(0, 900).map(lambda cents: cents / 100),
    "code": st.none() | st.integers(1, 4),
    "flag": st.booleans(),
    "place": st.none() | st.sampled_from(["x", "y"]),
    "remark": st.sampled_from(["good", "bad"]),
}
ODD: Mapping[type, st.SearchStrategy[Any]] = {
    str: st.none() | st.sampled_from(TEXTS),
    int: st.none() | st.sampled_from(INTEGERS),
    float: st.none() | st.sampled_from(NUMBERS),
    bool: st.none(),
}
# Columns as others write them: some fit, some tell of nothing, some are an error of the file.
OTHERS: Mapping[str, Sequence[Any]] = {
    "count": [pa.int8(), pa.uint64(), pa.float64(), pa.string(), pa.bool_(), pa.null()],
    "ts": [pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.float64(), pa.date64(), pa.int32()],
    "price": [pa.float32(), pa.int64(), pa.string(), pa.null()],
    "shop": [pa.large_string(), pa.int64(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    "code": [pa.float64(), pa.uint64(), pa.null(), pa.string()],
    "flag": [pa.int64(), pa.string(), pa.null()],
}


normal_rows = st.lists(st.fixed_dictionaries(dict(NORMAL)), min_size=1, max_size=14)
other_types = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(list(one)) for name, one in OTHERS.items()}
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Some rows, in a few of which a value is odd."""
    found = draw(normal_rows)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(list(RIGHT)))
        odd = draw(ODD[type(RIGHT[name])])
        draw(st.sampled_from(found))[name] = odd
    return found


def write_parquet(file: Path, given: Sequence[Mapping[str, Any]], types: Mapping[str, Any]) -> bool:
    """Write rows; False where they cannot have these types."""
    columns = {}
    for name in given[0]:
        values, wanted = [one[name] for one in given], types.get(name, TYPES[name])
        try:
            column = pa.array(values, TYPES[name])
            columns[name] = pa.nulls(len(values)) if wanted == pa.null() else column.cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
    pa.parquet.write_table(pa.table(columns), file)
    return True


@settings(max_examples=60)
@given(
    pipeline=pipelines,
    given=rows(),
    types=other_types,
    left_out=st.sets(st.sampled_from(list(RIGHT)), max_size=1),
)
def test_rows_of_parquet(
    pipeline: Pipeline, given: list[dict[str, Any]], types: dict[str, Any], left_out: set[str]
) -> None:
    kept = [{name: one[name] for name in one if name not in left_out} for one in given]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sales.parquet"
        if write_parquet(file, kept, types) or write_parquet(file, kept, {}):
            columns = found_in(file, pipeline, row_by_row=False)
            assert columns == found_in(file, pipeline, row_by_row=True)


CELLS = ["", " ", " 1", "007", "1.0", "-0", "-0.0", "+1", "1.", ".5", "1e5", "1E-3", "nan", "inf",
         "null", "NULL", "true", "True", "0", "1", "0x1F", "1_000", "99999999999999999999",
         "9223372036854775807", "123456789.123456789", "ü", "x" * 257, "\0"]  # fmt: skip
ENDS = ["\n", "\r\n", "\n\n", "\r", ",more\n", "\x0b\n"]


def as_cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


@settings(max_examples=80)
@given(pipeline=pipelines, given=normal_rows, data=st.data(), mark=st.sampled_from(["", "\ufeff"]))
def test_rows_of_csv(
    pipeline: Pipeline, given: list[dict[str, Any]], data: st.DataObject, mark: str
) -> None:
    lines = [[as_cell(value) for value in one.values()] for one in given]
    for _ in range(data.draw(st.integers(0, 2))):
        line = data.draw(st.sampled_from(lines))
        quoted = ['"quoted"', '"a,b"', '"two\nlines"', '"', 'a"b', '"a"b']
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.sampled_from(CELLS + quoted))
        if data.draw(st.integers(0, 9)) == 0:
            line.pop()
    ends = [data.draw(st.sampled_from(["\n"] * 20 + ENDS)) for _ in lines]
    ended = [",".join(line) + end for line, end in zip(lines, ends, strict=True)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sales.csv"
        file.write_bytes("".join([mark, ",".join(given[0]), "\n", *ended]).encode())
        columns = found_in(file, pipeline, row_by_row=False)
        assert columns == found_in(file, pipeline, row_by_row=True)


def sale(number: int, **changes: Any) -> dict[str, Any]:
    return {**RIGHT, "sale_id": f"s{number}", "ts": START_MS + number, **changes}


def one_odd_of_each_chunk(odd: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """A chunk for each of `odd`, in whose second row a field has that value."""
    given = [sale(number) for number in range(len(odd) * CHUNK)]
    for chunk, (name, value) in enumerate(odd):
        given[chunk * CHUNK + 1][name] = value
    return given


@pytest.mark.parametrize("pipeline", [LABELLED, JOINED], ids=["labelled", "joined"])
def test_each_odd_value_of_parquet(pipeline: Pipeline, tmp_path: Path) -> None:
    values: dict[type, list[Any]] = {
        str: TEXTS, int: INTEGERS, float: NUMBERS, bool: [False]
    }  # fmt: skip
    odd = [(name, one) for name in RIGHT for one in (None, *values[type(RIGHT[name])])]
    file = tmp_path / "sales.parquet"
    assert write_parquet(file, one_odd_of_each_chunk(odd), {})
    assert found_in(file, pipeline, row_by_row=False) == found_in(file, pipeline, row_by_row=True)


@pytest.mark.parametrize("pipeline", [LABELLED, JOINED], ids=["labelled", "joined"])
def test_each_odd_cell_of_csv(pipeline: Pipeline, tmp_path: Path) -> None:
    odd = [(name, one) for name in RIGHT for one in CELLS]
    rows = [map(as_cell, one.values()) for one in one_odd_of_each_chunk(odd)]
    file = tmp_path / "sales.csv"
    file.write_bytes("\n".join([",".join(RIGHT), *map(",".join, rows)]).encode())
    assert found_in(file, pipeline, row_by_row=False) == found_in(file, pipeline, row_by_row=True)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, True),
        ({"price": None, "place": None}, True),
        ({"user": ""}, False),
        ({"kind": "gift"}, False),
    ],
    ids=["right", "nothing where there may be", "no user", "no choice"],
)
def test_a_chunk_is_columns_as_a_whole(
    suffix: str, changes: dict[str, Any], *, whole: bool, tmp_path: Path
) -> None:
    given = [sale(number) for number in range(3 * CHUNK)]
    given[CHUNK + 1] = sale(CHUNK + 1, **changes)
    file = tmp_path / f"sales.{suffix}"
    if suffix == "parquet":
        write_parquet(file, given, {})
    else:
        lines = [",".join(RIGHT), *(",".join(map(as_cell, one.values())) for one in given)]
        file.write_text("\n".join(lines))
    assert [isinstance(one, ReadyColumns) for one in chunks(file)] == [True, whole, True]


def test_a_file_is_read_on_from_any_chunk(tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    lines = [",".join(map(as_cell, sale(number).values())) for number in range(4 * CHUNK)]
    lines[CHUNK] = lines[CHUNK].replace("good", '"good,\nand more"')
    file.write_text("\n".join([",".join(RIGHT), *lines]))
    whole = [isinstance(one, ReadyColumns) for one in chunks(file)]
    assert whole == [True, False, True, True]
    counts = [[len(one) for one in chunks(file, skip)] for skip in range(5)]
    assert counts == [[CHUNK] * (4 - skip) for skip in range(5)]
