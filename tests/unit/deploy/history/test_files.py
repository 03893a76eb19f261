"""Files of history: which topic each is of, and the records that it holds."""

from __future__ import annotations

import datetime
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from freshrank import Entity, Stream, Table
from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.deploy.history import file_values
from freshrank.deploy.history.file_values import place_in, read_values
from freshrank.deploy.history.files import find_files
from freshrank.feature_actors.streams.codec import Codec

TOPICS = ["plays", "visits"]
AT_MS = 1_715_938_200_000


class Device(msgspec.Struct):
    os: str


class Play(msgspec.Struct, rename={"at": "playedAt"}):
    play_id: str
    listener: str
    at: int
    seconds: float | None = None
    device: Device | None = None
    skipped: bool = False
    genre: str | None = "none"


class Product(msgspec.Struct):
    item: int
    brand: str | None = None


plays = Stream("plays", id="play_id", time="at", key=Entity("user", "listener"), schema=Play)
catalogue = Table("catalogue", key=Entity("item", "item"), schema=Product)
ROW = {"play_id": "1", "listener": "ann", "playedAt": AT_MS}


def values(path: Path, source: Stream | Table = plays) -> list[dict[str, object]]:
    return [msgspec.json.decode(one) for chunk in rows(path, source) for one in chunk]


def rows(path: Path, source: Stream | Table = plays) -> list[list[bytes]]:
    """The chunks of a file whose rows are read one by one: an event has a struct, a row no time."""
    chunks = list(read_values(path, source))
    return [
        [one for one in chunk if isinstance(one, bytes)]
        for chunk in chunks
        if isinstance(chunk, list)
    ]


