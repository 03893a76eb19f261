"""Softmax regression: a linear model of several classes, and the loss that it is trained by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from freshrank.actors.messages import Doubles, Floats, InputLayout, Ints
from freshrank.actors.messages.kept_layout import LayoutChange
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import SPURIOUS_FLAGS, Array, fingerprint_of, moved
from freshrank.learner.models.explanation.contributions import Contributions
from freshrank.learner.models.losses import LEAST_PROBABILITY, Loss


@dataclass(frozen=True)
class SoftmaxLink:
    """The prediction is the probability of each class, the outputs differ by their log-odds.

    >>> SoftmaxLink().prediction(np.array([[0.0, 0.0], [2000.0, 0.0]], np.float32)).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    def prediction(self, outputs: Floats) -> Floats:
        """float32[n, c]: see `Link`; what is added to all outputs of a row changes nothing."""
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        found: Floats = powers / powers.sum(axis=1, keepdims=True)
        return found

    def output(self, predictions: Floats) -> Doubles:
        """float64[n, c]: see `Link`; the outputs whose exponentials add up to 1."""
        return np.log(np.maximum(predictions.astype(np.float64), LEAST_PROBABILITY))


@dataclass(frozen=True)
class SoftmaxLoss(Loss):
    """``-log p(label)`` in nats, of the probability that the softmax of outputs gives a class.

    Parameters
    ----------
    names
        Of the classes, in the order of the outputs. A pipeline gives those of its label.

    >>> loss, likely = SoftmaxLoss(("a", "b", "c")), np.array([[0.5, 0.25, 0.25]], np.float32)
    >>> loss.value(np.array([1], np.float32), likely).round(4)
    array([1.3863])
    >>> loss.residual(np.array([1], np.float32), likely).tolist()
    [[0.5, -0.75, 0.25]]
    """

    names: tuple[str, ...] = ()

    @property
    def link(self) -> SoftmaxLink:
        """From an output for each class to its probability."""
        return SoftmaxLink()

    @property
    def binary(self) -> bool:
        """False: labels are the places of classes."""
        return False

    @property
    def classes(self) -> tuple[str, ...]:
        """See `Loss`."""
        return self.names

    def with_classes(self, names: tuple[str, ...]) -> Self:
        """See `Loss`."""
        return replace(self, names=names)

    @property
    def name(self) -> str:
        """``log_loss``: of two classes it is that of a probability."""
        return "log_loss"

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`. At most 16 nats."""
        own = predictions[np.arange(len(labels)), labels.astype(np.int64)]
        return -np.log(np.maximum(own.astype(np.float64), LEAST_PROBABILITY))

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """float32[n, c]: ``p``, less 1 at the label's class."""
        found = predictions.copy()
        found[np.arange(len(labels)), labels.astype(np.int64)] -= np.float32(1.0)
        return found

    def label_moments(self, labels: Floats) -> Doubles:
        """float64[n, c]: 1 at the class of each; their mean is the share of each class."""
        found = np.zeros((len(labels), len(self.names)))
        found[np.arange(len(labels)), labels.astype(np.int64)] = 1.0
        return found

    def constant_of(self, moments: Doubles) -> Floats:
        """float32[c]: the share of each class."""
        return moments.astype(np.float32)

    def of_moments(self, moments: Doubles) -> float:
        """The entropy of the class in nats.

        >>> round(SoftmaxLoss(("a", "b")).of_moments(np.array([0.5, 0.5])), 4)
        0.6931
        """
        shares = moments[moments > 0.0]
        return float(-(shares * np.log(shares)).sum())

    def least_evidence(self, of_constant: float) -> float:
        """60 nats, as of `LogLoss`: three or four sure mistakes."""
        return 60.0


@dataclass(frozen=True)
class SoftmaxRegression:
    """For each class one weight per id and per dense input, and a bias; gives probabilities.

    The classes are those of the pipeline's label: ``Labelled(target="kind", classes=[...])``. All
    have a weight of their own, so none of them is the one that the others are compared with.

    Parameters
    ----------
    loss
        What is made small; a pipeline gives it the classes of its label.
    """

    # Not in the repr: fingerprints name it, and with it the classes, themselves.
    loss: Loss = field(default=SoftmaxLoss(), kw_only=True, repr=False)

    def bind(self, layout: InputLayout) -> BoundSoftmax:
        """Settle the sizes for inputs of `layout`."""
        return BoundSoftmax(self, layout, self.loss)


@dataclass(frozen=True)
class BoundSoftmax:
    """A softmax regression on known inputs.

    Dense weights are a matrix [1 + d, c], row by row: the biases, then those of each dense input. A
    table row has a weight for each class. Outputs are [n, c].
    """

    spec: object
    """What a user named: its ``repr`` makes the fingerprint."""
    layout: InputLayout
    loss: Loss

    @property
    def fingerprint(self) -> str:
        """See `Model`."""
        return fingerprint_of(self.spec, self.layout, self.loss)

    @property
    def dense_size(self) -> int:
        """``(1 + d) * c``."""
        return (1 + len(self.layout.dense)) * self._classes

    @property
    def rows(self) -> RowInit:
        """One weight an id and class, starting at zero."""
        return RowInit(width=self._classes, scale=0.0, seed=0)

    def initial(self) -> Floats:
        """All zero: every class is as probable."""
        return np.zeros(self.dense_size, np.float32)

    def rebound(self, layout: InputLayout) -> BoundSoftmax:
        """See `Rebindable`."""
        return replace(self, layout=layout)

    def places_before(self, change: LayoutChange) -> Ints:
        """See `Rebindable`: a row of the matrix moves as a whole, the first one stays."""
        inputs = 1 + len(change.before.dense)
        rows = np.arange(inputs * self._classes).reshape(inputs, self._classes)
        kept: Ints = moved(rows[1:], change.dense)
        return np.concatenate([rows[:1], kept]).ravel()

    @SPURIOUS_FLAGS
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """``b + x·V + sum of the fields' weights``, for each class."""
        weights = dense.reshape(-1, self._classes)
        outputs: Array = weights[0] + x @ weights[1:] + pooled.sum(1)
        return outputs

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """See `Model`; `upstream` is float32[n, c]."""
        each = np.broadcast_to(upstream[:, None, :], pooled.shape)
        return _summed(x, upstream), np.ascontiguousarray(each)

    def backward_with_squares(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """See `WithSquares`."""
        gradient, of_pooled = self.backward(dense, x, pooled, upstream)
        return gradient, _summed(np.square(x), np.square(upstream)), of_pooled

    def contributions(self, dense: Floats, x: Floats, pooled: Floats) -> Contributions:
        """See `WithContributions`: of the likeliest class of each row, its bias and its weights."""
        likeliest = self.outputs(dense, x, pooled).argmax(axis=1)
        weights = dense.reshape(-1, self._classes).astype(np.float64).T[likeliest]
        own = np.take_along_axis(pooled, likeliest[:, None, None], axis=2)[:, :, 0]
        return Contributions(weights[:, 0], x * weights[:, 1:], own.astype(np.float64))

    @property
    def _classes(self) -> int:
        return len(self.loss.classes)


@SPURIOUS_FLAGS
def _summed(x: Floats, upstream: Floats) -> Floats:
    """float32[(1 + d) * c]: sums over rows of ``upstream``, and of its products with `x`."""
    return np.concatenate([upstream.sum(axis=0)[None], x.T @ upstream]).ravel()
