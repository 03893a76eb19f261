"""What every loss and its link keep to."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import PoissonLoss

from freshrank.learner.models.linear_regression import SquaredLoss
from freshrank.learner.models.linear_svm import HingeLoss
from freshrank.learner.models.losses import HuberLoss, LogLoss, Loss, QuantileLoss

LOSSES: list[Loss] = [
    LogLoss(),
    HingeLoss(),
    SquaredLoss(),
    PoissonLoss(),
    HuberLoss(0.5),
    HuberLoss(2.0),
    QuantileLoss(0.5),
    QuantileLoss(0.9),
]
every = pytest.mark.parametrize("loss", LOSSES, ids=repr)
STEP = np.float32(1e-2)
OUTPUTS = st.lists(st.floats(-4, 4), min_size=1, max_size=20, unique=True)


@every
@given(OUTPUTS)
def test_a_prediction_grows_with_the_output_and_leads_back_to_it(
    loss: Loss, outputs: list[float]
) -> None:
    given_outputs = np.array(sorted(outputs), np.float32)
    predictions = loss.link.prediction(given_outputs)
    assert predictions.dtype == np.float32
    assert (np.diff(predictions) >= 0.0).all()
    assert loss.link.output(predictions) == pytest.approx(given_outputs, abs=1e-3)


@every
@given(OUTPUTS, st.floats(0, 1))
def test_the_residual_is_the_slope_of_the_loss_along_the_output(
    loss: Loss, outputs: list[float], label: float
) -> None:
    labels = np.full(len(outputs), round(label) if loss.binary else label, np.float32)
    at = np.array(outputs, np.float32)
    above, below = (loss.value(labels, loss.link.prediction(at + one)) for one in (STEP, -STEP))
    found = loss.residual(labels, loss.link.prediction(at))
    assert found.dtype == np.float32
    slope = (above - below) / (2 * float(STEP))
    left, right = (loss.residual(labels, loss.link.prediction(at + one)) for one in (-STEP, STEP))
    smooth = abs(left - right) < 0.5  # the residual of some losses jumps somewhere
    assert found[smooth] == pytest.approx(slope[smooth], rel=1e-2, abs=1e-2)


@every
def test_a_loss_is_never_negative_and_least_where_the_prediction_is_right(loss: Loss) -> None:
    outputs = np.linspace(-3, 3, 25).astype(np.float32)
    for label in (0.0, 1.0):
        labels = np.full(len(outputs), label, np.float32)
        losses = loss.value(labels, loss.link.prediction(outputs))
        assert (losses >= 0.0).all() and losses.dtype == np.float64
        residuals = loss.residual(labels, loss.link.prediction(outputs))
        best = int(np.argmin(losses))
        assert (residuals[:best] <= 0.0).all() and (residuals[best + 1 :] >= 0.0).all()


@every
def test_no_constant_prediction_beats_the_loss_of_the_best_one(loss: Loss) -> None:
    if type(loss).of_constant is Loss.of_constant:
        assert loss.of_constant(0.1, 0.1) == loss.of_constant(0.9, 0.9), "nothing is allowed"
        return
    for rate in (0.03, 0.5, 0.9):
        labels = (np.arange(1_000) < 1_000 * rate).astype(np.float32)
        constants = np.linspace(-5, 5, 1_001).astype(np.float32)
        means = [
            float(loss.value(labels, loss.link.prediction(np.full(1_000, one))).mean())
            for one in constants
        ]
        found = loss.of_constant(rate, rate)
        # Two moments of labels that are numbers do not tell all of them.
        most = 1.01 * min(means) if loss.binary or loss == SquaredLoss() else math.inf
        assert 0.99 * min(means) <= found <= most


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("loss", [one for one in LOSSES if not one.binary], ids=repr)
def test_the_loss_of_the_best_constant_is_that_of_the_least_predictable_numbers(
    loss: Loss, scale: float
) -> None:
    """A share of them at one value, the others at another, as far off as is worst for the loss."""
    share = loss.quantile if isinstance(loss, QuantileLoss) else 0.5
    labels = np.where(np.arange(1_000) < 1_000 * share, -1.0, share / (1.0 - share))
    labels = (3.0 + scale * labels).astype(np.float32)
    constants = np.linspace(labels.min(), labels.max(), 1_001).astype(np.float32)
    means = [
        float(loss.value(labels, loss.link.prediction(np.full(1_000, one))).mean())
        for one in constants
    ]
    wide = labels.astype(np.float64)
    found = loss.of_constant(float(wide.mean()), float(np.square(wide).mean()))
    assert found == pytest.approx(min(means), rel=0.01)
    assert loss.of_constant(3.0, 9.0) == 0.0, "all of them are the same"
    for other in np.random.default_rng(0).normal(size=(20, 100)) * scale:
        best = min(
            float(loss.value(other.astype(np.float32), np.full(100, one, np.float32)).mean())
            for one in np.linspace(-3 * scale, 3 * scale, 301)
        )
        found = loss.of_constant(float(other.mean()), float(np.square(other).mean()))
        assert found >= 0.99 * best


@pytest.mark.parametrize("loss", [one for one in LOSSES if not one.binary], ids=repr)
def test_the_least_evidence_is_that_of_four_numbers_two_deviations_off(loss: Loss) -> None:
    for deviation in (0.1, 1.0, 10.0):
        off = np.array([2.0 * deviation, -2.0 * deviation], np.float32)
        worst = float(loss.value(np.zeros(2, np.float32), off).max())
        evidence = loss.least_evidence(loss.of_constant(0.0, deviation**2))
        assert 0.999 * 4.0 * worst <= evidence < 10.0 * worst


@every
def test_it_is_equal_to_its_copy_in_another_process(loss: Loss) -> None:
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert " object at " not in repr(loss)


def test_a_loss_is_called_by_its_class() -> None:
    assert LogLoss().name == "log_loss"
    assert PoissonLoss().name == "poisson_loss"
