"""The gradient of a batch of examples, whatever computes the derivatives of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Examples, Floats, Gradient
from freshrank.learner.embeddings.pooling import (
    distinct,
    field_starts,
    pool,
    scatter,
)
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import sums_of
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.input_moments import merge
from freshrank.learner.parameters.probes import probes_of
from freshrank.learner.parameters.target_scale import (
    TargetScale,
    example_moments,
    input_scale,
    target_scale,
)
from freshrank.learner.parameters.weights import ModelWeights


class Derivatives(NamedTuple):
    """What a model gives for ``n`` examples at some weights."""

    scores: Floats
    """float32[n]: predictions."""
    residuals: Floats
    """float32[n]: the derivatives of the loss by the outputs."""
    dense: Floats
    """float32[p]: the gradient of the loss."""
    dense_squares: Floats
    """float32[p]: the sum of the squares of each example's gradient."""
    pooled: Floats
    """float32[n, F, w]: the gradient of the loss."""


class BatchDifferentiator(ABC):
    """The gradient of the model's loss at the weights that `weights` presently holds.

    The table stays in main memory: only the pooled rows of a batch are given to `_derivatives`.
    """

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
        moments = example_moments(self._model, examples, weights.moments)
        merged = merge(weights.moments, moments)
        x, ids = prepared(inputs, input_scale(self._model, merged))
        keys, index = distinct(ids)
        pooled = pool(weights.table.read(keys), index, self._starts)
        target = target_scale(self._model, merged)
        found = self._derivatives(x, pooled, examples, target)
        rows, row_squares, row_counts = scatter(found.pooled, index, self._starts, len(keys))
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=found.dense,
            keys=keys,
            rows=rows,
            dense_squares=found.dense_squares,
            row_squares=row_squares,
            row_counts=row_counts,
            labels=examples.labels,
            scores=found.scores,
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
            moments=moments,
            corrects=examples.corrects,
            served=examples.served,
            origins=examples.origins,
            probes=probes_of(examples, ids, found.residuals),
            residuals=None if target.plain else sums_of(found.residuals),
            weights=examples.weights,
        )

    @abstractmethod
    def _derivatives(
        self, x: Floats, pooled: Floats, examples: Examples, target: TargetScale
    ) -> Derivatives:
        """Of the loss of `examples`, by their standardised inputs [n, d] and pooled [n, F, w].

        Residuals are those of `target`, which knows the labels; the scores are of the weights that
        do not.
        """
