"""Gradients of examples by torch, for a GPU.

Importing this module imports torch, which takes seconds and half a gigabyte: only a process that
differentiates with it does. The model's own `Model.outputs` runs on tensors, so its gradients agree
with those of `compiled` up to rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Examples, Floats, Gradient, Inputs, Ints
from freshrank.learner.embeddings.pooling import distinct, field_starts
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.weights import ModelWeights


def pool_bags(rows: Tensor, where: Tensor, starts: Ints) -> Tensor:
    """[n, F, w]: the mean row of each field; `where` int64[n, f] holds -1 for absent ids."""
    present = (where >= 0).to(rows.dtype)
    looked_up = torch.cat([rows.new_zeros(1, rows.shape[1]), rows])[where + 1]
    fields = torch.from_numpy(np.repeat(np.arange(len(starts) - 1), np.diff(starts)))
    fields = fields.to(rows.device)
    shape = (len(where), len(starts) - 1)
    sums = rows.new_zeros(*shape, rows.shape[1]).index_add(1, fields, looked_up)
    counts = rows.new_zeros(*shape).index_add(1, fields, present)
    return sums / counts.clamp(min=1.0)[:, :, None]


class TorchDifferentiator:
    """The gradient of the model's loss by autograd, at the weights that `weights` presently holds.

    Parameters
    ----------
    model, weights
        What is differentiated, and where. The table stays in main memory: only the rows of the
        batch travel to the device.
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
        rows = self._tensor(weights.table.read(keys)).requires_grad_()
        outputs = self._outputs(dense, rows, inputs, where)
        scores = loss.link.prediction(_array(outputs))
        residual = self._tensor(loss.residual(examples.labels, scores))
        of_dense, of_rows = torch.autograd.grad(
            outputs, [dense, rows], residual, allow_unused=True, materialize_grads=True
        )
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=_array(of_dense),
            keys=keys,
            rows=_array(of_rows),
            labels=examples.labels,
            scores=scores,
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
        )

    def _outputs(self, dense: Tensor, rows: Tensor, inputs: Inputs, where: Ints) -> Tensor:
        pooled = pool_bags(rows, torch.from_numpy(where).to(self._device), self._starts)
        return self._model.outputs(dense, self._tensor(inputs.dense), pooled)

    def _try_out(self) -> None:
        layout, width = self._model.layout, self._model.rows.width
        nothing = Inputs(
            np.zeros((1, len(layout.dense)), np.float32),
            np.zeros((1, layout.id_width), np.int64),
        )
        dense = self._tensor(self._model.initial()).requires_grad_()
        rows = self._tensor(np.zeros((0, width), np.float32)).requires_grad_()
        where = np.full(nothing.ids.shape, -1, np.int64)
        try:
            outputs = self._outputs(dense, rows, nothing, where)
            torch.autograd.grad(outputs.sum(), [dense, rows], allow_unused=True)
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
