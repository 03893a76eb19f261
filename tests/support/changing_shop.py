"""A shop whose definitions change: any features, inputs, streams and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from small_shop import JOINED, events, user

from freshrank import FeatureView, Table
from freshrank.actors.messages import Doubles, Inputs
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.kernel_types import HEADER_WORDS
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.state.row_table import RowTable
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.plan import FeaturePlan


def view(stream: Stream = events, of: Entity = user, /, **features: Aggregate) -> type[FeatureView]:
    """A view with these features."""
    name = f"Of{of.name.title()}{stream.topic.title()}"
    return type(name, (FeatureView,), {"entity": of, "source": stream, **features})


def shop(
    *views: type[FeatureView],
    label: Joined | Labelled | None = JOINED,
    crosses: Sequence[Sequence[str]] = (),
    context: Sequence[str] = ("item",),
    tables: Sequence[Table] = (),
    beside: Sequence[type[FeatureView]] = (),
) -> PartitionSpec:
    """Its definitions: those of one label and one first stream can be carried over."""
    plan = FeaturePlan(views, tables)
    others = [FeaturePlan([one]) for one in beside]
    source = plan.row_plans[0].source
    encoder = InputEncoder([plan, *others], source, context if views else [], crosses)
    bases = [one.basis for one in plan.row_plans]
    return PartitionSpec(
        plan=plan,
        encoder=encoder,
        label=label,
        impressions_topic="shown" if isinstance(label, Joined) else None,
        made_for=MadeFor(
            f"{plan.fingerprint} {encoder.fingerprint} {label!r} {bases}",
            f"{plan.row_plans[0].entity.name} {label!r}",
        ),
        settings=ShardSettings(max_entities_per_partition=1_000),
        beside=[table for one in others for table in one.tables],
    )


def words(table: RowTable) -> Mapping[str, Mapping[str, bytes]]:
    """By entity and by column: what its row says."""
    slots = table.slots()
    rows = zip(table.entities(slots), table.rows(slots), strict=True)
    return {name: _by_column(table, row) for name, row in rows}


def _by_column(table: RowTable, row: Doubles) -> Mapping[str, bytes]:
    found, begin = {}, HEADER_WORDS
    for column in table.plan.columns_of_rows:
        found[column.name] = row[begin : begin + column.words].tobytes()
        begin += column.words
    return found


def empty(table: RowTable) -> Mapping[str, bytes]:
    """By column: what the row of an entity without events says."""
    return _by_column(table, table.plan.empty_row)


def by_name(made: PartitionSpec, inputs: Inputs) -> Mapping[str, list[Any]]:
    """By name of an input: its values, row by row."""
    layout, begin = made.encoder.layout, 0
    found: dict[str, list[Any]] = {
        name: np.where(np.isnan(column), -1.0, column).tolist()
        for name, column in zip(layout.dense, inputs.dense.T, strict=True)
    }
    for field in layout.fields:
        found[f"id {field.name}"] = inputs.ids[:, begin : begin + field.width].tolist()
        begin += field.width
    return found
