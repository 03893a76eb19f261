"""Rows of a file as columns of events, where each value is what a record could hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from freshrank.actors.messages import Ints
from freshrank.deploy.history.columnar.arrow_column import ArrowColumn
from freshrank.deploy.history.columnar.plain_field import PlainField, PlainType, plain_fields
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

# The most bytes that the JSON of a number, and that of a byte of a text, has.
_NUMBER_BYTES, _ESCAPE_BYTES = 32, 6
# What is a number in CSV and in JSON alike; others are read, or rejected, row by row.
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_DECIMAL = r"^(0|-?[1-9][0-9]{0,14}|-?(0|[1-9][0-9]{0,14})\.[0-9]{1,17})$"
_TRUE, _FALSE = "true", "false"


class ReadyRows:
    """Makes columns of many rows at once, if nothing is wrong with any.

    Where it cannot, the rows have to be read one by one, which tells what is wrong: so what is
    taken and what is left out is the same in both ways.
    """

    def __init__(self, arrow: Any, stream: Stream, fields: Sequence[PlainField]) -> None:
        self.arrow = arrow
        self._stream = stream
        self._fields = fields
        names = sum(len(msgspec.json.encode(one.json_name)) + 2 for one in fields)
        self._least_bytes = 2 + names

    @classmethod
    def of(cls, arrow: Any, source: Stream | Table) -> ReadyRows | None:
        """For the rows of a topic; None where they have to be read one by one."""
        fields = plain_fields(source) if isinstance(source, Stream) else None
        if fields is None or not isinstance(source, Stream):
            return None
        return cls(arrow, source, fields)

    def of_columns(self, columns: Mapping[str, pa.Array]) -> ReadyColumns | None:
        """The events of rows, by their columns of a file; None: something is wrong."""
        found, size = dict[str, ArrowColumn](), self._least_bytes
        count = len(next(iter(columns.values())))
        for field in self._fields:
            array = columns.get(field.json_name)
            if array is None:
                array = self._default(field, count)
            checked = None if array is None else self._checked(field, array)
            if checked is None:
                return None
            size += self._longest(field, checked)
            found[field.name] = ArrowColumn(self.arrow, checked)
        if size > self._stream.max_bytes:
            return None
        given = found[self._stream.time].integers()
        times: Ints = self._stream.time_field.unit.to_ms(given)
        return ReadyColumns(self._stream.fields, found, times)

    def of_texts(self, columns: Mapping[str, pa.Array]) -> ReadyColumns | None:
        """The same, where each column has the texts of a CSV, "" where there is none."""
        typed: dict[str, pa.Array] = {}
        for field in self._fields:
            texts = columns.get(field.json_name)
            if texts is None:
                continue
            array = self._of_texts(field, texts)
            if array is None:
                return None
            typed[field.json_name] = array
        return self.of_columns(typed)

    def _of_texts(self, field: PlainField, texts: pa.Array) -> pa.Array | None:
        """The values of a column of CSV; None where a text is not plainly one."""
        compute = self.arrow.compute
        if field.type is not str or field.optional:
            empty = compute.equal(texts, "")
            if compute.any(empty).as_py():
                texts = compute.if_else(empty, None, texts)
        if field.type is str:
            return texts
        if field.choices:  # whether a text may be such a number is for the row to tell
            return None
        if field.type is bool:
            known = compute.is_in(texts, self.arrow.array([_TRUE, _FALSE, None]))
            return compute.equal(texts, _TRUE) if compute.all(known).as_py() else None
        integer = field.type is int
        plain = compute.match_substring_regex(texts, _INTEGER if integer else _DECIMAL)
        if not compute.all(plain).as_py():
            return None
        return texts.cast(self.arrow.int64() if integer else self.arrow.float64())

    def _default(self, field: PlainField, count: int) -> pa.Array | None:
        """A column that a file lacks; None where an event cannot lack it."""
        if field.default is msgspec.NODEFAULT:
            return None
        types = {
            str: self.arrow.string(),
            int: self.arrow.int64(),
            float: self.arrow.float64(),
            bool: self.arrow.bool_(),
        }
        scalar = self.arrow.scalar(field.default, types[field.type])
        array: pa.Array = self.arrow.repeat(scalar, count)
        return array

    def _checked(self, field: PlainField, array: pa.Array) -> pa.Array | None:
        """The column in the type of its field; None where a value is wrong."""
        try:
            typed = self._typed(field.type, array)
        except self.arrow.ArrowInvalid:
            return None
        if typed is None or (
            typed.null_count and not field.optional and field.default is msgspec.NODEFAULT
        ):
            return None
        if typed.null_count and not field.optional:
            typed = typed.fill_null(field.default)
        return typed if self._within(field, typed) else None

    def _typed(self, wanted: PlainType, array: pa.Array) -> pa.Array | None:
        """The same values in the type that is wanted; None where JSON would have another."""
        types, kind = self.arrow.types, array.type
        if wanted is str and (types.is_string(kind) or types.is_large_string(kind)):
            typed = array.cast(self.arrow.string())
            typed.validate(full=True)  # bytes that are no UTF-8
            return typed
        if wanted is int and types.is_integer(kind):
            return array.cast(self.arrow.int64())
        if wanted is bool and types.is_boolean(kind):
            return array
        if wanted is float and types.is_integer(kind):
            return array.cast(self.arrow.float64())
        if wanted is float and types.is_float64(kind):
            return array
        return None

    def _within(self, field: PlainField, array: pa.Array) -> bool:
        """Whether all values are within the bounds of the field."""
        compute = self.arrow.compute
        if (
            field.choices
            and not compute.all(
                compute.is_in(array, self.arrow.array([*field.choices, None], array.type))
            ).as_py()
        ):
            return False
        if field.type is float:
            values = array.drop_null().to_numpy()
            minus_zero = (values == 0.0) & np.signbit(values)  # its text may be that of 0
            if not np.isfinite(values).all() or minus_zero.any():
                return False
        if field.least is None and field.most is None:
            return True
        sizes = compute.utf8_length(array) if field.type is str else array
        bounds = compute.min_max(sizes)
        least, most = bounds["min"].as_py(), bounds["max"].as_py()
        if least is None:
            return True
        return (field.least is None or least >= field.least) and (
            field.most is None or most <= field.most
        )

    def _longest(self, field: PlainField, array: pa.Array) -> int:
        """At least the bytes of the longest JSON of a value."""
        if field.type is not str:
            return _NUMBER_BYTES
        longest = self.arrow.compute.max(self.arrow.compute.binary_length(array)).as_py()
        return 2 + _ESCAPE_BYTES * (longest or 0)
