from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning import gradient
from pydantic import ValidationError

from freshrank.learner.guard.bounds import GradientSizes, weights_error
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.losses import LogLoss

GOOD = gradient(0, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    rows = np.array([[bad]], np.float32)
    guard, sizes = GuardSettings(), GradientSizes(LogLoss())
    assert sizes.error(GOOD, guard) is None
    dense, scores = rows[0], np.array([0.5, bad], np.float32)
    for broken, name in (
        (replace(GOOD, rows=rows), "row gradient"),
        (replace(GOOD, dense=dense), "dense gradient"),
        (replace(GOOD, scores=scores), "score or a label"),
        (replace(GOOD, labels=scores), "score or a label"),
    ):
        assert sizes.error(broken, guard) == f"a {name} is not finite"


def test_weights_beyond_the_bound_are_refused_with_their_size() -> None:
    fine, large = np.array([1.0, -2.0], np.float32), np.array([[1.0, -2.5]], np.float32)
    assert weights_error(fine, fine[None], 2.0) is None
    assert weights_error(fine, large, 2.0) == "a row weight of 2.5 is beyond 2"
    assert weights_error(large[0], fine[None], 2.0) == "a dense weight of 2.5 is beyond 2"
    nan = np.array([np.nan], np.float32)
    assert weights_error(nan, fine[None], 2.0) == "a dense weight of inf is beyond 2"
    assert weights_error(fine, np.empty((0, 2), np.float32), 2.0) is None


def test_a_gradient_beyond_the_bound_is_refused_with_its_size() -> None:
    sizes, guard = GradientSizes(LogLoss()), GuardSettings(max_gradient=100.0)
    assert sizes.error(gradient(0, 2, value=50.0), guard) is None
    trouble = sizes.error(gradient(0, 2, value=500.0), guard)
    assert trouble == "a gradient of norm 707.107 per unit of error is beyond 100"


def test_a_gradient_far_from_what_is_typical_is_refused() -> None:
    sizes, guard = GradientSizes(LogLoss()), GuardSettings(gradient_factor=100.0)
    for number in range(32):
        assert sizes.error(gradient(0, 2, value=1.0 + number % 5), guard) is None
    assert sizes.error(gradient(0, 2, value=99.0), guard) is None
    assert sizes.error(gradient(0, 2, value=900.0), guard) is not None


def test_spans_of_every_length_are_judged_alike() -> None:
    """One example at a time is typical; then come 4,096 at once, whose gradients add up."""
    sizes, guard = GradientSizes(LogLoss()), GuardSettings(gradient_factor=3.0)
    for _ in range(50):
        assert sizes.error(gradient(0, 1), guard) is None
    assert sizes.error(gradient(0, 4096, value=4096.0), guard) is None
    assert sizes.error(gradient(0, 4096, value=5 * 4096.0), guard) is not None


def test_surprising_labels_are_no_explosion() -> None:
    """With one click in a thousand its residual is a thousand times the others'."""
    sizes, guard = GradientSizes(LogLoss()), GuardSettings(gradient_factor=3.0)
    for number in range(100):
        score, label = 0.001, float(number % 50 == 49)
        one = replace(
            gradient(0, 1, value=score - label),
            scores=np.array([score], np.float32),
            labels=np.array([label], np.float32),
        )
        assert sizes.error(one, guard) is None


def test_a_new_size_that_stays_is_accepted_in_the_end() -> None:
    sizes, guard = GradientSizes(LogLoss()), GuardSettings(gradient_factor=10.0)
    for _ in range(300):
        assert sizes.error(gradient(0, 2), guard) is None
    refused = [sizes.error(gradient(0, 2, value=50.0), guard) for _ in range(300)]
    assert refused[0] is not None
    assert refused.index(None) == 128
    assert set(refused[128:]) == {None}


def test_examples_without_any_error_have_no_gradient() -> None:
    labels = np.array([0.0, 1.0], np.float32)
    sure = replace(gradient(0, 2), labels=labels, scores=labels)
    trouble = GradientSizes(LogLoss()).error(sure, GuardSettings())
    assert trouble is not None and "without any error" in trouble
    nothing = replace(gradient(0, 2, value=0.0), labels=labels, scores=labels)
    assert GradientSizes(LogLoss()).error(nothing, GuardSettings()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_weight", 0.0),
        ("gradient_factor", 1.0),
        ("loss_tolerance", -1.0),
        ("trial_examples", 0),
    ],
)
def test_bounds_that_nothing_could_keep_to_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        GuardSettings.model_validate({name: value})
