"""The weights that serve where the optimiser keeps averages (`Averaged`): copies, scores, deltas.

Shards follow all that the learner has: their gradients are those of the raw weights, which go on
from there, and they score by the averages what they will be judged by. Replicas follow the averages
alone, as if these were what is learned.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from freshrank.actors.messages import Delta, Floats, Inputs, Version
from freshrank.actors.parameters.source import ParameterSource
from freshrank.learner.embeddings.averaged_table import AveragedTable
from freshrank.learner.embeddings.pooling import distinct, pool
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.weights import ModelWeights, checksum_of


def served_scores(weights: ModelWeights, inputs: Inputs) -> Floats:
    """As `ModelWeights.score` of the replicas, whose weights these are or are the averages of."""
    if weights.average is None:
        return weights.score(inputs)
    x, ids = prepared(inputs, weights.scale)
    keys, index = distinct(ids)
    width = weights.model.rows.width
    rows = weights.average.averages(weights.table.read_whole(keys), width)
    pooled = pool(rows, index, weights.starts, width)
    return weights.target.predictions(weights.model.outputs(weights.served_dense, x, pooled))


def served_copy(weights: ModelWeights) -> ModelWeights:
    """An independent copy, to score with alone, of the weights that serve at the same version.

    Raises Unavailable before the first snapshot.
    """
    if weights.average is None:
        return weights.copy()
    version, table = weights.known_version(), weights.table
    other = ModelWeights(weights.model)
    other.table.put(table.keys, weights.average.averages(table.rows, table.init.width))
    other.dense, other.moments = weights.served_dense, weights.moments
    other.version, other.examples = version, weights.examples
    return other


def with_averages(weights: ModelWeights) -> ModelWeights:
    """Let a learner's own weights, empty yet, know the checksum of their averages."""
    average, rows = weights.average, weights.model.rows
    if average is not None:
        averages = partial(average.averages, width=rows.width)
        weights.table = AveragedTable(rows, average.state_width(rows.width), averages)
    return weights


def served_checksum(weights: ModelWeights) -> str | None:
    """Of the weights that serve, of a learner's own; None where they are those of the deltas."""
    table = weights.table
    if not isinstance(table, AveragedTable):
        return None
    return checksum_of(weights.served_dense, weights.moments, table.expected_averages_checksum)


def served_delta(delta: Delta, model: Model, optimizer: Averaged) -> Delta:
    """The averages, and their checksum, in place of what a delta says is learned.

    It has the state of the optimiser, as all deltas of a learner with averages have.
    """
    assert delta.row_state is not None and delta.dense_state is not None  # see `TrainingState`
    dense = np.concatenate([delta.dense, delta.dense_state])[np.newaxis]
    rows = np.concatenate([delta.rows, delta.row_state], axis=1)
    return replace(
        delta,
        dense=optimizer.averages(dense, model.dense_size)[0],
        rows=optimizer.averages(rows, model.rows.width),
        checksum=delta.served_checksum,
    )


class AveragedSource:
    """A `ParameterSource` of the averages of another's weights.

    Parameters
    ----------
    source
        Of a learner with averages.
    model, optimizer
        The learner's.
    """

    def __init__(self, source: ParameterSource, model: Model, optimizer: Averaged) -> None:
        self._source, self._model, self._optimizer = source, model, optimizer

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource`."""
        found = await self._source.newer_than(version, timeout_s, refused)
        return [served_delta(delta, self._model, self._optimizer) for delta in found]


def served_source(source: ParameterSource, model: Model, optimizer: Optimizer) -> ParameterSource:
    """What replicas follow of a learner's source."""
    if isinstance(optimizer, Averaged):
        return AveragedSource(source, model, optimizer)
    return source
