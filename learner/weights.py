"""A copy of the weights that follows a learner, and the scores it gives."""

from __future__ import annotations

import numpy as np
import xxhash

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Delta, Floats, Inputs, Version
from freshrank.learner.models import Model, sigmoid
from freshrank.learner.pooling import field_starts
from freshrank.learner.table import KeyedTable


class ModelWeights:
    """Dense weights and table of one model at one version: `Weights` and `Scorer`.

    Before the first snapshot it scores by the initial weights, and `version` is None.
    For one thread at a time. A learner's own weights are of this kind, too: their table also
    holds optimiser state, and they are stepped in place instead of being given deltas.
    """

    def __init__(self, model: Model, table: KeyedTable | None = None) -> None:
        self.model = model
        self.dense: Floats = model.initial()
        self.table = KeyedTable(model.rows) if table is None else table
        self.version: Version | None = None
        """Of the last delta that was applied."""
        self._starts = field_starts(model.layout)

    def apply(self, delta: Delta) -> None:
        """Take `delta` whole.

        Raises ProgressError, and changes nothing, when it does not continue from `version`, is
        a snapshot that is not newer, or has the sizes of another model.
        """
        self._check(delta)
        if delta.base is None:
            self.table = KeyedTable(self.model.rows)
        else:
            self.table.remove(delta.evicted)
        self.table.put(delta.keys, delta.rows)
        self.dense = delta.dense
        self.version = delta.version

    def _check(self, delta: Delta) -> None:
        if delta.base is not None and delta.base != self.version:
            raise ProgressError(
                f"the delta {delta.base} -> {delta.version} does not continue {self.version}"
            )
        if self.version is not None and delta.version <= self.version:
            raise ProgressError(f"{delta.version} after {self.version}: a version never goes back")
        width = self.model.rows.width
        if len(delta.dense) != self.model.dense_size or delta.rows.shape != (
            len(delta.keys),
            width,
        ):
            raise ProgressError(
                f"{len(delta.dense)} dense weights and rows {delta.rows.shape} do not fit a model "
                f"of {self.model.dense_size} and width {width}"
            )

    def score(self, inputs: Inputs) -> Floats:
        """float32[n]: probabilities, from dense inputs [n, d] and ids [n, f]."""
        pooled = self.table.pool(inputs.ids, self._starts)
        return sigmoid(self.model.logits(self.dense, inputs.dense, pooled))

    def copy(self) -> ModelWeights:
        """An independent copy at the same version (the frozen reference)."""
        other = ModelWeights(self.model, self.table.copy())
        other.dense = self.dense.copy()
        other.version = self.version
        return other

    def checksum(self) -> str:
        """16 hexadecimal digits over all weights: equal copies of one version have the same."""
        return weights_checksum(self.dense, self.table)


def weights_checksum(dense: Floats, table: KeyedTable) -> str:
    """16 hexadecimal digits over dense weights and table, whatever the order of its rows."""
    seed = table.checksum()
    payload = np.ascontiguousarray(dense).tobytes() + seed.to_bytes(8, "little")
    return xxhash.xxh64_hexdigest(payload)
