from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning import NO_DENSE, contents, delta

from freshrank.actors.errors import ChecksumMismatch, ProgressError
from freshrank.actors.messages import Delta, InputLayout, Inputs, Version
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.parameters.input_moments import moments_of, no_moments
from freshrank.learner.parameters.weights import ModelWeights

MODEL = LogisticRegression().bind(NO_DENSE)
FIRST = delta(Version(1, 0), None, {5: 0.5, 6: 0.6})


def weights(*deltas: Delta) -> ModelWeights:
    made = ModelWeights(MODEL)
    for one in deltas:
        made.apply(one)
    return made


def test_a_delta_changes_rows_drops_the_evicted_and_moves_the_version() -> None:
    held = weights(FIRST, delta(Version(1, 1), Version(1, 0), {6: 1.5, 7: 0.75}, evicted=(5,)))
    assert contents(held.table.keys, held.table.rows) == {6: [1.5], 7: [0.75]}
    assert held.dense.tolist() == [1.0]
    assert held.version == Version(1, 1)


def test_a_row_that_was_evicted_and_comes_back_in_one_delta_is_there() -> None:
    held = weights(FIRST, delta(Version(1, 1), Version(1, 0), {5: 2.0}, evicted=(5,)))
    assert held.table.read(np.array([5])).tolist() == [[2.0]]


def test_a_snapshot_replaces_everything() -> None:
    held = weights(FIRST, delta(Version(2, 0), None, {9: 0.9}))
    assert held.table.keys.tolist() == [9]
    assert held.version == Version(2, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        delta(Version(1, 2), Version(1, 1), {5: 9.0}),
        delta(Version(2, 1), Version(2, 0), {5: 9.0}),
        delta(Version(1, 0), None, {5: 9.0}),
        delta(Version(0, 7), None, {5: 9.0}),
        Delta(
            Version(1, 1),
            Version(1, 0),
            np.zeros(2, np.float32),
            no_moments(0),
            np.array([5]),
            np.zeros((1, 1), np.float32),
            np.empty(0, np.int64),
        ),
        Delta(
            Version(1, 1),
            Version(1, 0),
            np.zeros(1, np.float32),
            no_moments(0),
            np.array([5]),
            np.zeros((1, 2), np.float32),
            np.empty(0, np.int64),
        ),
    ],
    ids=["gap", "other epoch", "same version", "older", "dense size", "row width"],
)
def test_a_delta_that_does_not_fit_changes_nothing(wrong: Delta) -> None:
    held = weights(FIRST)
    before = held.checksum()
    with pytest.raises(ProgressError):
        held.apply(wrong)
    assert (held.checksum(), held.version) == (before, Version(1, 0))


def test_a_delta_without_a_snapshot_before_it_is_refused() -> None:
    with pytest.raises(ProgressError, match=r"1\.0 -> 1\.1 does not continue None"):
        weights(delta(Version(1, 1), Version(1, 0)))


def test_copies_that_came_by_different_ways_have_one_checksum() -> None:
    stepwise = weights(
        FIRST,
        delta(Version(1, 1), Version(1, 0), {6: 1.6, 7: 0.7}),
        delta(Version(1, 2), Version(1, 1), {4: 0.4}, evicted=(5,)),
    )
    at_once = weights(delta(Version(1, 2), None, {4: 0.4, 6: 1.6, 7: 0.7}))
    assert stepwise.checksum() == at_once.checksum()
    assert stepwise.checksum() != weights(FIRST).checksum()


def test_a_copy_stays_when_the_original_moves_on() -> None:
    held = weights(FIRST)
    inputs = Inputs(np.zeros((1, 0), np.float32), np.array([[5]]))
    frozen, before = held.copy(), held.score(inputs)
    held.apply(delta(Version(1, 1), Version(1, 0), {5: -3.0}))
    assert frozen.score(inputs).tolist() == before.tolist()
    assert frozen.version == Version(1, 0)
    assert held.score(inputs)[0] != before[0]


