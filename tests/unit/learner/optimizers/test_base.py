from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.errors import ConfigError
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer, of_one_example
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD

GRADIENTS = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20)


def steps(optimizer: Optimizer, gradients: list[float], start: float = 0.0) -> list[float]:
    """The weight after each step."""
    row = np.zeros((1, 1 + optimizer.state_width(1)), np.float32)
    row[0, 0] = start
    weights = []
    for one in gradients:
        optimizer.update(row, np.array([0]), of_one_example(np.array([[one]], np.float32)))
        weights.append(float(row[0, 0]))
    return weights


def mcmahan(gradients: list[float], alpha: float, beta: float, l1: float, l2: float) -> list[float]:
    """Algorithm 1 of the paper, line by line."""
    z = n = 0.0
    weights = []
    w = 0.0
    for g in gradients:
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / alpha
        z += g - sigma * w
        n += g * g
        w = 0.0
        if abs(z) > l1:
            w = -(z - math.copysign(l1, z)) / ((beta + math.sqrt(n)) / alpha + l2)
        weights.append(w)
    return weights


@given(GRADIENTS)
def test_ftrl_is_the_papers_algorithm(gradients: list[float]) -> None:
    found = steps(FTRL(alpha=0.1, beta=1.5, l1=0.5, l2=0.25), gradients)
    assert found == pytest.approx(mcmahan(gradients, 0.1, 1.5, 0.5, 0.25), rel=1e-3, abs=1e-5)


@given(st.floats(-2, 2, width=32), st.floats(0, 2), st.floats(0, 2))
def test_ftrl_starts_from_the_initial_weight_whatever_the_penalties(
    start: float, l1: float, l2: float
) -> None:
    (after,) = steps(FTRL(alpha=0.1, l1=l1, l2=l2), [0.0], start)
    assert after == pytest.approx(start, rel=1e-4, abs=1e-6)
    (moved,) = steps(FTRL(alpha=0.1, l1=l1, l2=l2), [1e-3], start)
    assert moved == pytest.approx(start, abs=1e-2)


def test_ftrl_with_l1_leaves_rare_weights_at_zero_and_dense_ones_free() -> None:
    optimizer = FTRL(alpha=0.1, l1=1.0)
    row = np.zeros((1, 3), np.float32)
    optimizer.update(row, np.array([0]), of_one_example(np.array([[0.9]], np.float32)))
    assert row[0, 0] == 0.0
    free = np.zeros((1, 3), np.float32)
    optimizer.update(free, np.array([0]), of_one_example(np.array([[0.9]], np.float32)), dense=True)
    assert free[0, 0] < 0.0


@given(GRADIENTS)
def test_adagrad_divides_by_the_root_of_the_summed_squares(gradients: list[float]) -> None:
    weight, squares, expected = 0.0, 0.0, []
    for g in gradients:
        squares += g * g
        weight -= 0.1 * g / (math.sqrt(squares) + 1e-6)
        expected.append(weight)
    assert steps(Adagrad(0.1), gradients) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def kingma_ba(gradients: list[float], rate: float, beta1: float, beta2: float) -> list[float]:
    """Algorithm 1 of the paper, line by line."""
    m = v = theta = 0.0
    weights = []
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta -= rate * m_hat / (math.sqrt(v_hat) + 1e-8)
        weights.append(theta)
    return weights


@given(GRADIENTS)
def test_adam_is_the_papers_algorithm(gradients: list[float]) -> None:
    expected = kingma_ba(gradients, 0.1, 0.8, 0.95)
    assert steps(Adam(0.1, 0.8, 0.95), gradients) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_adam_leaves_rows_without_a_gradient_alone_and_counts_each_rows_own_steps() -> None:
    optimizer = Adam(0.1)
    rows = np.zeros((2, 1 + optimizer.state_width(1)), np.float32)
    one = np.ones((1, 1), np.float32)
    for _ in range(50):
        optimizer.update(rows, np.array([0]), of_one_example(one))
    assert (rows[1] == 0.0).all()
    optimizer.update(rows, np.array([1]), of_one_example(one))
    assert rows[1, 0] == pytest.approx(-0.1), "the first step of a late row is as long as any"
    assert rows[:, -1].tolist() == [50.0, 1.0]


@given(GRADIENTS)
def test_sgd_subtracts_the_gradient(gradients: list[float]) -> None:
    expected = (-0.1 * np.cumsum(gradients)).tolist()
    assert steps(SGD(0.1), gradients) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: SGD(0.0), "SGD.rate"),
        (lambda: SGD(float("nan")), "SGD.rate"),
        (lambda: Adagrad(-1.0), "Adagrad.rate"),
        (lambda: Adagrad(0.1, epsilon=0.0), "Adagrad.epsilon"),
        (lambda: Adam(0.0), "Adam.rate"),
        (lambda: Adam(beta1=-0.1), "Adam.beta1"),
        (lambda: Adam(beta2=1.0), "Adam.beta2"),
        (lambda: Adam(epsilon=0.0), "Adam.epsilon"),
        (lambda: FTRL(alpha=0.0), "FTRL.alpha"),
        (lambda: FTRL(beta=0.0), "FTRL.beta"),
        (lambda: FTRL(l1=-1.0), "FTRL.l1"),
        (lambda: FTRL(l2=-1.0), "FTRL.l2"),
        (lambda: SGD(l1=-1.0), "SGD.l1"),
        (lambda: Adagrad(l2=-1.0), "Adagrad.l2"),
        (lambda: Adam(dense_l1=-1.0), "Adam.dense_l1"),
        (lambda: FTRL(dense_l2=-1.0), "FTRL.dense_l2"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(make: type[Optimizer], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.place == place
