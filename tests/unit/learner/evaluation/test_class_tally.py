"""The report on classes, and the sums that a checkpoint keeps."""

from __future__ import annotations

import numpy as np
import pytest

from freshrank.actors.messages import Floats
from freshrank.learner.evaluation.class_tally import ClassTally
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.models.softmax_regression import SoftmaxLink, SoftmaxLoss

LOSS = SoftmaxLoss(("a", "b", "c", "never"))


def scored(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Labels of the first three classes, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    outputs = random.normal(size=(rows, 4)) + 1.5 * (labels[:, None] == np.arange(4))
    return labels.astype(np.float32), SoftmaxLink().prediction(outputs.astype(np.float32))


def test_its_figures_are_those_of_their_definitions() -> None:
    labels, likely = scored(4_000)
    tally = ClassTally(LOSS)
    for part in (slice(0, 1), slice(1, 1_500), slice(1_500, None)):
        tally.add(labels[part], likely[part])
    predicted, report = likely.argmax(axis=1), tally.report()
    for place, one in enumerate(report[:3]):
        own, said = labels == place, predicted == place
        hits = np.count_nonzero(own & said)
        assert (one.support, one.predicted) == (own.sum(), said.sum())
        assert (one.precision, one.recall) == (hits / said.sum(), hits / own.sum())
        assert one.f1 == pytest.approx(2 / (1 / one.precision + 1 / one.recall))
        exact = exact_auc(own.astype(np.float32), likely[:, place])
        assert one.auc == pytest.approx(exact, abs=2e-3)
    assert np.isnan(report[3].auc) and np.isnan(report[3].recall) and report[3].f1 == 0.0
    quality = tally.quality()
    assert quality.auc == pytest.approx(np.mean([one.auc for one in report[:3]]))
    assert quality.accuracy == np.mean(predicted == labels)
    own_chance = likely[np.arange(4_000), labels.astype(np.int64)]
    assert quality.loss == pytest.approx(-np.log(own_chance).mean(), rel=1e-5)


def test_the_likeliest_class_is_calibrated_where_labels_are_drawn_by_the_probabilities() -> None:
    random, (_, likely) = np.random.default_rng(1), scored(20_000)
    drawn = (likely.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    tally = ClassTally(LOSS)
    tally.add(np.minimum(drawn, 3).astype(np.float32), likely)
    bins = tally.calibration()
    assert len(bins) == 10
    for one in bins:
        assert one.observed == pytest.approx(one.predicted, abs=0.05)


def test_without_examples_nothing_is_known() -> None:
    tally = ClassTally(LOSS)
    assert tally.count == 0 and np.isnan(tally.quality()).all()
    assert [one.support for one in tally.report()] == [0, 0, 0, 0]


def test_a_validation_goes_on_from_what_a_checkpoint_keeps() -> None:
    labels, likely = scored(500)
    before, after = ProgressiveValidation(LOSS), ProgressiveValidation(LOSS)
    before.add(labels, likely, likely[::-1].copy())
    after.restore(before.arrays())
    kept = ("accuracy", "log_loss", "auc", "accuracy_frozen", "classes", "calibration_error")
    assert [after.status()[name] for name in kept] == [before.status()[name] for name in kept]
    status = before.status()
    assert status["accuracy_recent"] == status["accuracy"] != status["accuracy_recent_frozen"]
    assert status["measure"] == "accuracy"
