"""From decoded records to labelled rows: what a pipeline's label makes of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import decode_impression, served_rows
from freshrank.actors.kernels.hashing import ABSENT, hash_text, hash_texts
from freshrank.actors.messages import Floats, Inputs, Ints, RecordBatch, RejectedRecord
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.labels.pair_pool import pairs_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.entity_table import Applied
from freshrank.feature_actors.streams.columns import Columns

# An item's place in the impressions topic is its record's offset, then its rank among those
# shown together: 65,536 of them at most, and 47 bits are left for offsets.
_RANK_BITS = 16


def labelled(spec: PartitionSpec, columns: Columns, applied: Applied) -> LabelledRows:
    """The events that are examples themselves, with their features from just before them."""
    label = spec.label
    if not isinstance(label, Labelled) or applied.before is None:
        raise ValueError("events without labels or without features")
    wanted = ~applied.late
    if label.among is not None:
        wanted &= label.among.evaluate(columns)
    labels = _labels(label, columns)
    which = np.flatnonzero(wanted & np.isfinite(labels))
    context = {name: one[which] for name, one in spec.encoder.context_of(columns).items()}
    inputs = spec.encoder.encode(applied.before, which, context)
    order, times = columns.offsets[which], columns.event_times_ms[which]
    return LabelledRows(order, inputs.dense, inputs.ids, labels[which], times)


def _labels(label: Labelled, columns: Columns) -> Floats:
    """float32[n]: 0 or 1, or the target (NaN where it is None, infinite beyond float32)."""
    if label.positive is not None:
        return label.positive.evaluate(columns).astype(np.float32)
    assert label.target is not None  # checked when it was made
    with np.errstate(over="ignore"):
        return columns.number(label.target).astype(np.float32)


def happened(spec: PartitionSpec, joiner: Joiner, columns: Columns, times_ms: Ints) -> LabelledRows:
    """What the events of a batch decide among the items shown.

    `times_ms` int64[n]: for each the earlier of event time and record time.
    """
    label = spec.label
    if not isinstance(label, Joined):
        raise ValueError("events without a join")
    places = np.flatnonzero(label.positive.evaluate(columns))
    keys = columns.hashed(label.on)[places]
    places, keys = places[keys != ABSENT], keys[keys != ABSENT]
    names = columns.text(spec.stream.key.key)
    entities = hash_texts([names[at] for at in places.tolist()])
    label_ms = columns.event_times_ms[places]
    return joiner.happen(times_ms, places, label_ms, pairs_of(entities, keys))


@dataclass(frozen=True, slots=True)
class _Shown:
    """The items of one impression."""

    entity: int
    keys: Ints
    at_ms: int
    order: Ints
    inputs: Inputs


def shown(
    spec: PartitionSpec, joiner: Joiner, batch: RecordBatch
) -> tuple[LabelledRows, list[RejectedRecord]]:
    """What a batch of impressions decides; and those of its records that are no use."""
    rejected: list[RejectedRecord] = []
    items: list[_Shown] = []
    offsets, stamps = batch.offsets.tolist(), batch.timestamps_ms.tolist()
    for value, offset, stamp in zip(batch.values, offsets, stamps, strict=True):
        try:
            items.append(_items(spec, joiner, value, offset, stamp))
        except BadRecord as error:
            rejected.append(
                RejectedRecord(batch.topic, batch.partition, offset, error.reason, value)
            )
    layout = spec.encoder.layout
    if not items:
        return LabelledRows.none(len(layout.dense), layout.id_width), rejected
    counts = [len(one.keys) for one in items]
    inputs = Inputs(
        np.concatenate([one.inputs.dense for one in items]),
        np.concatenate([one.inputs.ids for one in items]),
    )
    entities = np.repeat(np.array([one.entity for one in items], dtype=np.int64), counts)
    rows = joiner.show(
        pairs_of(entities, np.concatenate([one.keys for one in items])),
        np.repeat(np.array([one.at_ms for one in items], dtype=np.int64), counts),
        np.concatenate([one.order for one in items]),
        inputs,
    )
    return rows, rejected


def _items(
    spec: PartitionSpec, joiner: Joiner, value: bytes | None, offset: int, stamp_ms: int
) -> _Shown:
    if value is None:
        raise BadRecord("a tombstone (no value)")
    impression = decode_impression(value)
    layout = spec.encoder.layout
    if impression.layout != spec.encoder.fingerprint:
        raise BadRecord(f"rows of layout {impression.layout}, not {spec.encoder.fingerprint}")
    keys, inputs = served_rows(impression, len(layout.dense), layout.id_width)
    if len(keys) >= 1 << _RANK_BITS:
        raise BadRecord(f"{len(keys)} items shown at once")
    if not np.isfinite(inputs.dense).all():
        raise BadRecord("inputs that are not finite")
    problem = joiner.admit(impression.at_ms, stamp_ms)
    if problem is not None:
        raise BadRecord(problem)
    order = (offset << _RANK_BITS) + np.arange(len(keys), dtype=np.int64)
    return _Shown(hash_text(impression.entity), keys, impression.at_ms, order, inputs)
