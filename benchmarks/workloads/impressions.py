"""Impressions: made without a replica, and as a topic has them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from freshrank.actors.impressions import Impression, decode_impression
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.actors.messages import Floats
from freshrank.benchmarks.workloads.dead_letters import read_topic
from freshrank.feature_actors.encoding.input_encoder import InputEncoder


def impression_of(
    encoder: InputEncoder,
    entity: str,
    items: Sequence[int],
    at_ms: int,
    request_id: str = "",
    dense: Floats | None = None,
) -> Impression:
    """Return the impression of `items` that were shown to `entity` at `at_ms`.

    Its join keys are the hashed items, and every id input of a row is the row's item. The dense
    inputs are `dense`, float32[items, d], or zeros. Each item was scored with one half.
    """
    layout, shape = encoder.layout, (len(items), len(encoder.layout.dense))
    rows = np.zeros(shape, dtype="<f4") if dense is None else dense.astype("<f4")
    assert rows.shape == shape, f"dense inputs {rows.shape}, the layout has {shape}"
    ids = np.array(items, dtype=np.int64)
    return Impression(
        request_id=request_id,
        entity=entity,
        at_ms=at_ms,
        version="1.0",
        layout=encoder.fingerprint,
        join_keys=hash_ints(ids).astype("<i8").tobytes(),
        dense=rows.tobytes(),
        ids=np.tile(ids.astype("<i8").reshape(-1, 1), (1, layout.id_width)).tobytes(),
        scores=np.full(len(items), 0.5, dtype="<f4").tobytes(),
    )


def without_scores(impression: Impression) -> Impression:
    """Return the impression as replicas of the versions before write it."""
    return msgspec.structs.replace(impression, scores=b"")


def logged_impressions(bootstrap: str, topic: str) -> list[Impression]:
    """Return all impressions of a topic. Raises Unavailable, BadRecord."""
    return [decode_impression(record.value() or b"") for record in read_topic(bootstrap, topic)]
