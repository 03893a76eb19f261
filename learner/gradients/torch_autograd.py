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
from freshrank.actors.messages import Examples, Floats, Gradient
from freshrank.learner.embeddings.pooling import (
    distinct,
    field_starts,
    pool,
    scatter,
    scatter_squares,
)
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.input_moments import merge, moments_of, standardize
from freshrank.learner.parameters.weights import ModelWeights

# Examples whose single gradients are in the device's memory at once.
_AT_ONCE = 256


class TorchDifferentiator:
    """The gradient of the model's loss by autograd, at the weights that `weights` presently holds.

    Parameters
    ----------
    model, weights
        What is differentiated, and where. The table stays in main memory: only the pooled rows of
        the batch travel to the device.
    device
        ``"cuda"``, ``"cpu"``, or ``"auto"``: a GPU where there is one.

    Raises ConfigError when ``model.outputs`` cannot be computed on tensors.
    """

    def __init__(self, model: Model, weights: ModelWeights, device: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._model = model
        self._weights = weights
        self._starts = field_starts(model.layout)
        self._reference: ModelWeights | None = None
        self._try_out()

    @property
    def device(self) -> str:
        """The torch device that computes."""
        return str(self._device)

    def freeze_reference(self) -> None:
        """See `CompiledDifferentiator.freeze_reference`."""
        self._reference = self._weights.copy()

    def gradient(self, examples: Examples) -> Gradient:
        """See `CompiledDifferentiator.gradient`."""
        weights, inputs, loss = self._weights, examples.inputs, self._model.loss
        base = weights.known_version()
        keys, where = distinct(inputs.ids)
        dense = self._tensor(weights.dense).requires_grad_()
        table_rows = pool(weights.table.read(keys), where, self._starts)
        pooled = self._tensor(table_rows).requires_grad_()
        moments = moments_of(inputs.dense)
        x = self._tensor(standardize(inputs.dense, merge(weights.moments, moments)))
        outputs = self._model.outputs(dense, x, pooled)
        scores = loss.link.prediction(_array(outputs))
        residual = self._tensor(loss.residual(examples.labels, scores))
        of_dense, of_pooled = torch.autograd.grad(
            outputs, [dense, pooled], residual, allow_unused=True, materialize_grads=True
        )
        upstream = _array(of_pooled)
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=_array(of_dense),
            keys=keys,
            rows=scatter(upstream, where, self._starts, len(keys)),
            dense_squares=_array(self._squares(dense, x, pooled, residual)),
            row_squares=scatter_squares(upstream, where, self._starts, len(keys)),
            labels=examples.labels,
            scores=scores,
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
            moments=moments,
        )

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
