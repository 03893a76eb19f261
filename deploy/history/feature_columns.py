"""What was read of rows, as columns: those of ``GET /v1/features/{entity}/{id}``, by its names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.deploy.history.entity_history import Read
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.encoding.bag_values import BagValues
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan

if TYPE_CHECKING:
    import pyarrow as pa

# Rows whose bags are Python objects at once.
_SLICE = 16_384


def names_of(plan: FeaturePlan) -> list[str]:
    """The names of the columns of an entity's features, in their order."""
    found: list[str] = []
    for rows in plan.row_plans:
        if isinstance(rows, TablePlan):
            found += [*rows.columns, *(bag.field.name for bag in rows.layout.bags)]
        elif isinstance(rows, LatestRowPlan):
            found += rows.fields
    return found


def columns_of(arrow: Any, plan: FeaturePlan, read: Sequence[Read]) -> Iterator[pa.ChunkedArray]:
    """The columns of an entity's features, as `names_of` names them; `arrow` is the module.

    A number is a double, null where it has no value. A bag is a list of its entries, each with the
    model's ``id``, a ``weight``, and the ``value`` or the field ``hash_of`` (`BagValues`).
    """
    for rows, block in zip(plan.row_plans, read, strict=True):
        if isinstance(rows, TablePlan) and isinstance(block, FeatureBlock):
            for number in range(len(rows.columns)):
                yield _numbers(arrow, block.values[:, number])
            begin = 0
            for bag in rows.layout.bags:
                part = slice(begin, begin + bag.field.width)
                field = rows.source.fields[bag.source]
                yield _bags(arrow, field, block.ids[:, part], block.id_weights[:, part])
                begin += bag.field.width
        elif isinstance(rows, LatestRowPlan) and isinstance(block, np.ndarray):
            for name, field in rows.fields.items():
                column = rows.column(name, block)
                if field.kind is Kind.NUMBER:
                    yield _numbers(arrow, column.astype(np.float64))
                else:
                    ids = column.astype(np.int64)[:, None]
                    yield _bags(arrow, field, ids, np.ones(ids.shape))


def _numbers(arrow: Any, column: Doubles) -> pa.ChunkedArray:
    made: pa.ChunkedArray = arrow.chunked_array([arrow.array(column, mask=np.isnan(column))])
    return made


def _bags(arrow: Any, field: Field, ids: Ints, weights: Doubles) -> pa.ChunkedArray:
    values, kind = BagValues(field), _bag_type(arrow, field)
    chunks = [
        arrow.array(
            [
                values.of(*entry)
                for entry in zip(
                    ids[at : at + _SLICE].tolist(), weights[at : at + _SLICE].tolist(), strict=True
                )
            ],
            type=kind,
        )
        for at in range(0, len(ids), _SLICE)
    ]
    made: pa.ChunkedArray = arrow.chunked_array(chunks, type=kind)
    return made


def _bag_type(arrow: Any, field: Field) -> pa.DataType:
    """The type of a bag: its entries have the same keys in each row."""
    entry = {"id": arrow.int64(), "weight": arrow.float64()}
    if field.kind is not Kind.TEXT:
        entry["value"] = arrow.bool_() if field.boolean else arrow.int64()
    else:
        if field.choices:
            entry["value"] = arrow.string()
        entry["hash_of"] = arrow.string()
    kind: pa.DataType = arrow.list_(arrow.struct(list(entry.items())))
    return kind
