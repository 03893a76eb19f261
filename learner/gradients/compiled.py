"""Gradients of examples by NumPy and compiled kernels, for processes without torch."""

from __future__ import annotations

from freshrank.actors.messages import Examples, Floats
from freshrank.learner.gradients.batch import BatchDifferentiator, Derivatives
from freshrank.learner.gradients.squares import backward_with_squares
from freshrank.learner.models.losses import residuals_of


class CompiledDifferentiator(BatchDifferentiator):
    """Derivatives by the model's own `backward`."""

    def _derivatives(self, x: Floats, pooled: Floats, examples: Examples) -> Derivatives:
        model, dense, loss = self._model, self._weights.dense, self._model.loss
        scores = loss.link.prediction(model.outputs(dense, x, pooled))
        residuals = residuals_of(loss, examples.labels, examples.corrects, scores)
        gradients = backward_with_squares(model, dense, x, pooled, residuals)
        return Derivatives(scores, residuals, *gradients)