def parquet(path: Path, **columns: object) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_a_file_is_of_the_topic_that_it_names_or_is_named_after(tmp_path: Path) -> None:
    for name in ("plays.csv.gz", "visits/2024/a.PARQUET", "visits/b.jsonl", "visits/_done.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_files([tmp_path], TOPICS)
    assert [(one.path.name, one.topic) for one in found] == [
        ("plays.csv.gz", "plays"), ("a.PARQUET", "visits"), ("b.jsonl", "visits"),
    ]  # fmt: skip
    (named,) = find_files([f"plays={tmp_path / 'visits/b.jsonl'}"], TOPICS)
    assert named.topic == "plays"
    (only,) = find_files([str(tmp_path / "visits/b.jsonl")], ["clicks"])
    assert only.topic == "clicks"
    by_records = find_files(
        [tmp_path, f"plays={tmp_path / 'plays.csv.gz'}"], TOPICS, by_records=True
    )
    assert [one.topic for one in by_records] == [None, "plays"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "there is no such file"),
        ("a.jsonl", "Write plays="),
        ("play=a.jsonl", "the pipeline has no topic 'play'. Did you mean 'plays'?"),
        ("a.txt", "its format is not known here"),
        ("empty", "there is no file of history in it"),
    ],
)
def test_what_cannot_be_found_or_told_is_a_mistake(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        find_files([given], TOPICS)
    assert said in str(caught.value)


def test_more_files_than_can_be_open_are_a_mistake(tmp_path: Path) -> None:
    for number in range(501):
        (tmp_path / f"{number}.csv").write_text("")
    with pytest.raises(ConfigError, match="501 files are more than the 500"):
        find_files([tmp_path], ["plays"])


def test_lines_are_records_as_they_are(tmp_path: Path) -> None:
    lines = b'{"a": 1}\r\n\n   \nwhat\n{"b": 2}'
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    for name in ("a.jsonl", "a.jsonl.gz"):
        (chunk,) = rows(tmp_path / name)
        assert [one.strip() for one in chunk] == [b'{"a": 1}', b"what", b'{"b": 2}']


@pytest.mark.parametrize("listener", ["ann", 'an "n', "a\\n", "tab\t", "\x00", "Ünï ☃ 𝄞", ""])
def test_values_of_parquet_are_the_same_with_and_without_characters_that_json_escapes(
    listener: str, tmp_path: Path
) -> None:
    columns = {
        "play_id": ["1", "2", "3", "4"],
        "listener": ["bob", listener, "cid", listener],
        "playedAt": [AT_MS, 0, -(2**63), 2**63 - 1],
        "seconds": [0.1, None, 1e300, -0.0],
        "skipped": [True, False, False, True],
        "genre": [None, listener, "x", None],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert values(parquet(tmp_path / "a.parquet", **columns)) == rows


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_first_chunks_are_left_out(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_values, "CHUNK", 4_096)
    path, ids = tmp_path / f"a.{suffix}", [f"{number:05d}" for number in range(9_000)]
    table = pa.table({"play_id": ids, "listener": ids, "playedAt": [AT_MS] * 9_000})
    if suffix == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif suffix == "jsonl":
        path.write_bytes(b"\n".join(map(msgspec.json.encode, table.to_pylist())))
    else:
        path.write_text("play_id,listener,playedAt\n" + "".join(f"{at},{at},1\n" for at in ids))
    whole = list(read_values(path, plays))
    assert [len(chunk) for chunk in whole] == [4_096, 4_096, 808]
    for skip in (0, 1, 2, 3):
        assert list(read_values(path, plays, skip)) == whole[skip:]


def test_a_line_without_end_comes_in_pieces(tmp_path: Path) -> None:
    small = Stream("s", id="play_id", time="at", key=plays.key, schema=Play, max_bytes=1_000)
    (tmp_path / "a.jsonl").write_bytes(b"x" * 10_000)
    (chunk,) = rows(tmp_path / "a.jsonl", small)
    assert max(map(len, chunk)) <= 1_002


def test_cells_of_csv_get_the_types_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    path.write_text(
        "\ufeffnote,playedAt,listener,play_id,seconds,genre,skipped\n"
        f'x,{AT_MS},"a, b",007,2.5,,true\n'
        f",{AT_MS},,8,,jazz,\n"
        ",soon,ann,9,,jazz,\n",
        encoding="utf-8",
    )
    defaults = {"device": None}
    assert values(path) == [
        {**defaults, "play_id": "007", "listener": "a, b", "playedAt": AT_MS, "seconds": 2.5,
         "genre": None, "skipped": True},
        # An empty key is none, as the schema says: it is left to who decodes records.
        {"playedAt": AT_MS, "listener": "", "play_id": "8", "seconds": None, "genre": "jazz"},
        {"playedAt": "soon", "listener": "ann", "play_id": "9", "seconds": None, "genre": "jazz"},
    ]  # fmt: skip


def test_a_row_of_csv_has_as_many_cells_as_the_header(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text('item,brand\n1,a\n2,b,c\n\n3\n"4","d"\n5,\n')
    (chunk,) = read_values(path, catalogue)
    assert isinstance(chunk, list)
    found = [one.reason if isinstance(one, BadRecord) else json.loads(one) for one in chunk]
    assert found == [
        {"item": 1, "brand": "a"},
        "it has 3 cells, and the header has 2",
        "it has 1 cells, and the header has 2",
        {"item": 4, "brand": "d"},
        {"item": 5, "brand": None},
    ]


class Film(msgspec.Struct):
    item: int
    tags: list[str] | None = None
    size: dict[str, float] = {}


class Scene(msgspec.Struct):
    item: int
    tags: list[str]


films, scenes = (
    Table("films", key=Entity("item", "item"), schema=schema) for schema in (Film, Scene)
)


@pytest.mark.parametrize(
    ("source", "column", "kind", "fix"),
    [
        (films, "tags", "a list", "Give JSON lines (.jsonl) or Parquet, or leave the column out."),
        (films, "size", "a struct", "or leave the column out."),
        (scenes, "tags", "a list", "Give JSON lines (.jsonl) or Parquet."),
    ],
)
def test_a_column_of_csv_that_would_have_to_hold_lists_is_told_at_once(
    source: Table, column: str, kind: str, fix: str, tmp_path: Path
) -> None:
    path = tmp_path / "films.csv"
    path.write_text(f"item,{column}\n")
    with pytest.raises(ConfigError) as caught:
        list(read_values(path, source))
    assert caught.value.place == f"{path}: column {column!r}"
    assert f"is {kind} in the schema, which no cell of CSV can hold" in caught.value.problem
    assert caught.value.fix.endswith(fix)
    path.write_text("item\n1\n")
    if source is films:
        assert values(path, source) == [{"item": 1, "tags": None, "size": {}}]


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.jsonl", b'\n{"a":1}\n  \nwhat\r\n\n{"b":2}', [2, 4, 6]),
        ("a.csv", b'play_id,listener,playedAt\n\n1,"a\nb",1\n\n2,c,1\r\n3,d,1', [3, 6, 7]),
    ],
)
def test_the_line_of_a_record_is_found(
    name: str, content: bytes, lines: Sequence[int], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        found = [place_in(path, plays, number) for number in range(3)]
        assert found == [f"line {line} of {path}" for line in lines]


def test_the_line_behind_one_that_comes_in_pieces_is_found(tmp_path: Path) -> None:
    small = Stream("s", id="play_id", time="at", key=plays.key, schema=Play, max_bytes=1_000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 5_000_000 + b"\ny\n")
    (*pieces, last) = rows(path, small)[0]
    assert (last, len(pieces) > 1) == (b"y", True)
    assert place_in(path, small, 0).startswith("line 1 of")
    assert place_in(path, small, len(pieces)).startswith("line 2 of")


def test_columns_of_parquet_get_the_types_of_the_schema(tmp_path: Path) -> None:
    moments = pa.array([AT_MS * 1_000_000 + 5, None], pa.timestamp("ns", "UTC"))
    path = parquet(
        tmp_path / "plays.parquet",
        play_id=[7, 8],
        listener=["ann", "bob"],
        playedAt=moments,
        seconds=[float("nan"), 1.5],
        device=[{"os": "ios"}, None],
        skipped=pa.array([None, True]),
        genre=pa.array([None, "jazz"]),
        note=["x", "y"],
    )
    assert values(path) == [
        {"play_id": "7", "listener": "ann", "playedAt": AT_MS, "seconds": None,
         "device": {"os": "ios"}, "genre": None},
        {"play_id": "8", "listener": "bob", "playedAt": None, "seconds": 1.5,
         "skipped": True, "genre": "jazz"},
    ]  # fmt: skip
    assert values(parquet(tmp_path / "c.parquet", item=[1.0, 2.0]), catalogue) == [
        {"item": 1}, {"item": 2},
    ]  # fmt: skip


def test_timestamps_stay_texts_where_the_schema_has_texts(tmp_path: Path) -> None:
    class Rating(msgspec.Struct):
        id: int
        user: str
        at: str

    ratings = Stream("ratings", id="id", time="at", key=Entity("user", "user"), schema=Rating)
    moment = datetime.datetime(2024, 5, 17, 9, 30, tzinfo=datetime.UTC)
    path = parquet(tmp_path / "a.parquet", id=[1], user=["ann"], at=[moment])
    assert values(path, ratings) == [{"id": 1, "user": "ann", "at": "2024-05-17T09:30:00Z"}]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_lacks_is_named_with_the_nearest(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"plays.{suffix}"
    if suffix == "csv":
        path.write_text("play_id,listner,playedAt\n")
    else:
        parquet(path, play_id=["1"], listner=["ann"], playedAt=[1])
    with pytest.raises(ConfigError) as caught:
        values(path)
    assert "no column 'listener'" in caught.value.problem
    assert "it has play_id, listner, playedAt" in caught.value.problem
    assert caught.value.fix == "Is it 'listner'? Rename that column."


def broken(path: Path, content: bytes | Sequence[object]) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    return parquet(path, play_id=["1"], listener=["ann"], playedAt=pa.array(content))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"what", "is no Parquet"),
        ("b.jsonl.gz", b"what", "cannot be read"),
        ("c.jsonl.gz", gzip.compress(b"what", mtime=0)[:-9], "cannot be read"),
        ("d.csv", b"play_id,listener,playedAt\n\xff,1,2\n", "cannot be read"),
        ("e.csv", b"", "no column 'play_id'"),
        ("f.csv", b"play_id,listener,playedAt\n" + b"x" * 200_000, "field larger than"),
        ("g.parquet", [1.5], "column 'playedAt'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str, content: bytes | Sequence[object], said: str, tmp_path: Path
) -> None:
    path = broken(tmp_path / name, content)
    with pytest.raises(ConfigError) as caught:
        values(path)
    assert caught.value.place.startswith(str(path))
    assert said in str(caught.value)


class Deal(msgspec.Struct):
    deal: int
    member: int
    genre: str
    kind: Literal["bid", "ask"]
    at: int
    amount: Annotated[float, msgspec.Meta(ge=0)] | None = None


deals = Stream("deals", id="deal", time="at", key=Entity("member", "member"), schema=Deal)


@pytest.mark.parametrize(
    ("field", "cell", "reason"),
    [
        ("deal", "one", "Expected `int`, got `str` - at `$.deal`"),
        ("member", "abc", "Expected `int`, got `str` - at `$.member`"),
        ("member", "", "Object missing required field `member`"),
        ("kind", "sell", "Invalid enum value 'sell', it is 'ask' or 'bid' - at `$.kind`"),
        ("at", "noon", "Expected `int`, got `str` - at `$.at`"),
        ("amount", "3;5", "Expected `float | null`, got `str` - at `$.amount`"),
        ("amount", "-1", "Expected `float` >= 0.0 - at `$.amount`"),
    ],
)
def test_a_wrong_cell_of_csv_is_told_by_its_own_field(
    tmp_path: Path, field: str, cell: str, reason: str
) -> None:
    row = {"deal": 1, "member": 7, "genre": "crime", "kind": "bid", "at": AT_MS, "amount": 3.5}
    file = tmp_path / "deals.csv"
    texts = [str(value) for value in (row | {field: cell}).values()]
    file.write_text(f"{','.join(row)}\n{','.join(texts)}\n")
    ((value,),) = rows(file, deals)
    with pytest.raises(BadRecord) as caught:
        Codec(deals).decode_one(value)
    assert caught.value.reason == reason
