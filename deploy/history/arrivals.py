"""Records of a history: when they arrived, of which entities they are, and what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.actors.messages import Ints
from freshrank.actors.records import RejectedRecord
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.columns import Columns, entity_ids
from freshrank.feature_actors.streams.formats import Json
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.streams.table_codec import TableCodec

# Parts of a reason that differ from record to record: quoted texts and numbers.
_VALUE = re.compile(r"'[^']*'|\b\d[\d.]*")
# Reasons that are counted separately; further ones are counted together.
_MOST_REASONS = 20
_OTHER = "others"
# A key that is valid for every entity. It is used if the key cannot be read: then the value is at
# fault.
_ANY_KEY = b"0"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The decodable records of a topic (at least one), in the order of their arrival."""

    topic: str
    keys: list[bytes | None]
    """Of a table's records; of a stream's there are none: the event has it."""
    values: list[bytes | None]
    """Of a table's records; of a stream's there are none: they are `columns`."""
    times_ms: Ints
    """int64[n]: when each arrived, never descending."""
    ids: Mapping[str, Ints]
    """By the name of an entity: int64[n], the ids that the records have of it (or `Numbered`)."""
    columns: Columns | None = None
    """Of a stream's records, decoded; None: they are a table's."""

    def __len__(self) -> int:
        return len(self.times_ms)

    def between(self, begin: int, end: int) -> Arrived:
        """The records with ``begin <= index < end``."""
        part = slice(begin, end)
        ids = {name: column[part] for name, column in self.ids.items()}
        columns = None if self.columns is None else self.columns.between(begin, end)
        keys, values = self.keys[part], self.values[part]
        return Arrived(self.topic, keys, values, self.times_ms[part], ids, columns)

    def take(self, places: Ints) -> Arrived:
        """The records at `places` int64[m]."""
        ids = {name: column[places] for name, column in self.ids.items()}
        columns = None if self.columns is None else self.columns.take(places)
        keys, values = (
            [column[at] for at in places.tolist()] if column else []
            for column in (self.keys, self.values)
        )
        return Arrived(self.topic, keys, values, self.times_ms[places], ids, columns)

    def until(self, at_ms: int) -> Arrived:
        """Those that arrived at or before `at_ms`; there may be none."""
        return self.between(0, int(np.searchsorted(self.times_ms, at_ms, side="right")))


Numbered: TypeAlias = Callable[[str, Sequence[str]], Ints]
"""From the name of an entity and the keys of ``n`` records: numbers int64[n] in place of ids."""

Values: TypeAlias = list[bytes | None] | FieldColumns
"""Of records: as their topic holds them, or, of a stream, columns of events that are all right."""

Arrivals: TypeAlias = Sequence[Arrived]
"""What arrived in a stretch of time, at most one part for each topic of a source."""


@dataclass(slots=True)
class DeadRecords:
    """Records that are left out for the same reason."""

    count: int
    example: str
    """Where the first of them stands, and its reason."""


@dataclass(slots=True)
class DeadReasons:
    """Why records are left out. Reasons that differ only in a value are counted together.

    >>> dead = DeadReasons()
    >>> for place, reason in enumerate(["'x' is no time", "'y' is no time", "no key"]):
    ...     dead.count(reason, place, "line {}".format)
    >>> dead.lines()
    ["2, the first at line 0: 'x' is no time", '1, the first at line 2: no key']
    """

    by_words: dict[str, DeadRecords] = field(default_factory=dict)

    def count(self, reason: str, place: int, place_of: Callable[[int], str]) -> None:
        """Count a record; `place_of` gives the file and line of the record at `place`."""
        words = _VALUE.sub("_", reason)
        if words not in self.by_words and len(self.by_words) >= _MOST_REASONS:
            words = _OTHER
        if words in self.by_words:
            self.by_words[words].count += 1
        else:
            self.by_words[words] = DeadRecords(1, f"{place_of(place)}: {reason}")

    def add(self, other: DeadReasons) -> None:
        """Count what another part of the same source has found."""
        for words, dead in other.by_words.items():
            full = words not in self.by_words and len(self.by_words) >= _MOST_REASONS
            mine = self.by_words.setdefault(_OTHER if full else words, DeadRecords(0, dead.example))
            mine.count += dead.count

    def lines(self) -> list[str]:
        """A line for each reason, the most frequent first: its count and its first record."""
        found = sorted(self.by_words.values(), key=lambda one: -one.count)
        return [f"{one.count:,}, the first at {one.example}" for one in found]


