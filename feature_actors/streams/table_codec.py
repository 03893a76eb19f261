"""The records of a table to rows and tombstones. Everything is checked here, and never again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord, bounded
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.entity_key import EntityKey
from freshrank.feature_actors.streams.formats import UNREADABLE, Json
from freshrank.feature_actors.streams.table import Table


@dataclass(frozen=True, slots=True)
class TableRecords:
    """``n`` good records of a table, in the order of the log."""

    table: Table
    names: list[str]
    """The entity of each."""
    rows: list[msgspec.Struct | None]
    """None: a tombstone."""
    offsets: Ints
    """int64[n]."""
    stamps_ms: Ints
    """int64[n]: the timestamps of the records."""
    places: Ints
    """int64[n]: of each in its batch."""
    rejected: list[RejectedRecord] = field(default_factory=list)
    """The others, with their reasons."""

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Ints) -> TableRecords:
        """The records at `indices` int64[m]."""
        places = indices.tolist()
        return TableRecords(
            self.table,
            [self.names[place] for place in places],
            [self.rows[place] for place in places],
            self.offsets[indices],
            self.stamps_ms[indices],
            self.places[indices],
        )

    def columns(self) -> Columns:
        """The rows as columns; a tombstone must not be among them."""
        rows = [row for row in self.rows if row is not None]
        return Columns.of_events(self.table.fields, rows, self.offsets, self.stamps_ms)


class TableCodec:
    """Decodes the records of a table.

    A record is rejected, with a reason that names the field, when it has no key, or one that no
    entity can have; when its value is larger than `Table.max_bytes`, not of the table's format or
    not of its schema; and when the entity's key in the row is another than the record's.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._key = EntityKey(table.row_type, table.fields, table.key.key)
        self._format = table.bound_format
        self._json = Json().bind_events(table.row_type, None, table.topic)

    def decode(self, batch: RecordBatch) -> TableRecords:
        """The good records, and the others with their reasons."""
        names: list[str] = []
        rows: list[msgspec.Struct | None] = []
        good: list[int] = []
        rejected: list[RejectedRecord] = []
        keys: Sequence[bytes | None] = batch.keys or [None] * len(batch.values)
        for place, (key, value) in enumerate(zip(keys, batch.values, strict=True)):
            try:
                name = self._key.of_record(key)
                row = None if value is None else self._row(name, value)
            except BadRecord as error:
                kind = RejectKind.NO_KEY if key is None else RejectKind.INVALID
                rejected.append(batch.rejected(place, error.reason, kind))
                continue
            names.append(name)
            rows.append(row)
            good.append(place)
        places = np.array(good, dtype=np.int64)
        return TableRecords(
            self.table,
            names,
            rows,
            batch.offsets[places],
            np.maximum(batch.timestamps_ms[places], 0),
            places,
            rejected,
        )

    def value(self, document: bytes) -> bytes:
        """The value of the record of a row that is given as JSON. Raises BadRecord."""
        try:
            return self._format.encode(self._json.decode(document), document)
        except UNREADABLE as error:
            raise BadRecord(str(error)) from error

    def key(self, value: bytes) -> bytes:
        """The key of the row in a record's value. Raises BadRecord."""
        return self._own_name(self._decode(value)).encode()

    def _decode(self, value: bytes) -> msgspec.Struct:
        if len(value) > self.table.max_bytes:
            raise BadRecord(f"{len(value)} bytes are more than the {self.table.max_bytes} allowed")
        try:
            return self._format.decode(value)
        except UNREADABLE as error:
            raise BadRecord(self._format.reason(value, error)) from error

    def _own_name(self, row: msgspec.Struct) -> str:
        return str(getattr(row, self.table.key.key))

    def _row(self, name: str, value: bytes) -> msgspec.Struct:
        """The row in a record's value. Raises BadRecord."""
        row = self._decode(value)
        own = self._own_name(row)
        if own != name:
            field = self.table.key.key
            raise BadRecord(bounded(f"its key is {name!r}, and its {field} is {own!r}"))
        return row
