from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import LAYOUT
from one_input import constant, learned

from freshrank import DeepFM, HuberLoss, LinearRegression, QuantileLoss, SquaredLoss
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats
from freshrank.learner.models.losses import Loss

NUMBERS = st.floats(-50, 50, width=32)


def huber(error: float, delta: float) -> float:
    """As the paper has it."""
    return 0.5 * error**2 if abs(error) <= delta else delta * abs(error) - 0.5 * delta**2


def pinball(label: float, prediction: float, quantile: float) -> float:
    below = label - prediction
    return quantile * below if below >= 0 else (quantile - 1.0) * below


def array(*values: float) -> Floats:
    return np.array(values, np.float32)


@given(NUMBERS, NUMBERS, st.floats(0.1, 20))
def test_the_huber_loss_is_the_papers(label: float, prediction: float, delta: float) -> None:
    loss = HuberLoss(delta)
    (found,) = loss.value(array(label), array(prediction))
    assert found == pytest.approx(huber(prediction - label, delta), rel=1e-5, abs=1e-6)
    (slope,) = loss.residual(array(label), array(prediction))
    assert slope == pytest.approx(np.clip(prediction - label, -delta, delta), rel=1e-5, abs=1e-5)


@given(NUMBERS, NUMBERS, st.floats(0.01, 0.99))
def test_the_quantile_loss_is_the_papers(label: float, prediction: float, quantile: float) -> None:
    loss = QuantileLoss(quantile)
    (found,) = loss.value(array(label), array(prediction))
    assert found == pytest.approx(pinball(label, prediction, quantile), rel=1e-5, abs=1e-6)
    (slope,) = loss.residual(array(label), array(prediction))
    expected = 0.0 if label == prediction else (prediction > label) - quantile
    assert slope == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: HuberLoss(0.0), "HuberLoss.delta"),
        (lambda: HuberLoss(float("nan")), "HuberLoss.delta"),
        (lambda: QuantileLoss(0.0), "QuantileLoss.quantile"),
        (lambda: QuantileLoss(1.0), "QuantileLoss.quantile"),
        (lambda: QuantileLoss(90), "QuantileLoss.quantile"),
    ],
)
def test_a_loss_out_of_range_is_refused_by_name(make: type[Loss], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.place == place


def test_the_squared_loss_leaves_no_trace_in_checkpoints_of_a_regression() -> None:
    plain = LinearRegression(bias=1.0).bind(LAYOUT).fingerprint
    assert plain == "269f12c1e13cf07c", "that of the version before there were other losses"
    assert LinearRegression(bias=1.0, loss=SquaredLoss()).bind(LAYOUT).fingerprint == plain
    others = [QuantileLoss(0.9), QuantileLoss(0.8), HuberLoss(1.0), HuberLoss(2.0)]
    prints = {LinearRegression(bias=1.0, loss=one).bind(LAYOUT).fingerprint for one in others}
    assert len(prints - {plain}) == 4


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "spec", [LinearRegression, lambda **given: DeepFM(2, (4,), **given)], ids=["linear", "DeepFM"]
)
def test_a_quantile_is_what_a_share_of_the_labels_does_not_exceed(
    spec: type[LinearRegression], quantile: float
) -> None:
    labels = np.random.default_rng(0).exponential(2.0, 20_000).astype(np.float32)
    learner = learned(spec(loss=QuantileLoss(quantile)), labels)
    assert learner.quarantine.quarantined == []
    assert constant(learner) == pytest.approx(float(np.quantile(labels, quantile)), abs=0.25)
    status = learner.status(0.0)
    assert status["coverage_recent"] == pytest.approx(quantile, abs=0.03)


def test_labels_that_are_far_off_hardly_move_a_model_of_the_huber_loss() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(3.0, 1.0, 20_000)
    labels[random.random(20_000) < 0.02] = 500.0
    wild = labels.astype(np.float32)
    robust = constant(learned(LinearRegression(bias=3.0, loss=HuberLoss(1.0)), wild))
    assert robust == pytest.approx(3.0, abs=0.25)
    assert abs(float(wild.mean()) - 3.0) > 5.0
