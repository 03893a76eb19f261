"""The columns of a file of history that are fields of its topic's schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from freshrank.actors.errors import BadRecord, ConfigError, nearest
from freshrank.deploy.history.columnar.column_json import column_as_json, joined_as_json
from freshrank.deploy.history.columnar.csv_lines import columns_of_texts
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.columnar.ready_rows import ReadyRows
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns
from freshrank.feature_actors.streams.schema.described import LISTS, without_none
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

_LISTS = (*LISTS, inspect.TupleType, inspect.SetType, inspect.FrozenSetType)
# What JSON has brackets for.
_IN_NO_CELL = (*_LISTS, inspect.StructType, inspect.DictType)


class FileColumns:
    """The columns of a file that are fields of its topic's schema.

    `present` has the names of all columns. Raises ConfigError for a missing column that each
    record needs.
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
        """Makes columns of rows; None: rows have to be read singly."""

    def of_lines(self, lines: Sequence[bytes]) -> ReadyColumns | None:
        """The events of lines of CSV without quotes; None: lines have to be read singly."""
        assert self.ready is not None
        places = [place for place, _ in self._places]
        found = columns_of_texts(self.ready.arrow, lines, len(self._present), places)
        if found is None:
            return None
        return self.ready.of_texts(dict(zip(self.fields, found, strict=True)))

    def check_cells(self) -> None:
        """Raise ConfigError where a cell of CSV, which is a text, cannot hold a field."""
        schema = inspect.type_info(self._type)
        assert isinstance(schema, inspect.StructType)
        for field in schema.fields:
            plain, _ = without_none(field.type)
            if field.encode_name in self.fields and isinstance(plain, _IN_NO_CELL):
                kind = "a list" if isinstance(plain, _LISTS) else "a struct"
                left_out = "." if field.required else ", or leave the column out."
                raise ConfigError(
                    f"{self._path}: column {field.encode_name!r}",
                    f"the field is {kind} in the schema, which no cell of CSV can hold",
                    f"Give JSON lines (.jsonl) or Parquet{left_out}",
                )

    def of_texts(self, rows: Iterable[Sequence[str]]) -> list[bytes | BadRecord]:
        """The JSON of rows of texts; of the texts where they are none of the schema's types.

        A row with more or fewer cells than the header is refused: which of them are missing, or
        which comma belongs to a text, is unknown.
        """
        width, given = len(self._present), list[Sequence[str]](filter(None, rows))
        right = iter(self._of_all([self._named(row) for row in given if len(row) == width]))
        return [
            next(right)
            if len(row) == width
            else BadRecord(f"it has {len(row)} cells, and the header has {width}")
            for row in given
        ]

    def _of_all(self, given: Sequence[Mapping[str, str | None]]) -> list[bytes]:
        try:
            events = msgspec.convert(given, self._many, strict=False)
        except msgspec.ValidationError:
            return [self._of_named(one) for one in given]
        return self._encode_lines(events).splitlines()

    def _named(self, row: Sequence[str]) -> dict[str, str | None]:
        """The texts of a row by the names of their fields; what is empty may be left out."""
        if self._whole and all(row):
            return dict(zip(self._present, row, strict=True))
        given: dict[str, str | None] = {}
        for place, name in self._places:
            text, field = row[place], self._known.get(name)
            if text or (field is not None and field.kind is Kind.TEXT and not field.optional):
                given[name] = text
            elif field is not None and field.optional:
                given[name] = None
        return given

    def _of_named(self, given: Mapping[str, str | None]) -> bytes:
        try:
            return self._encode(msgspec.convert(given, self._type, strict=False))
        except msgspec.ValidationError:
            return self._encode({name: self._value(name, text) for name, text in given.items()})

    def _value(self, name: str, text: str | None) -> object:
        """The value of a cell of a wrong row: the text itself only if it is not of the type.

        So the error names the wrong cell, and not a right cell before it.
        """
        known = self._known.get(name)
        kinds = (self.fields[name].type, *(() if known is None else (known.kind.value,)))
        for kind in kinds:  # the type without its bounds next: a number out of them is a number
            try:
                return msgspec.convert(text, kind, strict=False)
            except msgspec.ValidationError:
                continue
        return text

    def of_batch(self, arrow: Any, batch: pa.RecordBatch) -> list[bytes | BadRecord] | ReadyColumns:
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
            return [*joined_as_json(arrow, names, texts)]
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
