"""Contributions of a model that gives outputs only."""

from __future__ import annotations

import numpy as np
import pytest
from learning import LAYOUT

from freshrank.actors.messages import Doubles
from freshrank.learner.models.base import Array
from freshrank.learner.models.explanation.integrated_gradients import along_path
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.linear_regression import SquaredLoss

X, POOLED = np.array([[0.5, -1.5]], np.float32), np.full((1, 3, 1), 0.25, np.float32)


def explained(kind: type[BoundLinear]) -> tuple[float, Doubles, float]:
    """Base, contributions and residual of the output of one row."""
    model = kind("a formula", LAYOUT, SquaredLoss(), 0.0)
    weights = np.zeros(3, np.float32)
    base, each = along_path(model, weights, X, POOLED)
    (output,) = model.outputs(weights, X, POOLED).tolist()
    return float(base[0]), each[0], output - float(base[0]) - float(each.sum())


class Smooth(BoundLinear):
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        found: Array = 2.0 + x[:, 0] * x[:, 0] * x[:, 1]
        return found


def test_contributions_are_the_integrals_of_the_slopes() -> None:
    base, each, residual = explained(Smooth)
    assert base == 2.0
    product = 0.5**2 * -1.5
    assert each.tolist() == pytest.approx([2 / 3 * product, 1 / 3 * product, 0, 0, 0], abs=1e-3)
    assert residual == pytest.approx(0.0, abs=1e-4)


class Kinked(BoundLinear):
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """A unit that goes on at four tenths of the path."""
        before = 2.0 * x[:, 0] - x[:, 1] + pooled[:, :, 0].sum(1) - 1.3
        found: Array = before * (before > 0.0)
        return found


def test_a_kink_is_found_by_halving() -> None:
    base, each, residual = explained(Kinked)
    assert base == 0.0
    whole = np.array([1.0, 1.5, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(each, whole * (1.0 - 1.3 / 3.25), atol=1e-3)
    assert residual == pytest.approx(0.0, abs=1e-4)


class Jump(BoundLinear):
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """Five inputs have an equal part in it: five jumps of one, or none, or half of both."""
        before = 2.0 * x[:, 0] - x[:, 1] / 1.5 + 4.0 * pooled[:, :, 0].sum(1)
        found: Array = before * 0.0 + 1.0 * (before > 1.3)
        return found


def test_what_cannot_be_distributed_is_a_residual() -> None:
    _, each, residual = explained(Jump)
    assert abs(residual) > 0.9
    assert float(each.sum()) + residual == pytest.approx(1.0)


ROWS: list[int] = []


class Jagged(BoundLinear):
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        ROWS.append(len(x))
        before = 999.0 * (x[:, 0] - x[:, 1] + pooled[:, :, 0].sum(1))
        found: Array = before % 1.0
        return found


def test_the_work_is_bounded_whatever_the_model() -> None:
    ROWS.clear()
    _, each, _ = explained(Jagged)
    assert np.isfinite(each).all()
    assert 2_000 < sum(ROWS) < 5_000
