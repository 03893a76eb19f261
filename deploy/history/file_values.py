"""The records of a file of history, as the JSON that a topic would hold, or as columns."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import GenericAlias
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from freshrank.actors.errors import ConfigError, nearest
from freshrank.deploy.history.columnar.column_json import column_as_json, joined_as_json
from freshrank.deploy.history.columnar.csv_lines import CsvLines, columns_of_texts
from freshrank.deploy.history.columnar.ready_rows import ReadyRows
from freshrank.deploy.history.files import CSV, PARQUET, format_of
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 16_384
_BLOCK_BYTES = 1 << 20
"""Records that are read at once: about as many as a shard polls when it catches up."""


def read_values(
    path: Path, source: Stream | Table, skip: int = 0
) -> Iterator[list[bytes] | ReadyColumns]:
    """Read the records of a file as JSON, `CHUNK` at a time, in their order.

    Without the first `skip` chunks. Of Parquet and CSV they are columns where all of a chunk are
    right (`ReadyRows`).

    Columns of Parquet and CSV have the names that the fields have in JSON; others are passed over.
    A column of timestamps becomes integers in the stream's unit where its event time is one. An
    empty cell of CSV is None, where the field may be that; else a text, or a field that is left
    out.

    Raises ConfigError that names the file: it cannot be read, is none of its format, or lacks a
    column that each record needs.
    """
    kind = format_of(path)
    try:
        if kind in PARQUET:
            yield from _parquet(path, source, skip)
        elif kind in CSV:
            yield from _csv(path, source, skip)
        else:
            yield from _lines(path, source.max_bytes, skip)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(
            str(path), f"cannot be read: {reason or error}", "Give a whole file."
        ) from error


def import_pyarrow(place: str) -> Any:
    """Import pyarrow, which only some of the work needs. Raises ConfigError where it is missing."""
    try:
        import pyarrow.compute  # noqa: PLC0415 - takes a tenth of a second, and may be missing
        import pyarrow.csv  # noqa: PLC0415
        import pyarrow.json  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            place, "it needs pyarrow", "Install it: pip install 'freshrank[history]'."
        ) from error
    return pyarrow


def _lines(path: Path, max_bytes: int, skip: int) -> Iterator[list[bytes]]:
    with _opened(path) as file:
        lines = chain.from_iterable(_split(file, max_bytes))
        values = islice(filter(bytes.strip, lines), skip * CHUNK, None)
        while chunk := list(islice(values, CHUNK)):
            yield chunk


def _split(file: IO[bytes], max_bytes: int) -> Iterator[list[bytes]]:
    """The lines of a file, without their ends, some at once.

    A line that is too long for an event may come in pieces, the first of which is too long as well.
    """
    rest, longest = b"", max_bytes + 1
    while block := file.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield lines
        if len(rest) > longest:
            *pieces, rest = (rest[at : at + longest] for at in range(0, len(rest), longest))
            yield pieces
    yield [rest]


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _csv(path: Path, source: Stream | Table, skip: int) -> Iterator[list[bytes] | ReadyColumns]:
    with _opened(path) as file:
        lines = CsvLines(file)
        columns = _FileColumns(path, source, lines.header)
        next(islice(lines.rows, skip * CHUNK, skip * CHUNK), None)
        while True:
            plain = lines.plain(CHUNK) if columns.ready is not None else None
            if plain is not None:
                ready = columns.of_lines(plain)
                if ready is not None:
                    yield ready
                    continue
                lines.put_back(plain)
            first = next(lines.rows, None)
            if first is None:
                return
            # Rows are lists, and many at once would keep the garbage collector busy.
            yield columns.of_texts(chain([first], islice(lines.rows, CHUNK - 1)))


def _parquet(path: Path, source: Stream | Table, skip: int) -> Iterator[list[bytes] | ReadyColumns]:
    arrow = import_pyarrow(str(path))
    try:
        with arrow.parquet.ParquetFile(path) as file:
            columns = _FileColumns(path, source, file.schema_arrow.names)
            batches = file.iter_batches(batch_size=CHUNK, columns=list(columns.fields))
            for batch in islice(batches, skip, None):
                yield columns.of_batch(arrow, batch)
    except arrow.ArrowInvalid as error:
        raise ConfigError(str(path), f"is no Parquet: {error}", "Give a whole file.") from error


class _FileColumns:
    """The columns of a file that are fields of its topic's schema.

    `present` has the names of all columns. Raises ConfigError where one is missing that each record
    needs.
    """

    def __init__(self, path: Path, source: Stream | Table, present: Sequence[str]) -> None:
        self._path = path
        self._type = source.event_type if isinstance(source, Stream) else source.row_type
        self._many: Any = GenericAlias(list, self._type)
        every = {one.encode_name: one for one in msgspec.structs.fields(self._type)}
        for name, field in every.items():
            if field.required and name not in present:
                raise _missing(path, source.topic, name, present)
        self.fields = {name: field for name, field in every.items() if name in present}
        """Those of the schema, by their names in JSON."""
        paths = {source.fields.json_path(name): source.fields[name] for name in source.fields}
        self._known: Mapping[str, Field] = {
            name: paths[name,] for name in self.fields if (name,) in paths
        }
        self._places = [(present.index(name), name) for name in self.fields]
        self._present = present
        self._whole = len(present) == len(self.fields)
        self._time = source.time_field if isinstance(source, Stream) else None
        encoder = msgspec.json.Encoder()
        self._encode, self._encode_lines = encoder.encode, encoder.encode_lines
        self.ready = _ready_rows(source)
        """Makes columns of rows; None: they have to be read one by one."""

    def of_lines(self, lines: Sequence[bytes]) -> ReadyColumns | None:
        """The events of lines of CSV without quotes; None: they have to be read one by one."""
        assert self.ready is not None
        places = [place for place, _ in self._places]
        found = columns_of_texts(self.ready.arrow, lines, len(self._present), places)
        if found is None:
            return None
        return self.ready.of_texts(dict(zip(self.fields, found, strict=True)))

    def of_texts(self, rows: Iterable[Sequence[str]]) -> list[bytes]:
        """The JSON of rows of texts; of the texts where they are none of the schema's types."""
        given = [self._named(row) for row in rows if row]
        try:
            events = msgspec.convert(given, self._many, strict=False)
        except msgspec.ValidationError:
            return [self._of_named(one) for one in given]
        return self._encode_lines(events).splitlines()

    def _named(self, row: Sequence[str]) -> dict[str, str | None]:
        """The texts of a row by the names of their fields; what is empty may be left out."""
        if self._whole and len(row) == len(self._present) and all(row):
            return dict(zip(self._present, row, strict=True))
        given: dict[str, str | None] = {}
        for place, name in self._places:
            text, field = row[place] if place < len(row) else "", self._known.get(name)
            if text or (field is not None and field.kind is Kind.TEXT and not field.optional):
                given[name] = text
            elif field is not None and field.optional:
                given[name] = None
        return given

    def _of_named(self, given: Mapping[str, str | None]) -> bytes:
        try:
            return self._encode(msgspec.convert(given, self._type, strict=False))
        except msgspec.ValidationError:
            return self._encode(given)

    def of_batch(self, arrow: Any, batch: pa.RecordBatch) -> list[bytes] | ReadyColumns:
        """The events of a batch, or the JSON of its rows.

        Raises ConfigError for a column of another type.
        """
        columns, left_out = list[Any](), set[str]()
        for name in batch.schema.names:
            field = self._known.get(name)
            if not (self.fields[name].required or (field is not None and field.optional)):
                left_out.add(name)  # it has a default, and cannot be None
            try:
                columns.append(self._as_declared(arrow, name, batch.column(name)))
            except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
                raise ConfigError(
                    f"{self._path}: column {name!r}", f"{error}", "Give the type of the schema."
                ) from error
        names = batch.schema.names
        if self.ready is not None:
            ready = self.ready.of_columns(dict(zip(names, columns, strict=True)))
            if ready is not None:
                return ready
        texts = [
            None if name in left_out and one.null_count else column_as_json(arrow, one)
            for name, one in zip(names, columns, strict=True)
        ]
        if texts and all(one is not None for one in texts):
            return joined_as_json(arrow, names, texts)
        return [
            self._encode(
                {
                    name: value
                    for name, value in zip(names, row, strict=True)
                    if value is not None or name not in left_out
                }
            )
            for row in zip(*(one.to_pylist() for one in columns), strict=True)
        ]

    def _as_declared(self, arrow: Any, name: str, column: pa.Array) -> pa.Array:
        """The column with the type of its field, where a cast gives it without loss."""
        types, kind = arrow.types, self._known[name].kind if name in self._known else None
        if types.is_timestamp(column.type) or types.is_date(column.type):
            is_time = self._time is not None and self.fields[name].name == self._time.name
            if not is_time or self._time is None:
                return column
            as_int = self._time.kind is int
            unit = str(self._time.unit) if as_int else "us"
            wanted = arrow.timestamp(unit, tz=getattr(column.type, "tz", None))
            column = column.cast(wanted, safe=False)
            return column.cast(arrow.int64()) if as_int else column
        if kind is Kind.TEXT and types.is_integer(column.type):
            return column.cast(arrow.string())
        if kind is Kind.INTEGER and types.is_floating(column.type):
            return column.cast(arrow.int64())
        if kind is Kind.NUMBER and types.is_decimal(column.type):
            return column.cast(arrow.float64())
        return column


def _ready_rows(source: Stream | Table) -> ReadyRows | None:
    """What makes columns of rows; None where it cannot, also where pyarrow is missing."""
    try:
        return ReadyRows.of(import_pyarrow(source.topic), source)
    except ConfigError:
        return None


def _missing(path: Path, topic: str, name: str, present: Sequence[str]) -> ConfigError:
    near = nearest(name, present)
    seen = f"Is it {near!r}? Rename that column." if near else "Add it."
    return ConfigError(
        str(path),
        f"it has no column {name!r}, which each record of {topic!r} needs; "
        f"it has {', '.join(present) or 'none'}",
        seen,
    )
