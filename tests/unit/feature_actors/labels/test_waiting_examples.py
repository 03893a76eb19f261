"""Examples of events whose label is known some time after the event."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.messages import Floats, Inputs
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.waiting_examples import WaitingExamples

AFTER_MS = 1_000


def rows(times_ms: Sequence[int], first: int = 0) -> LabelledRows:
    """Rows whose dense input and place are their number, and every other of which is positive."""
    order = np.arange(first, first + len(times_ms), dtype=np.int64)
    inputs = Inputs(order[:, None].astype(np.float32), order[:, None] + 7)
    weights = (order + 1).astype(np.float32)
    labels = (order % 2).astype(np.float32)
    return LabelledRows.not_served(order, inputs, labels, np.array(times_ms), weights)


def waiting() -> WaitingExamples:
    return WaitingExamples(AFTER_MS, 1, 1)


def take(to: WaitingExamples, times_ms: Sequence[int], clock_ms: int, first: int = 0) -> list[int]:
    entities = np.arange(first, first + len(times_ms), dtype=np.int64) % 3
    found: list[int] = to.take(rows(times_ms, first), entities, clock_ms).order.tolist()
    return found


def test_an_example_is_given_when_the_clock_is_as_much_later_as_was_said() -> None:
    to = waiting()
    assert take(to, [10, 20], 1_009) == []
    assert to.pending == 2
    assert take(to, [30], 1_010, 2) == [0], "at that very time it is known"
    assert take(to, [1_900], 1_900, 3) == [1, 2]
    assert to.pending == 1


def test_it_is_the_same_example_dated_when_its_label_is_known() -> None:
    to = waiting()
    take(to, [10, 20, 30], 30)
    found = to.take(rows([]), np.zeros(0, np.int64), 1_025)
    wanted = rows([10, 20])
    assert found.event_times_ms.tolist() == [1_010, 1_020]
    for name in ("order", "dense", "ids", "labels", "weights", "corrects"):
        assert found.arrays()[name].tolist() == wanted.arrays()[name].tolist(), name


def test_an_event_that_came_so_late_gives_its_example_at_once() -> None:
    to = waiting()
    assert take(to, [5_000, 100], 5_000) == [1]


def test_examples_of_who_is_forgotten_are_never_learned_but_what_is_known_by_then_is() -> None:
    to = waiting()
    take(to, [0, 10, 20, 500, 600, 700], 700)
    assert to.forget(0, 1_005).order.tolist() == [0], "of entity 0, and known"
    assert to.pending == 4
    assert take(to, [], 9_000) == [1, 2, 4, 5], "3 is of entity 0"


def test_the_prediction_is_that_of_the_time_of_the_event() -> None:
    to, version = waiting(), [0.25]

    def predict(inputs: Inputs) -> Floats:
        return np.full(len(inputs.dense), version[0], np.float32)

    to.predict = predict
    take(to, [10], 10)
    version[0] = 0.75
    found = to.take(rows([1_200], 1), np.zeros(1, np.int64), 3_000)
    assert found.served.tolist() == [0.25, 0.75]


def test_without_a_prediction_there_is_none() -> None:
    to = waiting()
    take(to, [10], 10)
    assert np.isnan(to.take(rows([]), np.zeros(0, np.int64), 3_000).served).all()


steps = st.lists(st.tuples(st.integers(0, 400), st.integers(-300, 0)), max_size=40)


@given(steps, st.lists(st.integers(1, 7), max_size=40), st.integers(0, 40))
def test_what_is_given_by_a_time_follows_from_the_log_whatever_the_batches_and_restarts(
    events: list[tuple[int, int]], sizes: list[int], restart: int
) -> None:
    """Events by the step of the clock, and by how much each is older than that."""
    clocks = np.cumsum([step for step, _ in events]).tolist()
    times = [clock + late for clock, (_, late) in zip(clocks, events, strict=True)]
    to, given, at = waiting(), list[int](), 0
    for size in [*sizes, *[1] * len(events)]:
        if at == len(events):
            break
        end = min(at + size, len(events))
        given += take(to, times[at:end], clocks[end - 1], at)
        known = [n for n in range(end) if times[n] + AFTER_MS <= clocks[end - 1]]
        assert sorted(given) == known
        if at <= restart < end:
            arrays, to = to.freeze()(), waiting()
            to.load(arrays)
        at = end
