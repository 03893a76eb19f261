"""The items of a history, and their way to the topic that replicas read the catalogue from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from freshrank.actors.errors import BadRecord
from freshrank.actors.protocols import EventSource, RecordSink
from freshrank.deploy.history.arrivals import Arrived
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.streams.table_codec import TableCodec

AT_ONCE = 5_000
"""Records that are read, or written, at once: some megabytes."""
_POLL_S = 0.2


@dataclass(slots=True)
class CatalogueRows:
    """The latest row of each item of a history, as records of its topic."""

    values: dict[str, bytes] = field(default_factory=dict)
    """By the item's key: the value of its record."""
    passed_over: int = 0
    """Records of further items, for which there was no room."""

    def take(self, arrived: Arrived, most: int) -> None:
        """Put and delete rows; there are at most `most`."""
        for key, value in zip(arrived.keys, arrived.values, strict=True):
            name = (key or b"").decode()
            if value is None:
                self.values.pop(name, None)
            elif name in self.values or len(self.values) < most:
                self.values[name] = value
            else:
                self.passed_over += 1

    def remarks(self, topic: str) -> Iterator[str]:
        """What the user should know of those that are not for the `topic`."""
        if self.passed_over:
            yield (
                f"{self.passed_over:,} rows are of more items than the {len(self.values):,} that a "
                f"replica keeps (serve.most_items), and were not written to topic {topic!r}"
            )


@dataclass(frozen=True, slots=True)
class WrittenItems:
    """What became of the rows of a history's items."""

    topic: str
    written: int
    there: int
    """Items that the topic had a row or a tombstone of already, which counts."""
    too_large: int
    """Rows that are larger than the topic takes."""

    def remarks(self) -> Iterator[str]:
        """What the user should know of it."""
        if self.too_large:
            yield (
                f"{self.too_large:,} rows are larger than topic {self.topic!r} takes, so "
                "/v1/recommend does not find their items: raise its max.message.bytes, and write "
                "them to it"
            )

    def __str__(self) -> str:
        had = f"; {self.there:,} items had a record there, which counts" if self.there else ""
        return (
            f"{self.written:,} rows of items were written to topic {self.topic!r}, where replicas "
            f"read what can be recommended{had}."
        )


async def write_items(
    table: Table,
    rows: Mapping[str, bytes],
    partitions: int,
    source: EventSource,
    sink: RecordSink,
) -> WrittenItems:
    """Write `rows` to the topic of `table`, but for items that it has records of.

    Whoever writes the topic knows those items better, also that they are gone. Raises Unavailable:
    some may be written then, and the same call writes the others.
    """
    known = await _items_in(table, partitions, source)
    records = [(name.encode(), value) for name, value in rows.items() if name not in known]
    answers: list[BadRecord | None] = []
    for begin in range(0, len(records), AT_ONCE):
        answers += await sink.send_all(table.topic, records[begin : begin + AT_ONCE])
    too_large = sum(answer is not None for answer in answers)
    written = len(records) - too_large
    return WrittenItems(table.topic, written, len(rows) - len(records), too_large)


async def _items_in(table: Table, partitions: int, source: EventSource) -> set[str]:
    """The items that the topic has a good record of, be it a row or a tombstone."""
    codec, found = TableCodec(table), set[str]()
    await source.start({(table.topic, number): None for number in range(partitions)})
    try:
        while any((await source.lag()).values()):
            for batch in await source.poll(AT_ONCE, _POLL_S):
                found.update(codec.decode(batch).names)
            source.take_deleted()  # what is gone says nothing of an item
    finally:
        await source.stop()
    return found
