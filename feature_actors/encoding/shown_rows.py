"""Stored rows, and the model inputs that are made of them, as values for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Doubles
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.aggregations.kernel_types import HEADER_WORDS, NEWEST, OFFSET
from freshrank.feature_actors.encoding.bag_values import BagValues
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.row_plan import RowPlan
from freshrank.feature_actors.views.table_plan import TablePlan


def words_of(table: RowPlan, rows: Sequence[bytes | None]) -> Doubles:
    """float64[m, words]: stored rows, and the empty row for each that is not stored.

    Raises Unavailable when a row has another size than its table's.
    """
    empty = table.empty_row.tobytes()
    present = [empty if row is None else row for row in rows]
    if {*map(len, present)} - {len(empty)}:
        for row in present:
            check_size(table, row)
    words = bytearray().join(present)  # kernels are compiled for arrays that can be written to
    return np.frombuffer(words, dtype=np.float64).reshape(-1, table.row_words)


def check_size(table: RowPlan, row: bytes) -> None:
    """Raise Unavailable when `row` has another size than those of its table."""
    size = table.bytes_per_entity
    if len(row) != size:
        raise Unavailable("online store", f"a row of {len(row)} bytes in place of {size}")


def freshness_of(
    tables: Sequence[RowPlan], rows: Sequence[bytes | None]
) -> tuple[int, Mapping[str, int]]:
    """The newest event time, in ms, in rows of `tables`, and by topic the last offset.

    0 and -1 where there is none. Raises Unavailable when a row has another size than its table's.
    """
    newest_ms, offsets = 0, dict[str, int]()
    for table, row in zip(tables, rows, strict=True):
        header = [0, -1]
        if row is not None:
            check_size(table, row)
            header = np.frombuffer(row, dtype=np.int64, count=HEADER_WORDS).tolist()
        newest_ms = max(newest_ms, header[NEWEST])
        offsets[table.source.log_topic] = header[OFFSET]
    return newest_ms, offsets


def shown_row(table: RowPlan, row: bytes | None, at_ms: int) -> dict[str, JsonValue]:
    """The named features in a row as of `at_ms`, or the fields of a row of a `Table`.

    A bag is a list of values and weights (`BagValues`); an id of a table is a bag of one, which is
    empty where it is absent. None stands for a number that has no value.
    """
    words = words_of(table, [row])
    if isinstance(table, TablePlan):
        return _features(table, words, at_ms)
    assert isinstance(table, LatestRowPlan)
    return _fields(table, words)


def _features(table: TablePlan, words: Doubles, at_ms: int) -> dict[str, JsonValue]:
    block = table.read(words, np.array([at_ms], dtype=np.int64))
    found: dict[str, JsonValue] = {
        name: None if np.isnan(value) else value
        for name, value in zip(table.columns, block.values[0].tolist(), strict=True)
    }
    begin = 0
    for bag in table.layout.bags:
        end = begin + bag.field.width
        values = BagValues(table.source.fields[bag.source])
        found[bag.field.name] = values.of(block.ids[0, begin:end], block.id_weights[0, begin:end])
        begin = end
    return found


def _fields(table: LatestRowPlan, words: Doubles) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, field in table.fields.items():
        (value,) = table.column(name, words).tolist()
        if field.kind is Kind.NUMBER:
            found[name] = None if np.isnan(value) else value
        else:
            found[name] = BagValues(field).of([value], [1.0])
    return found


def shown_fields(encoder: InputEncoder, row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Those of a row of a table, as `shown_row` gives it, that the context has.

    An integer that is taken for a number is one, or None.
    """
    found = {name: value for name, value in row.items() if name in encoder.table_fields}
    for name, value in found.items():
        if encoder.kinds[name] is Kind.NUMBER and isinstance(value, list):
            found[name] = next((entry["value"] for entry in _entries(value)), None)
    return found


def combined_values(
    encoder: InputEncoder, values: Mapping[str, JsonValue], ids: Mapping[str, int]
) -> dict[str, JsonValue]:
    """The values of a candidate's matches, buckets and crosses, from those that they are made of.

    That of a match is the weight that the bag gives to the candidate's own value, that of a bucket
    the number that lies in it, that of a cross its values by their names.

    Parameters
    ----------
    encoder
        Names matches and crosses.
    values
        By name, those of all other inputs. What a candidate takes from its row in a table is a
        bag of one.
    ids
        By name, the ids of the entity's key and of what the candidate carries itself.
    """
    found: dict[str, JsonValue] = {}
    for name, (bag, own) in encoder.matches.items():
        given = [ids[own]] if own in ids else [entry["id"] for entry in _entries(values[own])]
        weights = [entry["weight"] for entry in _entries(values[bag]) if entry["id"] in given]
        found[name] = float(sum(weights))
    known = {**values, **found}
    found |= {name: known[number] for name, number in encoder.cleaned.numbers.items()}
    known |= found
    for name, sides in encoder.crosses.items():
        found[name] = {side: known[side] for side in sides}
    return found


def _entries(bag: Any) -> list[dict[str, Any]]:
    """Those of a bag, as `BagValues.of` gives them."""
    return list(bag)
