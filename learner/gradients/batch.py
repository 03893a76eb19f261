"""The gradient of a batch of examples, whatever computes the derivatives of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from freshrank.actors.messages import Examples, Floats, Gradient
from freshrank.learner.embeddings.pooling import distinct
from freshrank.learner.gradients.in_order import PartLengths
from freshrank.learner.gradients.local_weights import LocalWeights
from freshrank.learner.gradients.parts import (
    Batch,
    Derivatives,
    LearnedParts,
    ModelParts,
    PartInputs,
    PartLabels,
)
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import sums_of, within_slates
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.input_moments import merge
from freshrank.learner.parameters.probes import probes_of
from freshrank.learner.parameters.served_weights import served_copy
from freshrank.learner.parameters.target_scale import (
    TargetScale,
    example_moments,
    input_scale,
    target_scale,
)
from freshrank.learner.parameters.weights import ModelWeights


class BatchDifferentiator(ABC):
    """The gradient of the model's loss at the weights that `weights` presently holds.

    With the optimiser of these weights the examples are learned in order meanwhile
    (`freshrank.learner.gradients.in_order`). The table stays in main memory: only the pooled rows
    of a batch are given to `_derivatives`.
    """

    def __init__(self, model: Model, weights: ModelWeights) -> None:
        self._model = model
        self._weights = weights
        self._reference: ModelWeights | None = None

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights, which scores beside them from now on.

        Raises Unavailable before the first snapshot of the weights.
        """
        self._reference = served_copy(self._weights)

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
        target = target_scale(self._model, merged)
        offsets = np.zeros(len(x), np.float32) if self._model.loss.listwise else None
        labels = PartLabels(examples.labels, examples.corrects, examples.weights, offsets)
        parts = self._parts(Batch(x, index, labels, target), LocalWeights(weights, keys))
        young = weights.optimizer is not None and not weights.examples
        found = parts.learned(PartLengths(len(x), self._model.dense_size, young=young))
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=found.dense,
            keys=keys,
            rows=found.rows.sums,
            dense_squares=found.dense_squares,
            row_squares=found.rows.squares,
            row_counts=found.rows.counts,
            labels=examples.labels,
            scores=found.scores,
            reference_scores=self._compared(examples),
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
            moments=moments,
            corrects=examples.corrects,
            served=self._told(examples, _judged(examples.served, found.served)),
            origins=examples.origins,
            probes=probes_of(examples, ids, found.residuals, offsets),
            residuals=None if target.plain else sums_of(found.residuals),
            weights=examples.weights,
            in_order=weights.optimizer is not None,
        )

    def _compared(self, examples: Examples) -> Floats | None:
        """The predictions of the reference."""
        reference = self._reference
        return self._told(examples, reference.score(examples.inputs) if reference else None)

    def _told(self, examples: Examples, predictions: Floats | None) -> Floats | None:
        """Predictions that were served, as those of the loss."""
        if predictions is None:
            return None
        return within_slates(self._model.loss, examples.labels, predictions)

    def _parts(self, batch: Batch, local: LocalWeights) -> LearnedParts:
        return ModelParts(self._model, self._derivatives, batch, local)

    @abstractmethod
    def _derivatives(self, at: PartInputs, known: PartLabels, target: TargetScale) -> Derivatives:
        """Of the loss of examples.

        Residuals are those of `target`, which knows the labels; the scores are of the weights that
        do not.
        """


def _judged(served: Floats | None, of_averages: Floats | None) -> Floats | None:
    """What was served, or else what the averages predict that would have been."""
    if served is None or of_averages is None:
        return of_averages if served is None else served
    return np.where(np.isnan(served), of_averages, served)
