"""DeepFM as pipelines declare it, and bound to its inputs; `DeepFMShape` has its mathematics."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, InputLayout, Ints
from freshrank.actors.messages.kept_layout import LayoutChange
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import Array, fingerprint_of, first_weights
from freshrank.learner.models.deepfm_shape import DeepFMShape
from freshrank.learner.models.explanation.contributions import Contributions
from freshrank.learner.models.explanation.perceptron import perceptron_contributions
from freshrank.learner.models.losses import LogLoss, Loss, learns_scale, prior_logit


@dataclass(frozen=True)
class DeepFM:
    """A factorisation machine and a multi-layer perceptron over shared embeddings.

    Guo, Tang, Ye, Li, He: "DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction", IJCAI 2017. A bag (an id field of several ids) counts as one field whose vector
    is the mean of its ids'. Dense inputs are fields of the factorisation machine whose embedding
    is scaled by their value; the perceptron sees the values themselves.

    Parameters
    ----------
    embedding_dim
        Length of an id's vector; its table row is one longer (the linear weight comes first).
    hidden
        Widths of the perceptron's layers (ReLU).
    base_rate
        The share of positives that is expected: the first predictions are close to it.
    seed
        Of all random initial values.
    loss
        What is made small, and what the output means; may be one of the pipeline's own.
    """

    embedding_dim: int = 8
    hidden: tuple[int, ...] = (32,)
    base_rate: float = 0.5
    seed: int = field(default=0, kw_only=True)
    # Not in the repr, which is a part of fingerprints that are older than it.
    loss: Loss = field(default=LogLoss(), kw_only=True, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list is welcome, too
        if self.embedding_dim < 1:
            raise ConfigError("DeepFM.embedding_dim", "no vector at all", "Give 1 or more.")
        if any(width < 1 for width in self.hidden):
            raise ConfigError("DeepFM.hidden", f"{self.hidden!r}", "Give widths of 1 or more.")
        prior_logit(self.base_rate, "DeepFM.base_rate")

    def bind(self, layout: InputLayout) -> BoundDeepFM:
        """Settle the sizes for inputs of `layout`."""
        return BoundDeepFM(self, layout)


@dataclass(frozen=True)
class BoundDeepFM:
    """`DeepFM` on known inputs; the flat vector's parts are those of `DeepFMShape`."""

    spec: DeepFM
    layout: InputLayout

    @cached_property
    def shape(self) -> DeepFMShape:
        """Where each part lies in the flat vector."""
        layout, spec = self.layout, self.spec
        return DeepFMShape(len(layout.dense), len(layout.fields), spec.embedding_dim, spec.hidden)

    @property
    def fingerprint(self) -> str:
        """See `Model`."""
        return fingerprint_of(self.spec, self.layout, self.loss)

    @property
    def loss(self) -> Loss:
        """See `Model`."""
        return self.spec.loss

    @property
    def dense_size(self) -> int:
        """``p``."""
        return self.shape.size

    @property
    def rows(self) -> RowInit:
        """Linear weight at zero; embedding uniform with a standard deviation of 0.01.

        Small, so that the factorisation machine starts close to a linear model.
        """
        scale = 0.01 * math.sqrt(3.0)
        return RowInit(width=1 + self.spec.embedding_dim, scale=scale, seed=self.spec.seed)

    def initial(self) -> Floats:
        """Bias at the base rate, layers by He et al. (2015), linear weights as `first_weights`.

        Where labels give outputs their scale, it is `prior` alone that has the base rate.
        """
        dense = self.shape.initial(self.spec.seed)
        self.shape.split(dense)[0][:] = first_weights(self.layout)
        if learns_scale(self.loss):
            return dense
        dense[0] = self.loss.link.output(np.array([self.spec.base_rate], np.float32))[0]
        return dense

    @property
    def prior(self) -> float:
        """See `WithPrior`."""
        return self.spec.base_rate

    def rebound(self, layout: InputLayout) -> BoundDeepFM:
        """See `Rebindable`."""
        return replace(self, layout=layout)

    def places_before(self, change: LayoutChange) -> Ints:
        """See `Rebindable` and `DeepFMShape.places_in`."""
        before = self.rebound(change.before.layout)
        return self.shape.places_in(before.shape, change.dense, change.fields)

    @property
    def linear_size(self) -> int:
        """See `WithLinearPart`."""
        return 1 + self.shape.dense

    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """See `Model`."""
        return self.shape.outputs(dense, x, pooled)

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """See `Model`."""
        gradient, _, of_pooled = self.shape.backward_with_squares(dense, x, pooled, upstream)
        return gradient, of_pooled

    def backward_with_squares(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """See `WithSquares`."""
        return self.shape.backward_with_squares(dense, x, pooled, upstream)

    def contributions(self, dense: Floats, x: Floats, pooled: Floats) -> Contributions:
        """See `WithContributions`: the integrated gradients, without an error of discretisation.

        Of the product of two inputs' vectors each gets half, which is what the integral gives.
        """
        linear, embedding, layers = self.shape.split(dense)
        vectors = pooled[:, :, 1:].astype(np.float64)
        scaled = x[:, :, None] * embedding.astype(np.float64)
        total = (vectors.sum(axis=1) + scaled.sum(axis=1))[:, None, :]
        width = len(self.layout.fields) * self.spec.embedding_dim
        flat = np.concatenate([vectors.reshape(len(x), width), x], axis=1)
        base, deep = perceptron_contributions(layers, flat)
        of_x = x * linear.astype(np.float64) + 0.5 * (scaled * (total - scaled)).sum(axis=2)
        of_fields = pooled[:, :, 0] + 0.5 * (vectors * (total - vectors)).sum(axis=2)
        return Contributions(
            np.full(len(x), float(dense[0]) + base),
            of_x + deep[:, width:],
            of_fields + deep[:, :width].reshape(vectors.shape).sum(axis=2),
        )
