from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning import gradient

from freshrank.learner.guard import GradientSizes, Guard

GOOD = gradient(0, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    rows = np.array([[bad]], np.float32)
    guard, sizes = Guard(), GradientSizes()
    assert sizes.trouble_with(GOOD, guard) is None
    dense, scores = rows[0], np.array([0.5, bad], np.float32)
    for broken, name in (
        (replace(GOOD, rows=rows), "row gradient"),
        (replace(GOOD, dense=dense), "dense gradient"),
        (replace(GOOD, scores=scores), "score or a label"),
        (replace(GOOD, labels=scores), "score or a label"),
    ):
        assert sizes.trouble_with(broken, guard) == f"a {name} is not finite"


def test_weights_beyond_the_bound_are_refused_with_their_size() -> None:
    guard = Guard(max_weight=2.0)
    fine, large = np.array([1.0, -2.0], np.float32), np.array([[1.0, -2.5]], np.float32)
    assert guard.trouble_with_weights(fine, fine[None]) is None
    assert guard.trouble_with_weights(fine, large) == "a row weight of 2.5 is beyond 2"
    assert guard.trouble_with_weights(large[0], fine[None]) == "a dense weight of 2.5 is beyond 2"
    nan = np.array([np.nan], np.float32)
    assert guard.trouble_with_weights(nan, fine[None]) == "a dense weight of inf is beyond 2"
    assert guard.trouble_with_weights(fine, np.empty((0, 2), np.float32)) is None
