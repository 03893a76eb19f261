from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.messages import Floats
from freshrank.learner.evaluation.metrics import ScoreHistogram, exact_auc
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.models.linear_regression import SquaredLoss
from freshrank.learner.models.losses import LogLoss, QuantileLoss


def scored(rows: int, seed: int, rate: float = 0.1) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < rate).astype(np.float32)
    logits = random.normal(-2.0, 1.0, rows) + 1.2 * labels
    return labels, (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)


def filled(labels: Floats, scores: Floats) -> ScoreHistogram:
    histogram = ScoreHistogram(LogLoss())
    histogram.add(labels, scores)
    return histogram


def total(labels: Floats, scores: Floats) -> float:
    return float(LogLoss().value(labels, scores).sum())


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.7])), max_size=20))
def test_auc_is_the_share_of_pairs_in_order(examples: list[tuple[bool, float]]) -> None:
    positives = [score for label, score in examples if label]
    negatives = [score for label, score in examples if not label]
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positives, negatives)]
    labels = np.array([label for label, _ in examples], np.float32)
    scores = np.array([score for _, score in examples], np.float32)
    found = exact_auc(labels, scores)
    if wins:
        assert found == pytest.approx(np.mean(wins))
        assert filled(labels, scores).quality().auc == pytest.approx(np.mean(wins))
    else:
        assert math.isnan(found)


@pytest.mark.parametrize("seed", range(5))
def test_the_histograms_auc_is_within_its_stated_error(seed: int) -> None:
    labels, scores = scored(20_000, seed)
    histogram = filled(labels, scores)
    difference = abs(histogram.quality().auc - exact_auc(labels, scores))
    assert difference <= histogram.auc_error() < 5e-4
    assert difference < 2e-5, "in practice the pairs in a bucket are mixed, and errors cancel"


def test_log_loss_is_that_of_the_labels() -> None:
    labels, scores = np.array([1, 0, 1], np.float32), np.array([0.9, 0.2, 0.5], np.float32)
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.5))
    assert total(labels, scores) == pytest.approx(expected, rel=1e-6)
    assert filled(labels, scores).quality().loss == pytest.approx(expected / 3, rel=1e-6)


def test_a_certain_mistake_costs_much_and_not_infinitely() -> None:
    labels, scores = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    for loss in (total(labels, scores), filled(labels, scores).loss_sum):
        assert loss == pytest.approx(-2 * math.log(1e-7), rel=1e-3)


def test_live_and_frozen_are_compared_on_the_same_examples() -> None:
    validation = ProgressiveValidation(LogLoss())
    early, early_scores = scored(500, 1)
    labels, scores = scored(2_000, 2)
    constant = np.full(2_000, 0.3, np.float32)
    validation.add(early, early_scores, None)
    validation.add(labels, scores, constant)
    status = validation.status()
    assert (status["judged"], status["compared"]) == (2_500, 2_000)
    assert status["auc_live"] == pytest.approx(exact_auc(labels, scores), abs=1e-3)
    assert status["auc_frozen"] == pytest.approx(0.5)
    assert status["auc_recent_frozen"] == pytest.approx(0.5)
    assert status["log_loss_live"] == pytest.approx(total(labels, scores) / 2_000, rel=1e-5)
    both = np.concatenate([early, labels]), np.concatenate([early_scores, scores])
    assert status["auc"] == pytest.approx(exact_auc(*both), abs=1e-3)
    assert status["auc_recent"] == pytest.approx(exact_auc(*both), abs=1e-9)


def test_the_recent_figures_forget_what_is_long_past() -> None:
    validation = ProgressiveValidation(LogLoss())
    bad_labels, bad_scores = scored(5_000, 3)
    validation.add(bad_labels, 1.0 - bad_scores, None)
    for seed in range(10, 15):
        validation.add(*scored(5_000, seed), None)
    status = validation.status()
    recent, lifetime = status["auc_recent"], status["auc"]
    assert isinstance(recent, float) and isinstance(lifetime, float)
    assert recent > 0.75 > lifetime


