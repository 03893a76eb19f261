"""Examples that correct another one: learned as negative first, and then found to be positive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import LAYOUT, MODELS, examples, gradient

from freshrank.actors.messages import Bools, Examples, Gradient, OffsetRange, SourceOffsets
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.evaluation.progressive import ProgressiveValidation, scored_examples
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.broken_weights import BrokenWeightsDetector
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.undo.kept_gradients import (
    gradient_arrays,
    gradients_from,
    gradients_to_json,
)
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import DownSampled, LogLoss, Loss
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_moments import COUNT, merge
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

DELAY_MS = 60_000


def negatives(work: Examples) -> Examples:
    return replace(work, labels=np.zeros_like(work.labels))


def corrections(work: Examples) -> Examples:
    """Of those of `work` that are positive."""
    positive = work.labels > 0.5
    served = None if work.served is None else work.served[positive]
    return replace(
        work,
        inputs=replace(
            work.inputs, dense=work.inputs.dense[positive], ids=work.inputs.ids[positive]
        ),
        labels=work.labels[positive],
        event_times_ms=work.event_times_ms[positive],
        corrects=np.ones(np.count_nonzero(positive), np.bool_),
        served=served,
    )


def gradient_of(model: Model, *parts: Examples) -> list[Gradient]:
    """Of each at the initial weights, its examples at once."""
    weights = ModelWeights(model)
    weights.apply(Learner(model, SGD(), LearnerSettings()).snapshot(0))
    differentiator = CompiledDifferentiator(model, weights)
    return [differentiator.gradient(part) for part in parts]


def rows_of(*gradients: Gradient) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for one in gradients:
        for key, row in zip(one.keys.tolist(), one.rows.astype(np.float64), strict=True):
            found[key] = found.get(key, 0.0) + row
    return found


@pytest.mark.parametrize("name", ["logistic regression", "linear SVM", "DeepFM without layers"])
def test_a_negative_and_its_correction_are_together_the_gradient_of_the_true_label(
    name: str,
) -> None:
    # Without numbers: of fewer rows the learner standardises them by other moments.
    work = examples(MODELS[name].layout, 60)
    work = replace(work, inputs=replace(work.inputs, dense=np.ones_like(work.inputs.dense)))
    true, first, then = gradient_of(MODELS[name], work, negatives(work), corrections(work))
    assert np.abs(true.dense).max() > 0.1
    np.testing.assert_allclose(first.dense + then.dense, true.dense, atol=1e-4)
    both, expected = rows_of(first, then), rows_of(true)
    for key, row in expected.items():
        np.testing.assert_allclose(both[key], row, atol=1e-5)


def test_the_inputs_of_what_is_corrected_are_counted_once() -> None:
    work = examples(LAYOUT, 60)
    first, then = gradient_of(MODELS["logistic regression"], negatives(work), corrections(work))
    assert then.moments[COUNT].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(merge(first.moments, then.moments), first.moments)


def test_predictions_that_were_served_are_judged_and_not_those_of_weights_that_know() -> None:
    random = np.random.default_rng(3)
    work = examples(LAYOUT, 2_000)
    served = random.random(2_000).astype(np.float32)
    work = replace(work, served=served)
    first, then = gradient_of(MODELS["logistic regression"], negatives(work), corrections(work))
    validation = ProgressiveValidation(LogLoss())
    for one in (first, then):
        validation.add(*scored_examples(one))
    status = validation.status()
    assert status["judged"] == 2_000
    assert status["base_rate"] == pytest.approx(work.labels.mean())
    assert status["auc"] == pytest.approx(exact_auc(work.labels, served), abs=1e-3)
    assert status["auc_recent"] == pytest.approx(exact_auc(work.labels, served), abs=1e-9)
    mean = LogLoss().value(work.labels, served).mean()
    assert status["log_loss"] == pytest.approx(mean, rel=1e-5)
    assert status["log_loss_recent"] == pytest.approx(mean, rel=1e-5)


def test_examples_that_were_not_served_are_judged_by_the_weights() -> None:
    (gradient,) = gradient_of(MODELS["logistic regression"], examples(LAYOUT, 10))
    assert (scored_examples(gradient).live == gradient.scores).all()


class Clicks:
    """Shown items, and the clicks on them half a minute later, scored by a calibrated model."""

    def __init__(self, rate: float, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.rate = rate
        self.waiting: list[tuple[int, np.ndarray]] = []

    def second(self, at_s: int, shown: int) -> tuple[np.ndarray, np.ndarray, Bools]:
        """Labels, scores and what corrects, in the order of the log."""
        odds = np.log(self.rate / (1 - self.rate)) + self.random.normal(0, 0.7, shown)
        chances = (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)
        clicked = chances[self.random.random(shown) < chances]
        self.waiting.append((at_s + 30, clicked))
        due = [scores for when, scores in self.waiting if when <= at_s]
        self.waiting = [one for one in self.waiting if one[0] > at_s]
        corrected = np.concatenate([np.zeros(0, np.float32), *due])
        labels = np.repeat(np.array([0, 1], np.float32), [shown, len(corrected)])
        scores, corrects = np.concatenate([chances, corrected]), labels > 0.5
        order = self.random.permutation(len(labels))
        return labels[order], scores[order], corrects[order]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("after_pause", [200, 20])
def test_clicks_that_come_later_are_no_worse_loss_also_when_traffic_stops(
    rate: float, after_pause: int
) -> None:
    detector, clicks = LossDriftDetector(LogLoss(), 0.3, DELAY_MS), Clicks(rate)
    broken = BrokenWeightsDetector(LogLoss(), 0.3)
    for at_s in range(400):
        shown = 0 if 200 <= at_s < 260 else 200 if at_s < 200 else after_pause
        labels, scores, corrects = clicks.second(at_s, shown)
        assert not detector.add(labels, scores, at_s * 1_000, corrects)
        (one,) = gradient_of(MODELS["logistic regression"], examples(LAYOUT, 2))
        assert not broken.add(replace(one, labels=labels, scores=scores, corrects=corrects))


def test_clicks_on_what_nobody_was_to_click_are_a_worse_loss() -> None:
    detector, clicks = LossDriftDetector(LogLoss(), 0.3, DELAY_MS), Clicks(0.03)
    for at_s in range(200):
        labels, scores, corrects = clicks.second(at_s, 200)
        assert not detector.add(labels, scores, at_s * 1_000, corrects)
    tripped = 0
    for at_s in range(200, 240):
        labels, scores, corrects = clicks.second(at_s, 200)
        scores = np.where(corrects, np.float32(0.001), scores)
        tripped += detector.add(labels, scores, at_s * 1_000, corrects)
        if tripped:
            break
    assert tripped and at_s < 220


def test_what_is_held_back_comes_out_of_a_checkpoint_as_corrections() -> None:
    work = examples(LAYOUT, 30)
    heavy = replace(negatives(work), weights=np.arange(30, dtype=np.float32))
    parts = gradient_of(MODELS["logistic regression"], heavy, corrections(work))
    kept: Any = gradients_to_json(parts)
    arrays = gradient_arrays("held", parts)
    first, then = gradients_from(kept, "held", arrays, [])
    assert first.corrects is not None and not first.corrects.any()
    assert then.corrects is not None and then.corrects.all()
    assert first.weights is not None and first.weights.tolist() == list(range(30))
    assert then.weights is not None and (then.weights == 1.0).all()
    del arrays["held_corrects"]
    assert [one.corrects for one in gradients_from(kept, "held", arrays, [])] == [None, None]


@pytest.mark.parametrize("loss", [LogLoss(), DownSampled(LogLoss(), 0.1)], ids=repr)
def test_what_was_shown_before_a_freeze_is_not_compared_when_its_click_comes(loss: Loss) -> None:
    """A second shows 200 items; clicks come 30 s later; the reference is frozen at second 40."""
    random, topics = np.random.default_rng(11), ["events", "shown"]
    validation = ProgressiveValidation(loss, topics=topics)
    shown, clicked = [], []
    for second in range(100):
        scores = random.uniform(0.05, 0.95, 200).astype(np.float32)
        shown.append(scores)
        clicked.append(random.random(200) < scores)
        late = second - 30
        corrected = shown[late][clicked[late]] if late >= 0 else scores[:0]
        live = np.concatenate([scores, corrected])
        corrects = np.repeat([False, True], [200, len(corrected)])
        if second == 40:
            validation.restart_comparison()
        one = replace(
            gradient(0, 1),
            offset_range=OffsetRange(
                0,
                SourceOffsets({"events": second, "shown": second}),
                SourceOffsets({"events": second + 1, "shown": second + 1}),
            ),
            labels=corrects.astype(np.float32),
            scores=live,
            reference_scores=live if second >= 41 else None,  # the shards freeze a moment later
            corrects=corrects,
            origins=np.repeat([second, late], [200, len(corrected)]),
        )
        validation.take(one)
        assert validation.status()["judged"] == 200 * (second + 1)
        if second == 60:  # a checkpoint, and a restart
            again = ProgressiveValidation(loss, topics=topics)
            again.restore(validation.arrays())
            validation = again
    known = np.concatenate(shown[41:])
    labels = np.concatenate([*clicked[41:70], np.zeros(30 * 200, bool)]).astype(np.float32)
    status = validation.status()
    assert status["compared"] == len(known)
    assert status["auc_live"] == pytest.approx(exact_auc(labels, known), abs=2e-3)
    assert status["auc_frozen"] == status["auc_live"]
    assert status["calibration_error_live"] is not None
