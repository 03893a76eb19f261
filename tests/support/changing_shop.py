"""A shop whose definitions change: any features, inputs, streams and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from small_shop import JOINED, events, user

from freshrank import FeatureView, Table
from freshrank.actors.impressions import decode_impression, encode_impression, served_rows
from freshrank.actors.messages import Doubles, InputLayout, Inputs
from freshrank.actors.messages.kept_layout import KeptLayout, LayoutChange
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.benchmarks.crashes.invariants import Example
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


def served_by(record: bytes, before: InputEncoder, now: InputEncoder) -> bytes:
    """Return an impression of `before` as a replica with the inputs of `now` logs it.

    Numbers that `before` does not have are 3.25, and ids 77.
    """
    shown, layout = decode_impression(record), before.layout
    change = LayoutChange(KeptLayout.of(layout), now.layout)
    _, inputs, _ = served_rows(shown, len(layout.dense), layout.id_width)
    dense, ids = change.numbers(inputs.dense).astype("<f4"), change.id_rows(inputs.ids)
    dense[:, change.dense < 0] = 3.25
    ids[:, change.ids < 0] = 77
    served = msgspec.structs.replace(
        shown, layout=now.fingerprint, dense=dense.tobytes(), ids=ids.astype("<i8").tobytes()
    )
    return encode_impression(served)


def kept_inputs(
    examples: Mapping[Example, int], before: InputLayout, now: InputLayout
) -> Counter[Example]:
    """Examples of either layout, counted by what both tell of them."""
    carried = LayoutChange(KeptLayout.of(before), now)
    dense, ids = np.flatnonzero(carried.dense >= 0), np.flatnonzero(carried.ids >= 0)
    columns = {
        (len(before.dense), before.id_width): (carried.dense[dense], carried.ids[ids]),
        (len(now.dense), now.id_width): (dense, ids),
    }
    assert len(columns) == 2, "the layout of a row is told by its widths"
    found = Counter[Example]()
    for (partition, numbers, keys, label, at_ms), count in examples.items():
        row, key = np.frombuffer(numbers, np.float32), np.frombuffer(keys, np.int64)
        of_dense, of_ids = columns[len(row), len(key)]
        found[partition, row[of_dense].tobytes(), key[of_ids].tobytes(), label, at_ms] += count
    return found


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
