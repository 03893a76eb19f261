"""The running moments of dense inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from freshrank.actors.messages import Floats
from freshrank.learner.parameters.input_moments import (
    COUNT,
    FARTHEST,
    MOST_EXAMPLES,
    merge,
    moments_of,
    no_moments,
    scale_of,
    standardize,
    unscaled,
)

ROWS = arrays(
    np.float32,
    st.tuples(st.integers(0, 20), st.just(2)),
    elements=st.floats(-100, 100, width=32),
)


@given(ROWS, ROWS)
def test_the_moments_of_parts_merge_to_those_of_the_whole(some: Floats, more: Floats) -> None:
    merged = merge(moments_of(some), moments_of(more))
    whole = moments_of(np.concatenate([some, more]))
    np.testing.assert_allclose(merged, whole, rtol=1e-9, atol=1e-6)


@given(ROWS)
def test_nothing_more_changes_nothing(some: Floats) -> None:
    assert (merge(moments_of(some), no_moments(2)) == moments_of(some)).all()


@given(ROWS)
def test_weights_of_before_keep_their_inputs_as_they_are(some: Floats) -> None:
    moments = merge(unscaled(2), moments_of(some))
    assert (moments == unscaled(2)).all()
    assert standardize(some, scale_of(moments)).tobytes() == some.tobytes()


def test_old_examples_fade_so_that_the_scale_follows_inputs_that_drift() -> None:
    old = np.array([[MOST_EXAMPLES], [0.0], [1.0]])
    new = np.array([[MOST_EXAMPLES], [8.0], [1.0]])
    merged = merge(merge(old, new), new)
    assert merged[COUNT, 0] == MOST_EXAMPLES
    assert merged[1, 0] == pytest.approx(6.0)


def test_an_input_that_never_varies_says_nothing_and_a_wild_one_no_more_than_ten() -> None:
    seen = np.array([[5.0, 1.0], [5.0, 3.0]], np.float32)
    x = np.array([[5.0, 1e9], [7.0, -1e9]], np.float32)
    assert standardize(x, scale_of(moments_of(seen))).tolist() == [
        [0.0, FARTHEST],
        [0.0, -FARTHEST],
    ]
    assert standardize(x, scale_of(no_moments(2))).tolist() == [[0.0, 0.0]] * 2
