"""What every optimiser keeps to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from freshrank.actors.messages import Floats
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.averaged import Averaged, stepping
from freshrank.learner.optimizers.base import (
    KeepsSquares,
    Optimizer,
    SummedRows,
    dense_state_width,
    of_one_example,
)
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.scheduled import ScheduledOptimizer
from freshrank.learner.optimizers.schedules import (
    ConstantRate,
    CosineDecay,
    InverseRootDecay,
    Schedule,
    StepDecay,
    WarmUp,
)
from freshrank.learner.optimizers.sgd import SGD

OPTIMIZERS: list[Optimizer] = [
    SGD(0.05),
    Adagrad(0.3),
    Adam(0.01),
    FTRL(alpha=0.3),
    FTRL(alpha=0.3, l1=0.05, l2=0.01),
    AutoAdagrad(),
    AutoAdagrad(inputs=9, schedule=WarmUp(1_000)),
    SGD(0.05, schedule=StepDecay(1_000)),
    Adagrad(0.3, schedule=CosineDecay(1_000)),
    Adam(0.01, schedule=InverseRootDecay(1_000)),
    FTRL(alpha=0.3, schedule=WarmUp(1_000)),
    FTRL(alpha=0.3, l1=0.05, l2=0.01, schedule=WarmUp(1_000, CosineDecay(1_000))),
    Averaged(AutoAdagrad()),
    Averaged(Adam(0.01, schedule=InverseRootDecay(1_000))),
]
PULLED = 400
PENALIZED: list[Callable[[float, float], Optimizer]] = [
    lambda l1, l2: SGD(0.05, l1=l1, l2=l2, dense_l1=l1, dense_l2=l2),
    lambda l1, l2: Adagrad(0.3, l1=l1, l2=l2, dense_l1=l1, dense_l2=l2),
    lambda l1, l2: AutoAdagrad(inputs=9, l1=l1, l2=l2, dense_l1=l1, dense_l2=l2),
    # Beside a gradient over its root mean square, which is about a fifth here.
    lambda l1, l2: Adam(0.01, l1=5 * l1, l2=5 * l2, dense_l1=5 * l1, dense_l2=5 * l2),
    # Of the sum over all `PULLED` examples.
    lambda l1, l2: FTRL(0.3, l1=l1 * PULLED, l2=4 * l2 * PULLED, dense_l1=l1 * PULLED,
                        dense_l2=4 * l2 * PULLED),
]  # fmt: skip
penalized = pytest.mark.parametrize(
    "make", PENALIZED, ids=["SGD", "Adagrad", "AutoAdagrad", "Adam", "FTRL"]
)
SCHEDULES: list[Schedule] = [
    ConstantRate(),
    StepDecay(1_000, share=0.3),
    CosineDecay(1_000),
    InverseRootDecay(1_000),
    WarmUp(1_000),
    WarmUp(300, CosineDecay(700, least=0.2)),
]
every = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def rows_of(optimizer: Optimizer, count: int, width: int, *, dense: bool = False) -> Floats:
    """Rows with random weights and no state yet."""
    of = dense_state_width(optimizer, width) if dense else optimizer.state_width(width)
    rows = np.zeros((count, width + of), np.float32)
    rows[:, :width] = np.random.default_rng(1).normal(size=(count, width))
    return rows


@every
def test_it_finds_the_minimum_of_a_convex_loss(optimizer: Optimizer) -> None:
    wanted = np.array([[0.7, -0.4, 0.0]], np.float32)
    rows = rows_of(optimizer, 1, 3)
    for _ in range(3_000):
        optimizer.update(rows, np.array([0]), of_one_example(rows[:, :3] - wanted))
    assert rows[:, :3] == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    "optimizer", [one for one in OPTIMIZERS if isinstance(one, KeepsSquares)], ids=repr
)
def test_it_keeps_the_squares_of_the_gradients(optimizer: KeepsSquares, dense: bool) -> None:
    rows = rows_of(optimizer, 2, 3, dense=dense)
    assert optimizer.squares(rows, 3).tolist() == [[0.0] * 3] * 2
    gradients = np.random.default_rng(3).normal(size=(3_000, 1, 3)).astype(np.float32)
    for gradient in gradients:
        optimizer.update(rows, np.array([1]), of_one_example(gradient), dense=dense)
    found = optimizer.squares(rows, 3)
    assert found[0].tolist() == [0.0] * 3
    # Adam's are by the mean of about its last thousand.
    error = 0.15 if isinstance(optimizer, Adam) else 1e-3
    assert found[1] == pytest.approx(np.square(gradients[:, 0]).sum(axis=0), rel=error)


def test_who_keeps_no_squares_is_known() -> None:
    optimizers = map(stepping, OPTIMIZERS)
    without = {type(one).__name__ for one in optimizers if not isinstance(one, KeepsSquares)}
    assert without == {"SGD"}


@every
def test_it_touches_only_the_rows_it_is_given(optimizer: Optimizer) -> None:
    rows = rows_of(optimizer, 5, 2)
    before = rows.copy()
    optimizer.update(rows, np.array([4, 1]), of_one_example(np.ones((2, 2), np.float32)))
    assert (rows[[0, 2, 3]] == before[[0, 2, 3]]).all()
    assert (rows[[4, 1], :2] < before[[4, 1], :2]).all()


@every
def test_the_order_of_rows_does_not_matter(optimizer: Optimizer) -> None:
    gradient = np.random.default_rng(2).normal(size=(6, 2)).astype(np.float32)
    rows, turned = rows_of(optimizer, 6, 2), rows_of(optimizer, 6, 2)
    there, back = np.arange(6), np.arange(6)[::-1].copy()
    for _ in range(3):
        optimizer.update(rows, there, of_one_example(gradient))
        optimizer.update(turned, back, of_one_example(gradient[::-1].copy()))
    assert (rows == turned).all()


@every
def test_columns_are_independent(optimizer: Optimizer) -> None:
    gradient = np.array([[1.0, -2.0]], np.float32)
    rows, apart = rows_of(optimizer, 1, 2), [rows_of(optimizer, 1, 2) for _ in range(2)]
    for _ in range(3):
        optimizer.update(rows, np.array([0]), of_one_example(gradient))
        for column, one in enumerate(apart):
            alone = np.where(np.arange(2) == column, gradient, np.float32(0.0))
            optimizer.update(one, np.array([0]), of_one_example(alone))
    assert rows[0, :2].tolist() == [float(one[0, column]) for column, one in enumerate(apart)]


@every
@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense weights"])
def test_without_a_gradient_nothing_moves(optimizer: Optimizer, dense: bool) -> None:
    rows = rows_of(optimizer, 2, 2, dense=dense)
    before = rows.copy()
    nothing = of_one_example(np.zeros((2, 2), np.float32))
    optimizer.update(rows, np.arange(2), nothing, dense)
    assert rows[:, :2] == pytest.approx(before[:, :2], rel=1e-5)


@every
def test_inputs_are_left_as_they_are(optimizer: Optimizer) -> None:
    gradient, positions = np.ones((1, 2), np.float32), np.array([1])
    optimizer.update(rows_of(optimizer, 2, 2), positions, of_one_example(gradient))
    assert (gradient == 1.0).all() and positions.tolist() == [1]


@dataclass(frozen=True)
class Share:
    """A schedule of one's own: always the same share of the rate."""

    share: float

    def factor(self, examples: float) -> float:
        return self.share


