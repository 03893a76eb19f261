"""From a snapshot of other definitions to one that those of now could have made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.errors import SnapshotError
from freshrank.actors.messages.kept_layout import KeptLayout, LayoutChange
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import Array, contents_for
from freshrank.feature_actors.partition.carry_over.table_change import (
    KeptTable,
    TableChange,
    plans_of,
    table_changes,
    tables_of,
)
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND, layouts_of, with_topics
from freshrank.feature_actors.partition.spec import PartitionSpec

# Input layouts that a state knows, with that of now: impressions of older ones are long past.
MOST_LAYOUTS = 16

# The parts of a snapshot that hold rows of inputs, and the parts that belong to a table or topic.
_INPUT_ROWS = "outbox/", "waiting/", "joiner/pending."
_OF_TABLES = "tables", "unwritten", "beside"
_OF_TOPICS = "clock", "dedup", "origins"


@dataclass(frozen=True, slots=True)
class SnapshotContents:
    """What a snapshot's file holds, for the definitions of now."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]
    former_layouts: Mapping[str, KeptLayout]
    """By fingerprint: the input layouts of before."""
    changes: Sequence[str] | None = None
    """For people: what the definitions of now keep, add and drop of rows that change; None: the
    file is of these."""


def read_snapshot(
    spec: PartitionSpec, partition: int, payload: bytes | bytearray
) -> SnapshotContents:
    """The contents of a file of a partition, carried over where its definitions are others.

    Raises SnapshotError, and DefinitionChanged where they cannot be carried over.
    """
    found = contents_for(SNAPSHOT_KIND, spec.made_for, payload)
    if found.meta["partition"] != partition:
        raise SnapshotError(f"a snapshot of partition {found.meta['partition']}, not {partition}")
    meta = with_topics(found.meta, spec)
    if "tables" not in meta:  # an earlier version wrote it, and for these definitions
        former = {spec.encoder.former_fingerprint: KeptLayout.of(spec.encoder.layout)}
        return SnapshotContents(meta, found.arrays, former)
    if found.made_for.fingerprint == spec.made_for.fingerprint:
        return SnapshotContents(meta, found.arrays, _former(meta, spec))
    return carried_over(meta, found.arrays, spec)


def definitions_of(
    spec: PartitionSpec, former_layouts: Mapping[str, KeptLayout]
) -> dict[str, JsonValue]:
    """The part of a snapshot's header by which other definitions can go on from it."""
    encoder = spec.encoder
    layouts = {encoder.fingerprint: KeptLayout.of(encoder.layout), **former_layouts}
    kept = {
        "tables": {plan.name: KeptTable.of(plan) for plan in plans_of(spec)},
        "inputs": dict(list(layouts.items())[:MOST_LAYOUTS]),
    }
    found: dict[str, JsonValue] = msgspec.to_builtins(kept)
    return found


def carried_over(
    meta: Mapping[str, Any], arrays: Mapping[str, Array], spec: PartitionSpec
) -> SnapshotContents:
    """The contents of a file as if the definitions of now had made it.

    - The words of rows go on by column (`TableChange`); changed rows count as not written.
    - Tables and topics that are gone leave; those that are new are not in it: they begin with the
      oldest records. So does a table with new columns, whose topic holds them: its rows stay
      until they are replaced. (Examples are of no entity that a table is of.)
    - Examples, and what waits for its label, go on by input (`LayoutChange`).
    """
    changes, former = table_changes(tables_of(meta), plans_of(spec)), _former(meta, spec)
    inputs = LayoutChange(next(iter(layouts_of(meta).values())), spec.encoder.layout)
    topics = _kept_topics(changes, spec).intersection(meta["topics"])
    sources = {plan.source.topic for plan in plans_of(spec) if changes[plan.name].before}
    carried = _rows(_without_gone(arrays, changes, meta, sources), changes)
    carried |= _bounds(carried, meta["topics"], topics, spec.topics)
    carried |= _inputs(carried, inputs)
    newest = {topic: ms for topic, ms in meta["newest_event_ms"].items() if topic in sources}
    now = {
        **meta,
        **definitions_of(spec, former),
        "topics": list(spec.topics),
        "offsets": {topic: at for topic, at in meta["offsets"].items() if topic in topics},
        "newest_event_ms": newest,
    }
    told = [str(change) for change in changes.values() if change.changed]
    return SnapshotContents(now, carried, former, told)


def _former(meta: Mapping[str, Any], spec: PartitionSpec) -> dict[str, KeptLayout]:
    return {
        name: layout
        for name, layout in layouts_of(meta).items()
        if name != spec.encoder.fingerprint
    }


def _kept_topics(changes: Mapping[str, TableChange], spec: PartitionSpec) -> set[str]:
    """The topics that are read on where the file ends."""
    kept = {
        plan.source.log_topic
        for plan in spec.plan.row_plans
        if changes[plan.name].before and not changes[plan.name].reads_again
    }
    return kept if spec.impressions_topic is None else kept | {spec.impressions_topic}


def _without_gone(
    arrays: Mapping[str, Array],
    changes: Mapping[str, TableChange],
    meta: Mapping[str, Any],
    sources: Collection[str],
) -> dict[str, Array]:
    gone = [name for name, change in changes.items() if change.now is None]
    topics = [topic for topic in meta["newest_event_ms"] if topic not in sources]
    parts = [f"{part}/{name}/" for part in _OF_TABLES for name in gone]
    parts += [f"{part}/{topic}/" for part in _OF_TOPICS for topic in topics]
    return {name: array for name, array in arrays.items() if not name.startswith(tuple(parts))}


def _rows(arrays: dict[str, Array], changes: Mapping[str, TableChange]) -> dict[str, Array]:
    found = dict(arrays)
    for name, change in changes.items():
        if change.now is None or not change.changed:
            continue
        for rows in (f"tables/{name}/rows", f"beside/{name}/rows"):
            if rows in found:
                found[rows] = change.rows(found[rows])
        dirty = f"unwritten/{name}/dirty"
        if dirty in found:
            found[dirty] = np.ones_like(found[dirty])
    return found


def _bounds(
    arrays: Mapping[str, Array], before: Sequence[str], kept: Collection[str], now: Sequence[str]
) -> dict[str, Array]:
    """The bounds of offset ranges in the topics of now: those that are not `kept` begin at 0.

    No two bounds become one: examples come from the first stream and from impressions.
    """
    found: dict[str, Array] = {}
    for name in ("outbox/begins", "outbox/ends"):
        found[name] = np.zeros((len(arrays[name]), len(now)), dtype=np.int64)
        for place, topic in enumerate(now):
            if topic in kept:
                found[name][:, place] = arrays[name][:, before.index(topic)]
    return found


def _inputs(arrays: Mapping[str, Array], change: LayoutChange) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for part in _INPUT_ROWS:
        if f"{part}dense" in arrays:
            found[f"{part}dense"] = change.numbers(arrays[f"{part}dense"])
            found[f"{part}ids"] = change.id_rows(arrays[f"{part}ids"])
    return found
