"""DeepFM's mathematics on plain arrays: forward and backward.

With ``b`` bias, ``v`` linear weights of the dense inputs, ``V`` (d, k) their embeddings, and for
each field its pooled row (linear weight ``l_F``, embedding ``e_F``)::

    output = b + x·v + Σ l_F + ½ Σ_k ((Σ_F e_F + Σ_j x_j V_j)² - Σ_F e_F² - Σ_j (x_j V_j)²)
              + MLP([e_1 … e_F, x])
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from freshrank.actors.messages import Floats, Ints
from freshrank.learner.models.base import SPURIOUS_FLAGS, Array, moved


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

    def places_in(self, before: DeepFMShape, dense: Ints, fields: Ints) -> Ints:
        """int64[p]: where each of the weights was in the flat vector of a shape of other inputs.

        `dense` int64[d] and `fields` int64[F] are the places that the inputs had there; -1 for new
        ones, and for the weights of these. Hidden units stay what they are, so only the rows of the
        first layer move: those of an embedding's columns, and those of the dense inputs.
        """
        width, (units, first) = before.embedding_dim, before.layers[0]
        # The parts that move, in their order, as (inputs, weights of each, where these are now).
        parts = (
            (before.dense, 1, dense),
            (before.dense, width, dense),
            (before.fields, width * first, fields),
            (before.dense, first, dense),
        )
        found, at = [np.zeros(1, np.int64)], 1
        for inputs, each, places in parts:
            part = np.arange(at, at + inputs * each).reshape(inputs, each)
            found.append(moved(part, places).ravel())
            at += part.size
        assert at == 1 + before.dense * (1 + width) + units * first
        return np.concatenate([*found, np.arange(at, before.size)])

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
