"""Gradients of examples by NumPy and compiled kernels, for processes without torch."""

from __future__ import annotations

from freshrank.actors.messages import Examples
from freshrank.learner.gradients.batch import BatchDifferentiator, Derivatives, PartInputs
from freshrank.learner.gradients.squares import with_squares
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.target_scale import TargetScale
from freshrank.learner.parameters.weights import ModelWeights


class CompiledDifferentiator(BatchDifferentiator):
    """Derivatives by the model's own `backward`."""

    def __init__(self, model: Model, weights: ModelWeights) -> None:
        super().__init__(model, weights)
        self._with_squares = with_squares(model)

    def _derivatives(self, at: PartInputs, examples: Examples, target: TargetScale) -> Derivatives:
        outputs = self._model.outputs(*at)
        scores = self._weights.target.predictions(outputs)
        predictions = scores if target.plain else target.predictions(outputs)
        residuals = target.residuals(
            examples.labels, examples.corrects, predictions, examples.weights
        )
        gradients = self._with_squares.backward_with_squares(*at, residuals)
        return Derivatives(outputs, scores, residuals, *gradients)
