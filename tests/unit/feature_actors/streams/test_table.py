"""Tables as they are declared, and the records that they take."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest

from freshrank import Entity, Table
from freshrank.actors.errors import ConfigError
from freshrank.actors.records import RecordBatch, RejectKind
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.table_codec import TableCodec


class Size(msgspec.Struct):
    width: float


class Product(msgspec.Struct):
    sku: str
    key: str = "k"
    size: Size | None = None
    tags: list[str] = []


item = Entity("item", key="sku")
products = Table("products", key=item, schema=Product)


def test_fields_are_attributes_and_columns() -> None:
    assert products.column("size.width").field.kind is Kind.NUMBER
    assert products.column("key").field.kind is Kind.TEXT
    assert products.key is item, "what a table itself is called so comes first"
    assert copy.copy(products).topic == "products"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"topic": "no/topic"}, "Table('no/topic')"),
        ({"key": Entity("item", key="skew")}, "Table('products').key"),
        ({"key": Entity("item", key="size")}, "Table('products').key"),
        ({"partitioner": "any"}, "Table('products').partitioner"),
        ({"max_bytes": 0}, "Table('products').max_bytes"),
        ({"schema": dict}, "Table('products')"),
    ],
)
def test_what_cannot_work_is_an_error(changes: dict[str, Any], place: str) -> None:
    given: dict[str, Any] = {"topic": "products", "key": item, "schema": Product} | changes
    topic = given.pop("topic")
    with pytest.raises(ConfigError) as error:
        Table(topic, **given)
    assert error.value.place == place


def records(keys: list[bytes | None], values: list[bytes | None]) -> RecordBatch:
    made = consecutive_records("products", 0, values, 5, begin=10)
    return RecordBatch(
        "products", 0, values, made.offsets, made.timestamps_ms, made.stamped_by_broker, keys
    )


def test_good_records_and_the_others_with_reasons() -> None:
    found = TableCodec(products).decode(
        records(
            [b"a", b"b", None, b"", b"\xff", b"c", b"d", b"e" * 300],
            [
                b'{"sku": "a", "more": 1}',
                None,
                b'{"sku": "a"}',
                None,
                None,
                b'{"sku": 5}',
                b"{" + b" " * 1_000_001,
                None,
            ],
        )
    )
    assert found.names == ["a", "b"]
    assert [row is None for row in found.rows] == [False, True]
    assert found.offsets.tolist() == [10, 11]
    reasons = [record.reason.split(":")[0] for record in found.rejected]
    assert reasons == [
        "it has no key",
        "its key",
        "its key is no UTF-8",
        "Expected `str`, got `int` - at `$.sku`",
        "1000002 bytes are more than the 1000000 allowed",
        "its key",
    ]
    kinds = [record.kind for record in found.rejected]
    assert kinds == [RejectKind.NO_KEY, *[RejectKind.INVALID] * 5]


def test_a_broker_that_gives_no_keys_gives_no_rows() -> None:
    found = TableCodec(products).decode(
        consecutive_records("products", 0, [b'{"sku": "a"}'], np.array([5]))
    )
    assert len(found) == 0
    assert found.rejected[0].kind is RejectKind.NO_KEY
