"""Gradients of examples by NumPy and compiled kernels, for processes without torch."""

from __future__ import annotations

from freshrank.actors.messages import Examples, Floats
from freshrank.learner.gradients.batch import BatchDifferentiator, Derivatives
from freshrank.learner.gradients.squares import backward_with_squares
from freshrank.learner.parameters.target_scale import TargetScale


class CompiledDifferentiator(BatchDifferentiator):
    """Derivatives by the model's own `backward`."""

    def _derivatives(
        self, x: Floats, pooled: Floats, examples: Examples, target: TargetScale
    ) -> Derivatives:
        model, dense = self._model, self._weights.dense
        outputs = model.outputs(dense, x, pooled)
        scores = self._weights.target.predictions(outputs)
        predictions = scores if target.plain else target.predictions(outputs)
        residuals = target.residuals(
            examples.labels, examples.corrects, predictions, examples.weights
        )
        gradients = backward_with_squares(model, dense, x, pooled, residuals)
        return Derivatives(scores, residuals, *gradients)
