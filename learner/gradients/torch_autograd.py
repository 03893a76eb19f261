"""The same models as torch modules, for a GPU or for layers that torch does better.

Importing this module imports torch (seconds, half a gigabyte): only who differentiates with it
does. Its figures agree with those of the compiled models, which serve.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from freshrank.actors.messages import Examples, Floats, Gradient, Inputs, Ints
from freshrank.learner.embeddings.pooling import distinct, field_starts
from freshrank.learner.gradients.torch_modules import Tensor, torch_module
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
    """The log loss's gradient by autograd, at the weights that `weights` presently holds.

    Parameters
    ----------
    model, weights
        What is differentiated, and where. The table stays in main memory: only the rows of the
        batch travel to the device.
    device
        ``"cuda"``, ``"cpu"``, or ``"auto"``: a GPU where there is one.
    """

    def __init__(self, model: Model, weights: ModelWeights, device: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._module = torch_module(model).to(self._device)
        self._weights = weights
        self._starts = field_starts(model.layout)
        self._reference: ModelWeights | None = None

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self._device)

    def freeze(self) -> None:
        """See `CompiledDifferentiator.freeze`."""
        self._reference = self._weights.copy()

    def gradient(self, examples: Examples) -> Gradient:
        """See `CompiledDifferentiator.gradient`."""
        weights, inputs = self._weights, examples.inputs
        base = weights.known_version()
        keys, where = distinct(inputs.ids)
        rows = self._tensor(weights.table.read(keys)).requires_grad_()
        logits = self._logits(weights.dense, rows, inputs, where)
        labels = self._tensor(examples.labels)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        dense, of_rows = torch.autograd.grad(
            loss, [self._module.flat, rows], allow_unused=True, materialize_grads=True
        )
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=_array(dense),
            keys=keys,
            rows=_array(of_rows),
            labels=examples.labels,
            scores=_array(torch.sigmoid(logits)),
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
        )

    def _logits(self, dense: Floats, rows: Tensor, inputs: Inputs, where: Ints) -> Tensor:
        with torch.no_grad():
            self._module.flat.copy_(self._tensor(dense))
        pooled = pool_bags(rows, torch.from_numpy(where).to(self._device), self._starts)
        logits: Tensor = self._module(self._tensor(inputs.dense), pooled)
        return logits

    def _tensor(self, array: Floats) -> Tensor:
        return torch.tensor(array, device=self._device)


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().cpu().numpy()
    return array
