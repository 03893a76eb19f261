"""Gradients of examples by NumPy and compiled kernels, for processes without torch."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Examples, Gradient
from freshrank.learner.embeddings.pooling import (
    distinct,
    field_starts,
    pool,
    scatter,
    scatter_squares,
)
from freshrank.learner.gradients.squares import dense_squares
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.input_moments import merge, moments_of, standardize
from freshrank.learner.parameters.weights import ModelWeights


class CompiledDifferentiator:
    """The gradient of the model's loss at the weights that `weights` presently holds."""

    def __init__(self, model: Model, weights: ModelWeights) -> None:
        self._model = model
        self._weights = weights
        self._starts = field_starts(model.layout)
        self._reference: ModelWeights | None = None

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights, which scores beside them from now on.

        Raises Unavailable before the first snapshot of the weights.
        """
        self._reference = self._weights.copy()

    def gradient(self, examples: Examples) -> Gradient:
        """The gradient summed over `examples`, with the scores before they were learned.

        Raises Unavailable before the first snapshot of the weights: a gradient has to name the
        version that it was computed on.
        """
        weights, inputs = self._weights, examples.inputs
        base = weights.known_version()
        keys, index = distinct(inputs.ids)
        pooled = pool(weights.table.read(keys), index, self._starts)
        model, loss = self._model, self._model.loss
        moments = moments_of(inputs.dense)
        x = standardize(inputs.dense, merge(weights.moments, moments))
        scores = loss.link.prediction(model.outputs(weights.dense, x, pooled))
        residual = loss.residual(examples.labels, scores)
        dense, upstream = model.backward(weights.dense, x, pooled, residual)
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=dense,
            keys=keys,
            rows=scatter(upstream, index, self._starts, len(keys)),
            dense_squares=dense_squares(model, weights.dense, x, pooled, residual),
            row_squares=scatter_squares(upstream, index, self._starts, len(keys)),
            labels=examples.labels,
            scores=scores,
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
            moments=moments,
        )
