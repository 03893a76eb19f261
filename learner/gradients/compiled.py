"""Gradients of examples by NumPy and compiled kernels, for processes without torch."""

from __future__ import annotations

from freshrank.learner.gradients.batch import BatchDifferentiator
from freshrank.learner.gradients.linear_parts import LinearParts, has_kernel
from freshrank.learner.gradients.local_weights import LocalWeights
from freshrank.learner.gradients.parts import (
    Batch,
    Derivatives,
    LearnedParts,
    PartInputs,
    PartLabels,
)
from freshrank.learner.gradients.squares import with_squares
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.target_scale import TargetScale
from freshrank.learner.parameters.weights import ModelWeights


class CompiledDifferentiator(BatchDifferentiator):
    """Derivatives by the model's own `backward`."""

    def __init__(self, model: Model, weights: ModelWeights) -> None:
        super().__init__(model, weights)
        self._with_squares = with_squares(model)

    def _parts(self, batch: Batch, local: LocalWeights) -> LearnedParts:
        if has_kernel(self._model, self._weights.optimizer):
            return LinearParts(self._model, batch, local)
        return super()._parts(batch, local)

    def _derivatives(self, at: PartInputs, known: PartLabels, target: TargetScale) -> Derivatives:
        outputs = self._model.outputs(*at)
        scores = known.predictions(self._weights.target, outputs)
        predictions = scores if target.plain else known.predictions(target, outputs)
        residuals = known.residuals(target, predictions)
        gradients = self._with_squares.backward_with_squares(*at, residuals)
        return Derivatives(outputs, scores, residuals, *gradients)
