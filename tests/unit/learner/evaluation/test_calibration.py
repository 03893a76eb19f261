"""Average precision and calibration agree with what a naive computation gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.learner.evaluation.calibration import calibration_error
from freshrank.learner.evaluation.metrics import ScoreHistogram
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.models.linear_regression import SquaredLoss
from freshrank.learner.models.linear_svm import HingeLoss
from freshrank.learner.models.losses import LogLoss

Examples = Sequence[tuple[bool, float]]

examples = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.02, 0.1, 0.2, 0.5, 0.7])), max_size=30
)


def filled(found: Examples) -> ScoreHistogram:
    histogram = ScoreHistogram(LogLoss())
    labels = np.array([label for label, _ in found], np.float32)
    histogram.add(labels, np.array([score for _, score in found], np.float32))
    return histogram


@given(examples)
def test_average_precision_is_the_mean_precision_at_each_positive(found: Examples) -> None:
    precisions = []
    for _, at in [one for one in found if one[0]]:
        labels = [label for label, score in found if score >= at]
        precisions.append(sum(labels) / len(labels))
    computed = filled(found).average_precision()
    if precisions:
        assert computed == pytest.approx(sum(precisions) / len(precisions))
    else:
        assert math.isnan(computed)


@given(examples, st.integers(1, 30))
def test_precision_at_is_that_of_the_best_scores_and_of_ties_on_average(
    found: Examples, shown: int
) -> None:
    computed = filled(found).precision_at(shown)
    if shown > len(found):
        assert math.isnan(computed)
        return
    lowest = sorted((score for _, score in found), reverse=True)[shown - 1]
    above = [label for label, score in found if score > lowest]
    tied = [label for label, score in found if score == lowest]
    expected = sum(above) + (shown - len(above)) * sum(tied) / len(tied)
    assert computed == pytest.approx(expected / shown)


def test_precision_at_is_not_defined_where_labels_are_numbers() -> None:
    histogram = ScoreHistogram(SquaredLoss())
    histogram.add(np.ones(3, np.float32), np.ones(3, np.float32))
    assert math.isnan(histogram.precision_at(2))


@given(examples)
def test_the_bins_hold_every_example_in_the_order_of_predictions(found: Examples) -> None:
    bins = filled(found).calibration()
    assert sum(one.examples for one in bins) == len(found)
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
    positives = sum(one.examples * one.observed for one in bins)
    assert positives == pytest.approx(sum(label for label, _ in found))
    predicted = sum(one.examples * one.predicted for one in bins)
    assert predicted == pytest.approx(sum(score for _, score in found), rel=2e-3)


def test_true_probabilities_are_calibrated_and_doubled_ones_are_not() -> None:
    random = np.random.default_rng(1)
    truth = random.uniform(0.0, 0.5, 100_000).astype(np.float32)
    labels = (random.random(100_000) < truth).astype(np.float32)
    for predictions, error in ((truth, 0.0), (2 * truth, 0.25)):
        histogram = ScoreHistogram(LogLoss())
        histogram.add(labels, predictions)
        bins = histogram.calibration()
        assert [one.examples for one in bins] == pytest.approx([10_000] * 10, abs=100)
        assert calibration_error(bins) == pytest.approx(error, abs=0.005)


def test_margins_and_numbers_have_no_calibration() -> None:
    labels, predictions = np.array([0, 1], np.float32), np.array([-1.0, 2.0], np.float32)
    for loss in (HingeLoss(), SquaredLoss()):
        histogram = ScoreHistogram(loss)
        histogram.add(labels, predictions)
        assert histogram.calibration() == ()
        assert math.isnan(calibration_error(histogram.calibration()))
        assert math.isnan(histogram.base_rate) == (not loss.binary)


def test_the_status_has_them_and_none_where_there_is_nothing() -> None:
    validation = ProgressiveValidation(LogLoss())
    nothing = validation.status()
    names = ("base_rate", "average_precision", "calibration_error", "calibration_error_frozen")
    assert [nothing[name] for name in names] == [None] * 4
    labels, scores = np.array([0, 0, 0, 1], np.float32), np.array([0.1, 0.1, 0.4, 0.4], np.float32)
    validation.add(labels, scores, None)
    status = validation.status()
    assert (status["base_rate"], status["average_precision"]) == (0.25, 0.5)
    assert status["calibration_error"] == pytest.approx(0.1, abs=1e-3)
    assert status["calibration_error_frozen"] is None
    assert status["precision_at_100"] is None, "there are four"
    validation.add(np.ones(100, np.float32), np.full(100, 0.9, np.float32), None)
    assert validation.status()["precision_at_100"] == 1.0
