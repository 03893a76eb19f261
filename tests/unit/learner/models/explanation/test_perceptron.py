"""The integral of a perceptron's gradient is exact: a sum of a hundred thousand steps agrees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.messages import Bools, Doubles
from freshrank.learner.models.explanation.perceptron import Layers, perceptron_contributions


def network(widths: list[int], seed: int) -> Layers:
    random = np.random.default_rng(seed)
    return [
        (
            random.normal(size=(wide, out)).astype(np.float32),
            random.normal(size=out).astype(np.float32),
        )
        for wide, out in itertools.pairwise(widths)
    ]


def outputs(layers: Layers, inputs: Doubles) -> Doubles:
    values: Doubles = inputs
    for number, (weights, bias) in enumerate(layers):
        values = values * (values > 0.0) if number else values
        values = values @ weights + bias
    return values[:, 0]


def summed(layers: Layers, ends: Doubles, steps: int) -> Doubles:
    """The integrated gradients of one row, by the rule of the midpoint."""
    at = (np.arange(steps) + 0.5) / steps
    values, masks = at[:, None] * ends, list[Bools]()
    for weights, bias in layers[:-1]:
        before = values @ weights + bias
        masks.append(before > 0.0)
        values = np.maximum(before, 0.0)
    gradients: Doubles = np.repeat(layers[-1][0].T.astype(np.float64), steps, axis=0)
    for (weights, _), mask in zip(layers[-2::-1], masks[::-1], strict=True):
        gradients = (gradients * mask) @ weights.T
    mean: Doubles = gradients.mean(axis=0)
    return ends * mean


@pytest.mark.parametrize("hidden", [[], [1], [7], [6, 5], [5, 4, 3]], ids=str)
def test_it_is_what_many_small_steps_add_up_to(hidden: list[int]) -> None:
    layers = network([4, *hidden, 1], seed=1)
    inputs = np.random.default_rng(2).normal(size=(5, 4))
    _, found = perceptron_contributions(layers, inputs)
    for row in range(5):
        many = summed(layers, inputs[row], 100_000)
        np.testing.assert_allclose(found[row], many, atol=1e-3)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=3), st.integers(0, 2**32 - 1))
def test_base_and_contributions_are_the_output(hidden: list[int], seed: int) -> None:
    layers = network([3, *hidden, 1], seed)
    inputs = 3.0 * np.random.default_rng(seed).normal(size=(4, 3))
    base, each = perceptron_contributions(layers, inputs)
    expected = outputs(layers, inputs)
    np.testing.assert_allclose(base + each.sum(axis=1), expected, rtol=1e-9, atol=1e-9)


def test_a_unit_that_is_off_all_along_contributes_nothing() -> None:
    weights = np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
    layers = [
        (weights, np.array([0, -9], np.float32)),
        (np.ones((2, 1), np.float32), np.zeros(1, np.float32)),
    ]
    base, each = perceptron_contributions(layers, np.array([[2.0, 3.0]]))
    assert (base, each.tolist()) == (0.0, [[2.0, 0.0]])