def moved(optimizer: Optimizer, steps: int = 20) -> Floats:
    """Some rows after steps by random gradients."""
    rows, random = rows_of(optimizer, 3, 2), np.random.default_rng(5)
    for _ in range(steps):
        gradient = random.normal(size=(3, 2)).astype(np.float32)
        optimizer.update(rows, np.arange(3), of_one_example(gradient))
    return rows


def at(optimizer: Optimizer, schedule: Schedule, examples: float) -> Optimizer:
    """`optimizer` with a schedule, as of `examples`."""
    if isinstance(optimizer, Averaged):
        return replace(optimizer, of=at(optimizer.of, schedule, examples))
    assert isinstance(optimizer, ScheduledOptimizer)
    return replace(optimizer, schedule=schedule).at(examples)


@every
def test_a_share_of_the_rate_is_as_good_as_a_smaller_rate(optimizer: Optimizer) -> None:
    smaller = at(at(optimizer, Share(0.25), 77.0), ConstantRate(), 0.0)
    # Of FTRL the weights alone: their z is made anew for each rate.
    kept = slice(2 if isinstance(optimizer, FTRL) else None)
    found = moved(at(optimizer, Share(0.25), 77.0))[:, kept]
    assert found == pytest.approx(moved(smaller)[:, kept], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "optimizer", [one for one in OPTIMIZERS if not isinstance(stepping(one), Adam)], ids=repr
)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_change_of_the_rate_alone_moves_no_weight(
    optimizer: Optimizer, schedule: Schedule
) -> None:
    """Without a gradient; Adam's momentum goes on without one, whatever the rate."""
    rows = rows_of(optimizer, 2, 2)
    nothing = of_one_example(np.zeros((2, 2), np.float32))
    before = at(optimizer, schedule, 10.0)
    before.update(rows, np.arange(2), of_one_example(np.ones((2, 2), np.float32)))
    weights = rows[:, :2].copy()
    for examples in (20.0, 500.0, 1_500.0, 1e6):
        at(optimizer, schedule, examples).update(rows, np.arange(2), nothing)
    assert rows[:, :2] == pytest.approx(weights, rel=1e-5)


