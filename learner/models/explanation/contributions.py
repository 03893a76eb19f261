"""What each input adds to an output: by the model itself where it can, else by differences."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.base import Model
from freshrank.learner.models.explanation.integrated_gradients import along_path


class Contributions(NamedTuple):
    """What the outputs of ``n`` rows are made of; base and contributions add up to the output.

    Of a model of classes they are of the output of each row's likeliest one.
    The base is the output of inputs of zero: dense inputs at their mean, and no ids.
    """

    base: Doubles
    """float64[n]."""
    dense: Doubles
    """float64[n, d]: of each dense input."""
    fields: Doubles
    """float64[n, F]: of each id field, all ids of a bag together."""


@runtime_checkable
class WithContributions(Protocol):
    """A model that computes by itself what its inputs contribute: exactly, or faster."""

    def contributions(self, dense: Floats, x: Floats, pooled: Floats) -> Contributions:
        """Of the outputs of dense weights [p], inputs [n, d] and pooled rows [n, F, w]."""
        ...


def contributions(model: Model, dense: Floats, x: Floats, pooled: Floats) -> Contributions:
    """See `WithContributions`; of any other model integrated gradients (`along_path`).

    >>> import numpy as np
    >>> from freshrank.actors.messages import IdField, InputLayout
    >>> from freshrank.learner.models.logistic_regression import LogisticRegression
    >>> model = LogisticRegression().bind(InputLayout(("price",), (IdField("item"),)))
    >>> weights, x = np.array([0.5, 2.0], np.float32), np.array([[3.0]], np.float32)
    >>> found = contributions(model, weights, x, np.array([[[-1.0]]], np.float32))
    >>> found.base.tolist(), found.dense.tolist(), found.fields.tolist()
    ([0.5], [[6.0]], [[-1.0]])
    """
    if isinstance(model, WithContributions):
        return model.contributions(dense, x, pooled)
    base, each = along_path(model, dense, x, pooled)
    return Contributions(base, each[:, : x.shape[1]], each[:, x.shape[1] :])
