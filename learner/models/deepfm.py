"""DeepFM's mathematics on plain arrays: forward and backward.

With ``b`` bias, ``v`` linear weights of the dense inputs, ``V`` (d, k) their embeddings, and for
each field its pooled row (linear weight ``l_F``, embedding ``e_F``)::

    output = b + x·v + Σ l_F + ½ Σ_k ((Σ_F e_F + Σ_j x_j V_j)² - Σ_F e_F² - Σ_j (x_j V_j)²)
              + MLP([e_1 … e_F, x])
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, InputLayout
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import SPURIOUS_FLAGS, Array, fingerprint_of, first_weights
from freshrank.learner.models.explanation.contributions import Contributions
from freshrank.learner.models.explanation.perceptron import perceptron_contributions
from freshrank.learner.models.losses import LogLoss, Loss, learns_scale, prior_logit


@dataclass(frozen=True)
class DeepFMShape:
    """The parts of the flat vector: ``[b, v (d), V (d, k), then W (in, out), c (out) a layer]``."""

    dense: int
    fields: int
    embedding_dim: int
    hidden: tuple[int, ...]

    @cached_property
    def layers(self) -> list[tuple[int, int]]:
        """(in, out) of each layer of the perceptron, the last one giving one number."""
        first = self.fields * self.embedding_dim + self.dense
        return list(itertools.pairwise((first, *self.hidden, 1)))

    @cached_property
    def size(self) -> int:
        """The length of the flat vector."""
        linear = 1 + self.dense * (1 + self.embedding_dim)
        return linear + sum(wide * out + out for wide, out in self.layers)

    def split(self, flat: Array) -> tuple[Array, Array, list[tuple[Array, Array]]]:
        """(v [d], V [d, k], [(W [in, out], c [out]), ...]) as views of `flat`."""
        at = 1 + self.dense
        linear = flat[1:at]
        embedding = flat[at : at + self.dense * self.embedding_dim]
        at += len(embedding)
        layers = []
        for wide, out in self.layers:
            weights = flat[at : at + wide * out].reshape(wide, out)
            at += wide * out
            layers.append((weights, flat[at : at + out]))
            at += out
        return linear, embedding.reshape(self.dense, self.embedding_dim), layers

    def initial(self, seed: int) -> Floats:
        """Everything random that it starts with; the bias and linear weights are zero."""
        random = np.random.Generator(np.random.PCG64(seed))
        flat = np.zeros(self.size, np.float32)
        _, embedding, layers = self.split(flat)
        embedding[:] = random.normal(0.0, 0.01, embedding.shape)
        for weights, _ in layers:
            weights[:] = random.normal(0.0, math.sqrt(2.0 / weights.shape[0]), weights.shape)
        return flat

    @SPURIOUS_FLAGS
    def outputs(self, flat: Array, x: Array, pooled: Array) -> Array:
        """float32[n]."""
        linear, embedding, layers = self.split(flat)
        vectors = pooled[:, :, 1:]
        total = vectors.sum(1) + x @ embedding
        squares = (vectors * vectors).sum(1) + (x * x) @ (embedding * embedding)
        pairs = 0.5 * (total * total - squares).sum(1)
        width, (first, bias) = self.fields * self.embedding_dim, layers[0]
        # The first layer's product in two parts: NumPy and torch name concatenation differently.
        values: Array = vectors.reshape(len(x), width) @ first[:width] + x @ first[width:] + bias
        for layer in layers[1:]:
            values = (values * (values > 0.0)) @ layer[0] + layer[1]
        outputs: Array = flat[0] + x @ linear + pooled[:, :, 0].sum(1) + pairs + values[:, 0]
        return outputs

    @SPURIOUS_FLAGS
    def backward_with_squares(
        self, flat: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Gradients of ``(outputs * upstream).sum()``: flat [p] and pooled [n, F, 1 + k].

        Between them float32[p]: the sum over rows of the squared flat gradient of each.
        """
        gradient, squares, squared = np.zeros_like(flat), np.zeros_like(flat), np.square(upstream)
        _, embedding, _ = self.split(flat)
        linear_gradient, embedding_gradient, _ = self.split(gradient)
        linear_squares, embedding_squares, _ = self.split(squares)
        inputs_squared = np.square(x)
        gradient[0], squares[0] = upstream.sum(), squared.sum()
        linear_gradient[:], linear_squares[:] = upstream @ x, squared @ inputs_squared

        # An example's gradient of V_j is x_j (t - x_j V_j) times its upstream: t sums all vectors.
        vectors = pooled[:, :, 1:]
        total = (vectors.sum(axis=1) + x @ embedding) * upstream[:, None]
        embedding_gradient[:] = x.T @ total - (upstream @ inputs_squared)[:, None] * embedding
        cubes = x * x * x * upstream[:, None]
        embedding_squares[:] = inputs_squared.T @ np.square(total)
        embedding_squares -= 2.0 * (cubes.T @ total) * embedding
        embedding_squares += (squared @ np.square(inputs_squared))[:, None] * np.square(embedding)
        np.maximum(embedding_squares, 0.0, out=embedding_squares)  # rounding

        pooled_gradient = np.empty_like(pooled)
        pooled_gradient[:, :, 0] = upstream[:, None]
        pooled_gradient[:, :, 1:] = total[:, None, :] - vectors * upstream[:, None, None]
        outputs = self._activations(flat, x, pooled)
        into = self._deep_backward(flat, (gradient, squares), outputs, upstream)
        flat_width = self.fields * self.embedding_dim
        pooled_gradient[:, :, 1:] += into[:, :flat_width].reshape(vectors.shape)
        return gradient, squares, pooled_gradient

    def _activations(self, flat: Floats, x: Floats, pooled: Floats) -> list[Floats]:
        """The perceptron's input, the output of each hidden layer, and its result [n, 1]."""
        _, _, layers = self.split(flat)
        width = self.fields * self.embedding_dim
        values = np.concatenate([pooled[:, :, 1:].reshape(len(x), width), x], axis=1)
        outputs = [values]
        for number, (weights, bias) in enumerate(layers):
            values = values @ weights + bias
            if number < len(layers) - 1:
                values = np.maximum(values, np.float32(0.0))
            outputs.append(values)
        return outputs

    def _deep_backward(
        self,
        flat: Floats,
        filled: tuple[Floats, Floats],
        outputs: list[Floats],
        upstream: Floats,
    ) -> Floats:
        """Fill the layers' part of gradient and squares; gives the gradient of the input."""
        _, _, layers = self.split(flat)
        (_, _, layer_gradients), (_, _, layer_squares) = map(self.split, filled)
        error = upstream[:, None]
        for number in range(len(layers) - 1, -1, -1):
            weight_gradient, bias_gradient = layer_gradients[number]
            weight_gradient[:] = outputs[number].T @ error
            bias_gradient[:] = error.sum(axis=0)
            weight_squares, bias_squares = layer_squares[number]
            squared = np.square(error)
            weight_squares[:] = np.square(outputs[number]).T @ squared
            bias_squares[:] = squared.sum(axis=0)
            error = error @ layers[number][0].T
            if number > 0:
                error = error * (outputs[number] > 0.0)
        return error


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
