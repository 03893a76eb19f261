"""The loss of classes, and what the guard makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import OF_CLASSES, examples

from freshrank.actors.messages import Floats
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.models.softmax_regression import SoftmaxLoss
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.settings import LearnerSettings

LOSS = SoftmaxLoss(("a", "b", "c"))
ROWS = st.lists(st.tuples(*[st.floats(-4, 4)] * 3), min_size=1, max_size=20)


@given(ROWS, st.integers(0, 2))
def test_the_residual_is_the_slope_of_the_loss_along_each_output(
    rows: list[tuple[float, float, float]], label: int
) -> None:
    labels, at = np.full(len(rows), label, np.float32), np.array(rows, np.float32)
    residuals = LOSS.residual(labels, LOSS.link.prediction(at))
    for place in range(3):
        step = np.zeros(3, np.float32)
        step[place] = 1e-2
        above, below = (LOSS.value(labels, LOSS.link.prediction(at + s * step)) for s in (1, -1))
        assert residuals[:, place] == pytest.approx((above - below) / 2e-2, abs=1e-2)


@given(ROWS)
def test_the_link_leads_back_but_for_what_all_outputs_have_in_common(
    rows: list[tuple[float, float, float]],
) -> None:
    at = np.array(rows, np.float32)
    again = LOSS.link.output(LOSS.link.prediction(at))
    np.testing.assert_allclose(
        again - again.mean(axis=1, keepdims=True), at - at.mean(axis=1, keepdims=True), atol=1e-3
    )


def test_no_constant_prediction_beats_the_shares_of_the_classes() -> None:
    labels = np.repeat(np.arange(3), (70, 20, 10)).astype(np.float32)
    shares = LOSS.label_moments(labels).mean(axis=0)
    best = LOSS.constant_of(shares)
    assert best == pytest.approx([0.7, 0.2, 0.1])

    def mean_loss(constant: Floats) -> float:
        return float(LOSS.value(labels, np.tile(constant, (100, 1))).mean())

    assert LOSS.of_moments(shares) == pytest.approx(mean_loss(best))
    for other in np.random.default_rng(0).dirichlet(np.ones(3), 200).astype(np.float32):
        assert mean_loss(other) >= mean_loss(best)


def drawn(shares: list[float], rows: int, seed: int) -> Floats:
    return np.random.default_rng(seed).choice(3, rows, p=shares).astype(np.float32)


def test_flipped_classes_are_a_worse_loss_and_other_shares_are_none() -> None:
    """A model that knows the shares and nothing else, as they were or as they are."""
    rare, even = [0.9, 0.05, 0.05], [0.34, 0.33, 0.33]
    detector = LossDriftDetector(LOSS, tolerance=0.3)
    known = np.tile(np.array(rare, np.float32), (256, 1))
    for number in range(40):
        assert not detector.add(drawn(rare, 256, number), known)
    now = np.tile(np.array(even, np.float32), (256, 1))
    for number in range(20):
        assert not detector.add(drawn(even, 256, 100 + number), now), "harder, and no worse"
    other = LossDriftDetector(LOSS, tolerance=0.3)
    for number in range(40):
        assert not other.add(drawn(rare, 256, number), known)
    tripped = [other.add((drawn(rare, 256, number) + 1) % 3, known) for number in range(4)]
    assert any(tripped)


def test_a_learner_of_classes_goes_on_from_its_checkpoint_with_its_guard() -> None:
    model = OF_CLASSES["softmax regression"]

    def learner() -> Learner:
        return Learner(model, Adagrad(0.1), LearnerSettings(), differentiate=CompiledDifferentiator)

    first = learner()
    for number in range(40):
        first.offer(examples(model.layout, 64, begin=64 * number, seed=number), 0.0)
        first.step(0, 0.0)
    log, other = first.rollback_log, learner().rollback_log
    other.loss_drift.restore(log.loss_drift.state())
    other.broken.restore(log.broken.state())
    assert other.loss_drift.state() == log.loss_drift.state()
    assert other.broken.state() == log.broken.state()
    assert log.loss_drift.normal < np.log(2.0)
