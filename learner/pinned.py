"""Pinned weights: those of one version without the optimiser's state, to score with for long."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from freshrank.actors.errors import DefinitionChanged
from freshrank.actors.messages import Delta, Version
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import MadeFor, pack, unpack_for
from freshrank.learner import checkpoints
from freshrank.learner.changed_inputs import ChangedInputs
from freshrank.learner.models.base import Model, weights_fingerprint
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.target_scale import kept_moments
from freshrank.learner.parameters.weights import ModelWeights

KIND = "pinned"
"""Of the files, in their headers."""


def pinned_of(checkpoint: bytes | bytearray, model: Model, optimizer: Optimizer) -> Iterator[Piece]:
    """The contents of a file of the weights that a checkpoint holds.

    Raises DefinitionChanged when it was made for another model, optimiser or other inputs, whose
    weights are another version, and SnapshotError.
    """
    meta, arrays, changed = checkpoints.unpacked(checkpoint, model, optimizer)
    if changed is not None:
        raise DefinitionChanged(f"made for other inputs: {changed}")
    dense, rows = arrays["dense"], arrays["rows"]
    if isinstance(optimizer, Averaged):  # what served
        dense = optimizer.averages(dense, model.dense_size)
        rows = optimizer.averages(rows, model.rows.width)
    arrays = {
        "dense": dense[0, : model.dense_size],
        "moments": kept_moments(arrays.get("moments"), model),
        "keys": arrays["keys"],
        "rows": rows[:, : model.rows.width],
    }
    meta = {
        "version": meta["version"],
        "applied": meta["applied"],
        "inputs": msgspec.to_builtins(KeptLayout.of(model.layout)),
    }
    return pack(
        KIND,
        MadeFor(weights_fingerprint(model)),
        meta,
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
    )


def pinned_weights(payload: bytes | bytearray, model: Model) -> ModelWeights:
    """The weights in such a file.

    Raises DefinitionChanged when it was made for another model or inputs, and SnapshotError.
    """
    meta, arrays = unpack_for(KIND, MadeFor(weights_fingerprint(model)), payload)
    now = KeptLayout.of(model.layout)
    before = msgspec.convert(meta["inputs"], KeptLayout) if "inputs" in meta else now  # of before
    if before != now:
        raise DefinitionChanged(f"made for other inputs: {ChangedInputs.of(before, now)}")
    order = np.argsort(arrays["keys"], kind="stable")
    weights = ModelWeights(model)
    weights.apply(
        Delta(
            version=Version.parse(meta["version"]),
            base=None,
            dense=arrays["dense"].astype(np.float32),
            moments=kept_moments(arrays["moments"], model),
            keys=arrays["keys"][order].astype(np.int64),
            rows=arrays["rows"][order].astype(np.float32),
            evicted=np.zeros(0, dtype=np.int64),
        )
    )
    return weights