@dataclass(slots=True)
class HistoryTally:
    """What was found in a history."""

    records: int = 0
    dead: int = 0
    """Records that are no event of their topic."""
    reasons: DeadReasons = field(default_factory=DeadReasons)
    """Theirs."""
    out_of_order: int = 0
    """Events that are older than an earlier event of their file."""
    topics: set[str] = field(default_factory=set)
    """Of the records."""
    late: int = 0
    """Events that came too late for all features of an entity that they were meant for."""
    wanted: Collection[str] = ()
    """The topics that were looked for."""
    left_out: list[str] = field(default_factory=list)
    """What the answer could have and does not, and why."""

    def check(self) -> None:
        """Raise ConfigError where no record could be used."""
        if not self.records:
            raise ConfigError("history", "there is no record in it", "Give files with some.")
        if self.dead == self.records:
            listed = "; ".join(self.reasons.lines())
            raise ConfigError(
                "history",
                f"none of its {self.records:,} records can be used: {listed}",
                "Correct the files.",
            )

    def remarks(self) -> Iterator[str]:
        """What the user should know of the history."""
        yield from self.left_out
        for topic in sorted({*self.wanted} - self.topics):
            yield f"there is no record of {topic!r}: its features are empty"
        if self.dead:
            listed = "\n  ".join(self.reasons.lines())
            yield f"{self.dead:,} of {self.records:,} records are left out:\n  {listed}"
        if self.out_of_order:
            yield (
                f"{self.out_of_order} of {self.records} records are older than one before them in "
                "their file, and count from when that arrived: sort by time what did not arrive so"
            )
        if self.late:
            yield f"{self.late} events came too late for all features that they were meant for"

    def count_dead(
        self, rejected: Sequence[RejectedRecord], place_of: Callable[[int], str]
    ) -> None:
        """Count rejected records, whose offsets are their numbers, by their reasons.

        `place_of` gives the file and line of the record with a number.
        """
        for record in rejected:
            self.reasons.count(record.reason, record.offset, place_of)
        self.dead += len(rejected)


class TopicDecoder:
    """Finds when the records of a topic arrived, and of which entities they are.

    `entities` has, by the name of each entity that reads the topic, its key.
    """

    def __init__(
        self,
        source: Stream | Table,
        entities: Mapping[str, str],
        numbered: Numbered | None = None,
    ) -> None:
        self.source = source
        self._numbered = numbered
        self._entities = entities
        self._codec = TableCodec(source) if isinstance(source, Table) else Codec(source)
        self._encodes = not isinstance(source.format, Json)

    def from_json(self, documents: Sequence[bytes], now_ms: int) -> list[bytes | None]:
        """The values of records in the topic's format; b"" for a value that it cannot hold."""
        if not self._encodes:
            return list(documents)
        values: list[bytes | None] = []
        for document in documents:
            try:
                values.append(self._encoded(document, now_ms))
            except BadRecord:
                values.append(b"")
        return values

    def _encoded(self, document: bytes, now_ms: int) -> bytes:
        if isinstance(self._codec, TableCodec):
            return self._codec.value(document)
        return self._codec.record(document, now_ms)[1]

    def keys(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        """The keys of a table's rows; of a stream's records there are none."""
        if isinstance(self._codec, Codec):
            return []
        keys: list[bytes | None] = []
        for value in values:
            try:
                keys.append(self._codec.key(value or b""))
            except BadRecord:
                keys.append(_ANY_KEY)
        return keys

    def decode(
        self, keys: list[bytes | None], values: Values, stamps_ms: Ints, begin: int
    ) -> tuple[Arrived, Ints, list[RejectedRecord]]:
        """The good records, their times as the events have them, and the others.

        `stamps_ms` int64[n] are the times at which they arrived, the numbers of the records
        begin at `begin`.
        """
        if isinstance(values, FieldColumns):
            return self._events([b""] * len(values), stamps_ms, begin, values)
        if isinstance(self._codec, TableCodec):
            return self._rows(self._codec, keys, values, stamps_ms, begin)
        return self._events(values, stamps_ms, begin)

    def _rows(
        self,
        codec: TableCodec,
        keys: list[bytes | None],
        values: list[bytes | None],
        stamps_ms: Ints,
        begin: int,
    ) -> tuple[Arrived, Ints, list[RejectedRecord]]:
        """The same, of a table."""
        batch = consecutive_records(self.source.topic, 0, values, stamps_ms, begin)
        rows = codec.decode(replace(batch, keys=keys))
        key = self.source.fields[self.source.key.key]
        number = self._numbered or (lambda _, names: entity_ids(key, names))
        ids = {name: number(name, rows.names) for name in self._entities}
        chosen = rows.places.tolist()
        keys, values = [keys[at] for at in chosen], [values[at] for at in chosen]
        found = Arrived(batch.topic, keys, values, stamps_ms[rows.places], ids)
        return found, rows.stamps_ms, rows.rejected

    def _events(
        self,
        values: list[bytes | None],
        stamps_ms: Ints,
        begin: int,
        ready: FieldColumns | None = None,
    ) -> tuple[Arrived, Ints, list[RejectedRecord]]:
        """The same, of a stream, whose events may be `ready`."""
        assert isinstance(self._codec, Codec)
        batch = consecutive_records(self.source.topic, 0, values, stamps_ms, begin)
        if ready is not None:
            batch = replace(batch, decoded=Columns(ready, batch.offsets))
        columns, rejected = self._codec.decode(batch)
        places = columns.offsets - begin
        if (numbered := self._numbered) is None:
            ids = {name: columns.hashed(key) for name, key in self._entities.items()}
        else:
            keyed = self._entities.items()
            ids = {name: numbered(name, columns.text(key)) for name, key in keyed}
        found = Arrived(batch.topic, [], [], stamps_ms[places], ids, columns)
        return found, columns.event_times_ms, rejected
