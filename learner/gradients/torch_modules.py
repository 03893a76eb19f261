"""TODO-DOC."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

from freshrank.actors.errors import ConfigError
from freshrank.learner.models.base import Model
from freshrank.learner.models.deepfm import BoundDeepFM, DeepFMShape
from freshrank.learner.models.logistic_regression import BoundLogistic

Tensor: TypeAlias = torch.Tensor


class TorchLogisticRegression(nn.Module):
    """Bias, one weight a dense input, and the fields' weights as they come."""

    def __init__(self, model: BoundLogistic) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.from_numpy(model.initial()))

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Logits [n] from dense inputs [n, d] and pooled rows [n, F, 1]."""
        return self.flat[0] + x @ self.flat[1:] + pooled[:, :, 0].sum(dim=1)


class TorchDeepFM(nn.Module):
    """`DeepFM` with its dense weights in one flat parameter, laid out as `DeepFMShape` says."""

    def __init__(self, model: BoundDeepFM) -> None:
        super().__init__()
        self.shape: DeepFMShape = model.shape
        self.flat = nn.Parameter(torch.from_numpy(model.initial()))

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Logits [n] from dense inputs [n, d] and pooled rows [n, F, 1 + k]."""
        shape, flat = self.shape, self.flat
        vectors = pooled[:, :, 1:]
        start = 1 + shape.dense
        stop = start + shape.dense * shape.embedding_dim
        embedding = flat[start:stop].view(shape.dense, shape.embedding_dim)
        total = vectors.sum(dim=1) + x @ embedding
        squares = vectors.square().sum(dim=1) + x.square() @ embedding.square()
        pairs = 0.5 * (total.square() - squares).sum(dim=1)

        values = torch.cat([vectors.flatten(start_dim=1), x], dim=1)
        for number, (wide, out) in enumerate(shape.layers):
            weights = flat[stop : stop + wide * out].view(wide, out)
            bias = flat[stop + wide * out : stop + wide * out + out]
            stop += wide * out + out
            values = values @ weights + bias
            if number < len(shape.layers) - 1:
                values = torch.relu(values)
        return flat[0] + x @ flat[1:start] + pooled[:, :, 0].sum(dim=1) + pairs + values[:, 0]


def torch_module(model: Model) -> TorchLogisticRegression | TorchDeepFM:
    """The module of `model`; raises ConfigError where there is none."""
    if isinstance(model, BoundLogistic):
        return TorchLogisticRegression(model)
    if isinstance(model, BoundDeepFM):
        return TorchDeepFM(model)
    raise ConfigError("model", f"{model!r} has no torch module", "Take a compiled differentiator.")
