from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from learning import LAYOUT
from one_input import constant, learned

from freshrank import ClassWeighted, LinearRegression, LogisticRegression, SquaredLoss
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats
from freshrank.learner.models.linear_svm import HingeLoss
from freshrank.learner.models.losses import DownSampled, LogLoss, Loss

LOSSES = [
    ClassWeighted(positive=5.0),
    ClassWeighted(negative=0.25),
    ClassWeighted(HingeLoss(), positive=2.0),
    DownSampled(LogLoss(), 0.1),
    DownSampled(ClassWeighted(positive=3.0), 0.5),
]
RATE = 0.03


def array(*values: float) -> Floats:
    return np.array(values, np.float32)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name} {loss.negatives_kept}")
@given(st.floats(-4, 4), st.sampled_from([0.0, 1.0]))
def test_the_residual_is_the_slope_of_the_loss(loss: Loss, output: float, label: float) -> None:
    assume(abs(abs(output) - 1.0) > 0.02)  # the hinge has its corner there
    outputs = array(output - 0.01, output, output + 0.01)
    below, _, above = loss.value(array(label, label, label), loss.link.prediction(outputs))
    (slope,) = loss.residual(array(label), loss.link.prediction(array(output)))
    assert slope == pytest.approx((above - below) / 0.02, rel=0.02, abs=2e-3)


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[1], LOSSES[3], LOSSES[4]], ids=repr)
@given(st.floats(0.02, 0.98))
def test_the_best_constant_is_the_best(loss: Loss, mean: float) -> None:
    def mean_loss(prediction: float) -> float:
        of_negative, of_positive = loss.value(array(0, 1), array(prediction, prediction))
        return float((1.0 - mean) * of_negative + mean * of_positive)

    best = loss.best_constant(mean)
    assert mean_loss(best) == pytest.approx(loss.of_constant(mean, mean), rel=1e-3)
    for other in (0.9 * best, best + 0.1 * (1.0 - best)):
        assert mean_loss(best) <= mean_loss(other) + 1e-6


def traffic(kept: float, count: int = 40_000) -> Floats:
    """Labels of which a share is positive, without most of the negatives."""
    random = np.random.default_rng(0)
    labels = (random.random(count) < RATE).astype(np.float32)
    return labels[(labels > 0) | (random.random(count) < kept)]


@pytest.mark.parametrize("kept", [0.5, 0.1, 0.03])
def test_what_is_learned_from_some_negatives_predicts_the_rate_of_the_traffic(kept: float) -> None:
    labels = traffic(kept, int(10_000 / (RATE + kept)))
    learner = learned(LogisticRegression(loss=DownSampled(LogLoss(), kept)), labels)
    assert learner.quarantine.quarantined == []
    assert float(labels.mean()) > 1.5 * RATE, "there are far more positives in what is learned"
    assert constant(learner) == pytest.approx(RATE, rel=0.15)
    status = learner.status(0.0)
    assert status["base_rate"] == pytest.approx(RATE, rel=0.1)
    assert float(str(status["calibration_error"])) < 0.01
    assert status["objective"] == "log_loss"


def test_a_class_weight_raises_the_odds_by_itself_and_nothing_is_held_back() -> None:
    loss = ClassWeighted(positive=9.0)
    learner = learned(LogisticRegression(loss=loss), traffic(1.0))
    assert learner.quarantine.quarantined == []
    assert constant(learner) == pytest.approx(loss.best_constant(RATE), rel=0.25)
    assert learner.status(0.0)["objective"] == "weighted_log_loss"


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: ClassWeighted(positive=0.0), "ClassWeighted.positive"),
        (lambda: ClassWeighted(negative=float("nan")), "ClassWeighted.negative"),
        (lambda: ClassWeighted(SquaredLoss()), "ClassWeighted.of"),
        (lambda: DownSampled(HingeLoss(), 0.5), "negatives_kept"),
        (lambda: DownSampled(SquaredLoss(), 0.5), "negatives_kept"),
    ],
)
def test_what_cannot_be_reweighted_is_refused_by_name(make: Callable[[], Loss], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.place == place


def test_the_log_loss_leaves_no_trace_in_checkpoints_and_others_do() -> None:
    plain = LogisticRegression().bind(LAYOUT).fingerprint
    assert LogisticRegression(loss=LogLoss()).bind(LAYOUT).fingerprint == plain
    assert LogisticRegression(loss=LOSSES[0]).bind(LAYOUT).fingerprint != plain
    assert LinearRegression().loss == SquaredLoss()