@every
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_it_finds_the_minimum_by_any_schedule(optimizer: Optimizer, schedule: Schedule) -> None:
    wanted = np.array([[0.7, -0.4, 0.0]], np.float32)
    rows = rows_of(optimizer, 1, 3)
    for step in range(2_000):
        gradient = of_one_example(rows[:, :3] - wanted)
        at(optimizer, schedule, step / 2).update(rows, np.array([0]), gradient)
    assert rows[:, :3] == pytest.approx(wanted, abs=0.05)


@every
def test_it_can_be_sent_to_another_process(optimizer: Optimizer) -> None:
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer


def pulled(optimizer: Optimizer, *, dense: bool, at_once: int = 1) -> Floats:
    """The three weights of a row that a noisy quadratic loss draws to (0.6, 0.6, 0.02)."""
    random, wanted = np.random.default_rng(6), np.array([0.6, 0.6, 0.02])
    row = rows_of(optimizer, 1, 3, dense=dense)
    row[:, :3] = 0.0
    for _ in range(PULLED // at_once):
        each = (row[0, :3] - wanted + random.normal(0, 0.1, (at_once, 3))).astype(np.float32)
        sums, squares = each.sum(0, keepdims=True), np.square(each).sum(0, keepdims=True)
        given = SummedRows(sums, squares, np.full(1, at_once, np.float32))
        optimizer.update(row, np.array([0]), given, dense)
    return row[0, :3]


@penalized
@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense weights"])
def test_l2_makes_weights_smaller_and_l1_keeps_what_is_worth_little_at_zero(
    make: Callable[[float, float], Optimizer], dense: bool
) -> None:
    free, ridge, lasso = (
        pulled(make(*penalties), dense=dense) for penalties in ((0, 0), (0, 0.3), (0.15, 0))
    )
    assert 0.2 * free[1] < ridge[1] < 0.95 * free[1]
    assert lasso[1] > 0.2 and lasso[2] == 0.0
    if dense:  # the bias is not pulled
        assert [ridge[0], lasso[0]] == pytest.approx([free[0], free[0]], rel=0.02)
    else:
        assert ridge[0] < 0.95 * free[0]


@penalized
@pytest.mark.parametrize("penalties", [(0.0, 0.0), (0.05, 0.0), (0.0, 0.1)], ids=str)
def test_a_step_of_many_examples_does_about_what_as_many_steps_of_one_do(
    make: Callable[[float, float], Optimizer], penalties: tuple[float, float]
) -> None:
    one, many = (pulled(make(*penalties), dense=False, at_once=some) for some in (1, 8))
    assert many == pytest.approx(one, abs=0.06)


@penalized
def test_penalties_of_none_leave_no_trace_in_fingerprints(
    make: Callable[[float, float], Optimizer],
) -> None:
    assert "dense" not in repr(make(0.0, 0.0)) and "dense_l1=" in repr(make(0.1, 0.1))
