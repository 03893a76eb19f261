from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import gradient
from source_offsets import upto

from freshrank.actors.messages import Gradient, OffsetRange, Version
from freshrank.learner.parameters.gradient_sum import (
    AcceptedOffsets,
    PendingGradients,
    staleness,
    total,
)


@given(st.lists(st.sets(st.integers(-4, 4)), min_size=1, max_size=5))
def test_the_total_is_the_sum_by_id(shards: list[set[int]]) -> None:
    random = np.random.default_rng(0)
    gradients: list[Gradient] = []
    expected: dict[int, float] = {}
    for keys in shards:
        one = gradient(0, 1, keys=tuple(sorted(keys)), value=float(random.integers(1, 9)))
        gradients.append(one)
        for key, row in zip(one.keys, one.rows[:, 0], strict=True):
            expected[int(key)] = expected.get(int(key), 0.0) + float(row)
    summed = total(gradients)
    assert summed.keys.tolist() == sorted(expected)
    assert summed.rows[:, 0].tolist() == [expected[key] for key in sorted(expected)]
    assert summed.dense.tolist() == [sum(float(one.dense[0]) for one in gradients)]
    assert {summed.dense.dtype, summed.rows.dtype} == {np.dtype(np.float32)}


def test_ids_at_the_ends_of_the_range_are_told_apart() -> None:
    ends = (-(2**63), 2**63 - 1)
    summed = total([gradient(0, 1, keys=ends), gradient(0, 1, keys=ends)])
    assert summed.keys.tolist() == list(ends)
    assert summed.rows[:, 0].tolist() == [2.0, 2.0]


def test_only_the_next_span_of_a_partition_fits() -> None:
    accepted = AcceptedOffsets()
    assert not accepted.fits(OffsetRange(0, upto(5, 2), upto(6, 2))), "something before it was lost"
    assert accepted.fits(OffsetRange(0, upto(5, 2), upto(6, 2), first=True)), (
        "nothing before it is kept"
    )
    assert accepted.fits(OffsetRange(0, upto(), upto(6, 2))), "nothing lies before it"
    accepted.take(OffsetRange(0, upto(5, 2), upto(6, 2)))
    assert accepted.fits(OffsetRange(0, upto(6, 2), upto(7, 3)))
    assert not accepted.fits(OffsetRange(0, upto(5, 2), upto(6, 2))), "twice"
    assert not accepted.fits(OffsetRange(0, upto(5, 2), upto(6, 2), first=True)), "the first, twice"
    assert not accepted.fits(OffsetRange(0, upto(7, 2), upto(8, 2))), "a gap"
    assert not accepted.fits(OffsetRange(0, upto(6, 1), upto(8, 2))), "an overlap in one topic"
    assert accepted.fits(OffsetRange(1, upto(0, 0), upto(8, 2))), (
        "partitions do not wait for each other"
    )


@pytest.mark.parametrize(
    ("base", "lag"), [((2, 7), 0), ((2, 3), 4), ((2, 8), None), ((1, 7), None), ((3, 0), None)]
)
def test_staleness_is_told_within_one_epoch_only(base: tuple[int, int], lag: int | None) -> None:
    assert staleness(Version(*base), Version(2, 7)) == lag


def test_waiting_is_counted_from_the_first_example() -> None:
    pending = PendingGradients()
    waits = []
    pending.add_without_examples(OffsetRange(0, upto(0), upto(1)))
    waits.append(pending.since)
    pending.add(gradient(1, 3), monotonic=5.0)
    pending.add(gradient(3, 4), monotonic=6.0)
    waits.append(pending.since)
    assert waits == [None, 5.0]
    assert pending.examples == 3
    assert [one.begin for one in pending.ranges] == [upto(0), upto(1), upto(3)]