def checked(*deltas: Delta) -> list[Delta]:
    """The same with the checksums that they lead to."""
    held, found = ModelWeights(MODEL), []
    for one in deltas:
        held.apply(one)
        found.append(replace(one, checksum=held.checksum()))
    return found


SECOND = delta(Version(1, 1), Version(1, 0), {6: 1.5, 7: 0.75}, evicted=(5,))


def test_deltas_that_lead_where_they_say_are_taken() -> None:
    back = delta(Version(1, 2), Version(1, 1), {5: 2.0, 7: 1.0}, evicted=(7,))
    held = weights(*checked(FIRST, SECOND, back))
    assert held.checksum() == held.expected_checksum == weights(FIRST, SECOND, back).checksum()


@pytest.mark.parametrize("part", ["dense", "rows", "keys", "evicted"])
def test_a_delta_that_was_damaged_changes_nothing(part: str) -> None:
    first, second = checked(FIRST, SECOND)
    array = getattr(second, part).copy()
    array.flat[0] += 1
    held = weights(first)
    before = held.checksum()
    with pytest.raises(ChecksumMismatch, match=r"1\.0 -> 1\.1 does not give"):
        held.apply(replace(second, **{part: array}))
    assert (held.checksum(), held.version) == (before, Version(1, 0))
    held.apply(second)


def test_a_snapshot_that_was_damaged_changes_nothing() -> None:
    (first,) = checked(FIRST)
    damaged = replace(first, version=Version(1, 5), rows=first.rows + 1.0)
    held = weights(first)
    with pytest.raises(ChecksumMismatch):
        held.apply(damaged)
    assert held.version == Version(1, 0)


def test_a_delta_on_a_row_that_was_damaged_is_refused() -> None:
    first, second = checked(FIRST, SECOND)
    held = weights(first)
    held.table.rows[held.table.find(np.array([6]))] = 9.0
    with pytest.raises(ChecksumMismatch):
        held.apply(second)


def test_a_replacement_repairs_whatever_was_held_and_may_have_its_version() -> None:
    first, second = checked(FIRST, SECOND)
    held = weights(first, second)
    held.table.rows[:] = 9.0
    held.replace([first, second])
    assert held.checksum() == weights(FIRST, SECOND).checksum()
    assert held.version == Version(1, 1)
    held.replace(checked(delta(Version(1, 4), None, {3: 0.3})))
    assert held.table.keys.tolist() == [3]


def test_a_replacement_never_leads_back() -> None:
    first, second = checked(FIRST, SECOND)
    held = weights(first, second)
    before = held.checksum()
    with pytest.raises(ProgressError, match="never goes back"):
        held.replace([first])
    assert (held.checksum(), held.version) == (before, Version(1, 1))


def test_a_row_is_explained_by_the_weights_of_the_moment_of_the_call() -> None:
    held = weights(FIRST)
    scores = held.score(Inputs(np.zeros((2, 0), np.float32), np.array([[5], [99]])))
    explanations = held.explain(Inputs(np.zeros((2, 0), np.float32), np.array([[5], [99]])))
    held.apply(delta(Version(1, 1), Version(1, 0), {5: 7.0}))
    known, unknown = explanations
    assert [known.score, unknown.score] == scores.tolist()
    assert (known.base, known.fields.tolist()) == (0.0, [0.5])
    assert (unknown.output, unknown.fields.tolist()) == (0.0, [0.0])


def test_the_base_is_the_output_at_the_mean_of_the_inputs() -> None:
    layout = InputLayout(("price", "views"), ())
    held = ModelWeights(LogisticRegression().bind(layout))
    seen = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)
    held.dense = np.array([0.25, 2.0, 4.0], np.float32)
    held.moments = moments_of(seen)
    asked = np.array([[2.0, 5.0], [3.0, 9.0]], np.float32)
    mean, far = held.explain(Inputs(asked, np.zeros((2, 0), np.int64)))
    assert (mean.output, mean.base, mean.dense.tolist()) == (0.25, 0.25, [0.0, 0.0])
    assert far.dense.tolist() == [2.0, 0.0], "an input that was always the same tells nothing"
