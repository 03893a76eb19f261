"""The layout of the rows of a `Table`: a word for each field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xxhash

from freshrank.actors.kernels.hashing import ABSENT, ZERO_INTEGER_ID
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.aggregations.kernel_types import HEADER_WORDS, NEWEST, OFFSET
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.stream import Entity
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.views.row_plan import RowColumn, RowPlan

# Part of every fingerprint: grows when the meaning of a row's words changes.
_ROW_FORMAT = 1


class LatestRowPlan(RowPlan):
    """The row of an entity of a table: its header, then an id or a number for each field.

    The header has the timestamp and the offset of the record. A text or an integer is an id
    (0 where it is None), a float a number (NaN where it is None).
    """

    def __init__(self, table: Table) -> None:
        self.source: Table = table
        self.entity: Entity = table.key
        self.fields: Mapping[str, Field] = {
            name: field for name, field in table.fields.items() if name != table.key.key
        }
        """Those of a row, in the order of its words; the entity's key is not among them."""
        self._words = {name: HEADER_WORDS + place for place, name in enumerate(self.fields)}
        self.columns_of_rows = [
            RowColumn(name, text, 1)
            for name, text in zip(self.fields, _typed(self.fields), strict=True)
        ]
        self.row_words = HEADER_WORDS + len(self.fields)
        self.empty_row: Doubles = np.zeros(self.row_words, dtype=np.float64)
        """float64[words]: the row of an entity that the table does not have."""
        self.empty_row.view(np.int64)[OFFSET] = -1
        for name, field in self.fields.items():
            if field.kind is Kind.NUMBER:
                self.empty_row[self._words[name]] = np.nan
        self.fingerprint = xxhash.xxh64_hexdigest("\n".join(self._canonical()).encode())
        """16 hex digits: equal for tables whose rows mean the same."""
        self.former_fingerprint = self.fingerprint

    @property
    def basis(self) -> str:
        """See `RowPlan`."""
        return f"{super().basis}, partitioner {self.source.placed_by}"

    @property
    def horizon_ms(self) -> None:
        """A row is kept until it is replaced or deleted."""
        return

    def rows(self, columns: Columns) -> Doubles:
        """float64[n, words]: the rows that `n` records hold."""
        rows = np.empty((len(columns), self.row_words), dtype=np.float64)
        words = rows.view(np.int64)
        words[:, NEWEST], words[:, OFFSET] = columns.event_times_ms, columns.offsets
        for name, field in self.fields.items():
            if field.kind is Kind.NUMBER:
                rows[:, self._words[name]] = columns.number(name)
            else:
                words[:, self._words[name]] = columns.hashed(name)
        return rows

    def column(self, name: str, rows: Doubles) -> Ints | Doubles:
        """A field of `rows` float64[m, words]: ids int64[m] or numbers float64[m]."""
        word = self._words[name]
        if self.fields[name].kind is Kind.NUMBER:
            return rows[:, word]
        ids: Ints = rows.view(np.int64)[:, word]
        return ids

    def number(self, name: str, rows: Doubles) -> Doubles:
        """float64[m]: a field of numbers or integers of `rows` as numbers; NaN where it is none."""
        if self.fields[name].kind is Kind.NUMBER:
            return rows[:, self._words[name]]
        ids: Ints = rows.view(np.int64)[:, self._words[name]]
        numbers = np.where(ids == ZERO_INTEGER_ID, 0, ids).astype(np.float64)
        numbers[ids == ABSENT] = np.nan
        return numbers

    def describe(self) -> str:
        """For people: the bytes of a row, and its fields."""
        return (
            f"{self.entity.name}: {self.bytes_per_entity} bytes an entity, the latest row of "
            f"{self.source.topic!r} ({', '.join(self.fields)})"
        )

    def _canonical(self) -> Sequence[str]:
        return [
            f"latest row format {_ROW_FORMAT}",
            f"{self.entity.name} {self.entity.key} {self.source.topic}",
            *_typed(self.fields),
        ]


def _typed(fields: Mapping[str, Field]) -> Iterator[str]:
    for name, field in fields.items():
        yield f"{name} {field.kind.value.__name__}"
