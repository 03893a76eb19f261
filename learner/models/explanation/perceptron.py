"""Integrated gradients of a perceptron with ReLU, without an error of discretisation.

All inputs grow in proportion from zero to their values. Along this path each hidden unit goes on
or off at a few places, and between two of them the output is linear, so that its gradient is
constant: the integral is the sum over these pieces. The places are found layer by layer. Up to the
layer below, everything is linear within a piece, so that a unit changes its sign there at most
once, where the line between its values at both ends crosses zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.base import SPURIOUS_FLAGS

Layers: TypeAlias = Sequence[tuple[Floats, Floats]]
"""Weights [in, out] and biases [out] of each layer, the last of which gives one number."""


@SPURIOUS_FLAGS
def perceptron_contributions(layers: Layers, inputs: Doubles) -> tuple[float, Doubles]:
    """The output at inputs of zero, and float64[n, in]: what each of `inputs` adds to it.

    >>> layers = [(np.ones((2, 1), np.float32), np.array([-1], np.float32)),
    ...           (np.ones((1, 1), np.float32), np.array([5], np.float32))]
    >>> perceptron_contributions(layers, np.array([[1.0, 3.0], [0.5, 0.25]]))
    (5.0, array([[0.75, 2.25],
           [0.  , 0.  ]]))
    """
    (base,) = _before_relu(layers, np.zeros((1, inputs.shape[1])))[-1][0].tolist()
    each = np.zeros_like(inputs)
    for row, ends in enumerate(inputs):
        places = _switches(layers, ends)
        middles = 0.5 * (places[:-1] + places[1:])
        each[row] = ends * (np.diff(places) @ _gradients(layers, middles[:, None] * ends))
    return base, each


def _before_relu(layers: Layers, inputs: Doubles) -> list[Doubles]:
    """The values of each layer, float64[n, out], of which its ReLU makes the next layer's input."""
    found, values = list[Doubles](), inputs
    for weights, bias in layers:
        found.append(values @ weights + bias)
        values = np.maximum(found[-1], 0.0)
    return found


def _switches(layers: Layers, ends: Doubles) -> Doubles:
    """The places on the path from 0 to `ends` float64[in] where a unit switches; ascending.

    Between 0 and 1, which are among them.
    """
    places = np.array([0.0, 1.0])
    for depth in range(1, len(layers)):
        values = _before_relu(layers[:depth], places[:, None] * ends)[-1]
        left, right = values[:-1], values[1:]
        piece, unit = np.nonzero(left * right < 0.0)
        share = left[piece, unit] / (left[piece, unit] - right[piece, unit])
        found = places[piece] + share * (places[piece + 1] - places[piece])
        places = np.unique(np.concatenate([places, found]))
    return places


def _gradients(layers: Layers, inputs: Doubles) -> Doubles:
    """float64[n, in]: the gradient of the output in each of `inputs`."""
    values = _before_relu(layers[:-1], inputs)
    gradients: Doubles = np.ones((len(inputs), 1))
    for number in range(len(layers) - 1, -1, -1):
        gradients = gradients @ layers[number][0].T
        if number > 0:
            gradients = gradients * (values[number - 1] > 0.0)
    return gradients