def test_one_batch_larger_than_the_window_leaves_its_newest_part() -> None:
    validation = ProgressiveValidation(LogLoss())
    labels, scores = scored(50_000, 4)
    validation.add(labels, scores, None)
    expected = exact_auc(labels[-20_000:], scores[-20_000:])
    assert validation.status()["auc_recent"] == pytest.approx(expected)


def test_without_examples_nothing_is_claimed() -> None:
    status = ProgressiveValidation(LogLoss()).status()
    assert status["judged"] == 0
    assert {status[name] for name in status if "auc" in name or "loss" in name} == {None}


def test_of_numbers_the_error_and_the_coverage_are_told_in_place_of_the_auc() -> None:
    validation, random = ProgressiveValidation(QuantileLoss(0.8)), np.random.default_rng(6)
    labels, scores = random.normal(20.0, 5.0, (2, 3_000)).astype(np.float32)
    scores[:100] = labels[:100]
    frozen = np.full(1_000, 24.0, np.float32)
    validation.add(labels[:2_000], scores[:2_000], None)
    validation.add(labels[2_000:], scores[2_000:], frozen)
    status = validation.status()
    assert status["measure"] == "mean_absolute_error"
    off, later = scores.astype(np.float64) - labels, slice(2_000, None)
    expected = {"": off, "_live": off[later], "_recent": off}
    for frozens in ("_frozen", "_recent_frozen"):
        expected[frozens] = frozen.astype(np.float64) - labels[later]
    for when, errors in expected.items():
        pinball = np.where(errors < 0.0, -0.8 * errors, 0.2 * errors)
        assert status[f"mean_absolute_error{when}"] == pytest.approx(abs(errors).mean(), rel=1e-9)
        assert status[f"coverage{when}"] == pytest.approx((errors >= 0.0).mean(), rel=1e-9)
        assert status[f"quantile_loss{when}"] == pytest.approx(pinball.mean(), rel=1e-9)
        assert status[f"auc{when}"] is None
    assert (status["base_rate"], status["average_precision"]) == (None, None)


def test_of_labels_there_is_no_error_and_no_coverage() -> None:
    validation = ProgressiveValidation(LogLoss())
    validation.add(*scored(500, 1), None)
    status = validation.status()
    assert status["measure"] == "auc"
    assert {status[name] for name in status if "error" in name or "coverage" in name} - {
        status["calibration_error"]
    } == {None}


def test_without_numbers_no_error_is_claimed() -> None:
    status = ProgressiveValidation(SquaredLoss()).status()
    assert {status[name] for name in status if "error" in name or "coverage" in name} == {None}


def test_a_restored_validation_goes_on_counting() -> None:
    validation = ProgressiveValidation(LogLoss())
    labels, scores = scored(1_000, 5)
    validation.add(labels, scores, scores)
    other = ProgressiveValidation(LogLoss())
    other.restore(validation.arrays())
    for one in (validation, other):
        one.add(labels, scores, None)
    kept = ["judged", "auc", "log_loss", "compared", "auc_live", "auc_frozen"]
    assert [other.status()[name] for name in kept] == [validation.status()[name] for name in kept]


def test_a_restored_validation_of_numbers_goes_on_counting() -> None:
    validation, random = ProgressiveValidation(SquaredLoss()), np.random.default_rng(7)
    labels, scores = random.normal(20.0, 5.0, (2, 500)).astype(np.float32)
    validation.add(labels, scores, labels)
    other = ProgressiveValidation(SquaredLoss())
    other.restore(validation.arrays())
    for one in (validation, other):
        one.add(scores, labels, None)
    names = ("mean_absolute_error", "coverage", "squared_loss")
    kept = ["judged", *(f"{name}{when}" for name in names for when in ("", "_live", "_frozen"))]
    assert [other.status()[name] for name in kept] == [validation.status()[name] for name in kept]
