"""Gradients of examples by torch, for a GPU.

Importing this module imports torch, which takes seconds and half a gigabyte: only a process that
differentiates with it does. The model's own `Model.outputs` runs on tensors, so its gradients agree
with those of `compiled` up to rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats
from freshrank.learner.gradients.batch import BatchDifferentiator
from freshrank.learner.gradients.parts import Derivatives, PartInputs, PartLabels
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.target_scale import TargetScale
from freshrank.learner.parameters.weights import ModelWeights

# Examples whose single gradients are in the device's memory at once.
_AT_ONCE = 256


class TorchDifferentiator(BatchDifferentiator):
    """The gradient of the model's loss by autograd, at the weights that `weights` presently holds.

    Parameters
    ----------
    model, weights
        What is differentiated, and where.
    device
        ``"cuda"``, ``"cpu"``, or ``"auto"``: a GPU where there is one.

    Raises ConfigError when ``model.outputs`` cannot be computed on tensors.
    """

    def __init__(self, model: Model, weights: ModelWeights, device: str = "auto") -> None:
        super().__init__(model, weights)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._try_out()

    @property
    def device(self) -> str:
        """The torch device that computes."""
        return str(self._device)

    def _derivatives(self, at: PartInputs, known: PartLabels, target: TargetScale) -> Derivatives:
        inputs = self._tensor(at.x)
        dense, rows = (self._tensor(one).requires_grad_() for one in (at.dense, at.pooled))
        outputs = self._model.outputs(dense, inputs, rows)
        raw = _array(outputs)
        scores = known.predictions(self._weights.target, raw)
        predictions = scores if target.plain else known.predictions(target, raw)
        residuals = known.residuals(target, predictions)
        upstream = self._tensor(residuals)
        of_dense, of_rows = torch.autograd.grad(
            outputs, [dense, rows], upstream, allow_unused=True, materialize_grads=True
        )
        squares = self._squares(dense, inputs, rows, upstream)
        of_all = (_array(one) for one in (of_dense, squares, of_rows))
        return Derivatives(raw, scores, residuals, *of_all)

    def _squares(self, dense: Tensor, x: Tensor, pooled: Tensor, residual: Tensor) -> Tensor:
        """[p]: the sum over rows of the squared gradient of each."""

        def one(flat: Tensor, inputs: Tensor, rows: Tensor, upstream: Tensor) -> Tensor:
            return (self._model.outputs(flat, inputs[None], rows[None]) * upstream).sum()

        each = vmap(grad(one), in_dims=(None, 0, 0, 0))
        found = torch.zeros_like(dense)
        parts = (torch.split(part.detach(), _AT_ONCE) for part in (x, pooled, residual))
        for some in zip(*parts, strict=True) if len(x) else ():
            found += each(dense.detach(), *some).square().sum(0)
        return found

    def _try_out(self) -> None:
        layout, width = self._model.layout, self._model.rows.width
        x = np.zeros((1, len(layout.dense)), np.float32)
        dense = self._tensor(self._model.initial()).requires_grad_()
        pooled = self._tensor(np.zeros((1, len(layout.fields), width), np.float32))
        try:
            outputs = self._model.outputs(dense, self._tensor(x), pooled.requires_grad_())
            torch.autograd.grad(outputs.sum(), [dense, pooled], allow_unused=True)
            self._squares(dense, self._tensor(x), pooled, outputs.detach())
        except (AttributeError, RuntimeError, TypeError) as error:
            raise ConfigError(
                "model",
                f"its outputs cannot be computed on torch tensors ({error})",
                'Use what NumPy and torch share in `outputs`, or set learner.device = "cpu".',
            ) from error

    def _tensor(self, array: Floats) -> Tensor:
        return torch.tensor(array, device=self._device)


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().cpu().numpy()
    return array
