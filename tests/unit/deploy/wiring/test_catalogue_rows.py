"""Rows of a history's items: the latest of each, and which of them are written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import Entity, Table
from freshrank.actors.errors import BadRecord
from freshrank.deploy.history.arrivals import Arrived
from freshrank.deploy.wiring import catalogue_rows
from freshrank.deploy.wiring.catalogue_rows import CatalogueRows, WrittenItems, write_items
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink

PARTITIONS = 3


class Product(msgspec.Struct):
    item: int


catalogue = Table("catalogue", key=Entity("item", "item"), schema=Product)


def arrived(*records: tuple[bytes, bytes | None]) -> Arrived:
    keys, values = [key for key, _ in records], [value for _, value in records]
    return Arrived("catalogue", list(keys), values, np.zeros(len(keys), dtype=np.int64), {})


def test_the_latest_row_of_each_item_counts_and_a_tombstone_deletes_it() -> None:
    rows = CatalogueRows()
    rows.take(arrived((b"1", b"a"), (b"2", b"b")), 9)
    rows.take(arrived((b"1", b"c"), (b"2", None), (b"3", None)), 9)
    assert rows.values == {"1": b"c"}
    assert list(rows.remarks("catalogue")) == []


def test_rows_of_more_items_than_are_kept_are_counted() -> None:
    rows = CatalogueRows()
    rows.take(arrived((b"1", b"a"), (b"2", b"b"), (b"3", b"c"), (b"1", b"d")), 2)
    assert rows.values == {"1": b"d", "2": b"b"}
    assert "1 rows are of more items than the 2 that" in next(rows.remarks("catalogue"))


class Small(MemorySink):
    """Takes values of 11 bytes."""

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        taken = [record for record in records if len(record[1]) <= 11]
        await super().send_all(topic, taken)
        return [None if record in taken else BadRecord("too large") for record in records]


def written(log: MemoryLog, count: int) -> WrittenItems:
    rows = {str(number): msgspec.json.encode(Product(number)) for number in range(count)}
    sink = Small(log, FakeClock(5))
    return asyncio.run(write_items(catalogue, rows, PARTITIONS, MemorySource(log), sink))


def test_what_the_topic_says_of_an_item_counts_however_it_says_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_rows, "AT_ONCE", 2)
    log = MemoryLog(PARTITIONS)
    keys, values = [b"0", b"1", b"2", b"3"], [b'{"item":0}', None, b"{", b'{"item":1}']
    log.distribute("catalogue", keys, values, np.zeros(4, dtype=np.int64))
    found = written(log, 8)
    # What is no row of an item says nothing of it.
    assert found == WrittenItems("catalogue", 6, 2, 0)
    assert str(found).endswith("recommended; 2 items had a record there, which counts.")
    assert written(log, 8) == WrittenItems("catalogue", 0, 8, 0), "the same again"


def test_rows_that_the_topic_does_not_take_are_told() -> None:
    found = written(MemoryLog(PARTITIONS), 101)
    assert found == WrittenItems("catalogue", 100, 0, 1)
    (said,) = found.remarks()
    assert "1 rows are larger than topic 'catalogue' takes" in said
