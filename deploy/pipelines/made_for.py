"""The definitions that snapshots are made for: which ones a start can go on from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan


def shards_made_for(
    plan: FeaturePlan, encoder: InputEncoder, label: Joined | Labelled, streams: Sequence[Stream]
) -> MadeFor:
    """What the snapshots of the entity that requests name are made for.

    They are carried over to other features, inputs and further streams, which each table of rows
    and the input layout tell themselves (`RowPlan.basis`, `KeptLayout`).
    """
    parts = [repr(label)]
    # All of murmur2 is what fingerprints were made of before there were others.
    placed_by = [stream.placed_by for stream in streams]
    if set(placed_by) != {Partitioner.MURMUR2}:
        parts += [*placed_by, streams[0].placed_by] if isinstance(label, Joined) else placed_by
    parts += [f"rekeyed {stream.topic}" for stream in streams if stream.rekeyed]
    return MadeFor(
        _digits([plan.fingerprint, encoder.fingerprint, *parts]),
        _digits(["shards", plan.tables[0].basis, repr(label)]),
        _digits([plan.former_fingerprint, encoder.former_fingerprint, *parts]),
    )


def candidates_made_for(plan: FeaturePlan) -> MadeFor:
    """What the snapshots of an entity that candidates name are made for."""
    parts = [f"{rows.source.placed_by}" for rows in plan.row_plans]
    parts += [f"rekeyed {one.source.topic}" for one in plan.tables if one.source.owner_rekeyed]
    return MadeFor(
        _digits([plan.fingerprint, *parts]),
        _digits(["candidates", f"{plan.entity}"]),
        _digits([plan.former_fingerprint, *parts]),
    )


def _digits(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
