from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.messages import Inputs, Ints
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import MAX_DELAY_MS, Joiner

WITHIN_MS, GRACE_MS = 12, 4


@dataclass(frozen=True)
class Did:
    """An event; `pair` None when it makes nothing positive. Its record came `delay` later."""

    ts: int
    pair: int | None
    ahead: int = 0

    @property
    def passed(self) -> int:
        return self.ts - self.ahead


@dataclass(frozen=True)
class Saw:
    at: int
    pair: int


def ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def joiner() -> Joiner:
    return Joiner(WITHIN_MS, GRACE_MS, dense_width=1, id_width=1)


def happen(to: Joiner, events: Sequence[Did]) -> LabelledRows:
    places = [i for i, one in enumerate(events) if one.pair is not None]
    return to.happen(
        ints([one.passed for one in events]),
        ints(places),
        ints([events[i].ts for i in places]),
        ints([one.pair for one in events if one.pair is not None]),
    )


def show(to: Joiner, seen: Sequence[Saw], begin: int = 0) -> LabelledRows:
    order = ints(range(begin, begin + len(seen)))
    inputs = Inputs(order.astype(np.float32).reshape(-1, 1), order.reshape(-1, 1) * 7)
    pairs, times = ints([one.pair for one in seen]), ints([one.at for one in seen])
    for at in times.tolist():
        assert to.admit(at, at) is None
    return to.show(pairs, times, order, inputs)


Known = set[tuple[int, float, int]]


def known(rows: LabelledRows) -> Known:
    """(place, label, time) of each, after checking that the inputs belong to the place."""
    assert rows.dense[:, 0].tolist() == rows.order.tolist()
    assert rows.ids[:, 0].tolist() == (rows.order * 7).tolist()
    triples = list(
        zip(rows.order.tolist(), rows.labels.tolist(), rows.event_times_ms.tolist(), strict=True)
    )
    assert len(set(triples)) == len(triples)
    return set(triples)


def by_hand(events: Sequence[Did], seen: Sequence[Saw]) -> Known:
    """The rule as it is written down, one pair at a time."""
    found: Known = set()
    for place, shown in enumerate(seen):
        watermark = None
        for one in events:
            counts = watermark is None or one.ts >= watermark - GRACE_MS
            soon = shown.at <= one.ts <= shown.at + WITHIN_MS
            if one.pair == shown.pair and counts and soon:
                found.add((place, 1.0, one.ts))
                break
            watermark = one.passed if watermark is None else max(watermark, one.passed)
            if watermark > shown.at + WITHIN_MS + GRACE_MS:
                found.add((place, 0.0, shown.at + WITHIN_MS + GRACE_MS))
                break
    return found


pairs = st.integers(1, 3)


@st.composite
def logs(draw: st.DrawFn) -> list[Did]:
    """Events that come nearly in order of time, some from clocks that are ahead."""
    events, now = [], 0
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.integers(0, 5))
        ahead = draw(st.sampled_from([0, 0, 0, 7]))
        events.append(Did(now - draw(st.integers(0, 6)) + ahead, draw(st.none() | pairs), ahead))
    return events


@st.composite
def sightings(draw: st.DrawFn) -> list[Saw]:
    seen, now = [], 0
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.integers(0, 5))
        seen.append(Saw(now - draw(st.integers(0, 6)), draw(pairs)))
    return seen


cuts = st.lists(st.tuples(st.booleans(), st.integers(1, 10)), max_size=40)


@settings(deadline=None, max_examples=300)
@given(logs(), sightings(), cuts, st.integers(0, 40))
def test_any_interleaving_and_a_restart_anywhere_give_the_examples_of_the_rule(
    events: list[Did], seen: list[Saw], turns: list[tuple[bool, int]], restart: int
) -> None:
    under_test = joiner()
    found: Known = set()
    at_event = at_seen = 0
    turns = [*turns, (True, len(events)), (False, len(seen)), (True, len(events))]
    for turn, (is_event, count) in enumerate(turns):
        if turn == restart:
            arrays = {name: one.copy() for name, one in under_test.freeze()().items()}
            under_test = joiner()
            under_test.load(arrays)
        if is_event:
            rows = happen(under_test, events[at_event : at_event + count])
            at_event = min(at_event + count, len(events))
        else:
            rows = show(under_test, seen[at_seen : at_seen + count], at_seen)
            at_seen = min(at_seen + count, len(seen))
        assert not found & known(rows)
        found |= known(rows)
        # Not only in the end: at each cut the set follows from what was read up to it.
        assert found == by_hand(events[:at_event], seen[:at_seen])
    assert under_test.pending == len(seen) - len(found)


def test_an_event_makes_an_earlier_sight_positive_at_once() -> None:
    one = joiner()
    assert known(show(one, [Saw(100, 1), Saw(100, 2)])) == set()
    assert known(happen(one, [Did(100 + WITHIN_MS, 1)])) == {(0, 1.0, 100 + WITHIN_MS)}
    assert one.pending == 1


def test_a_sight_that_is_read_after_its_event_is_positive_at_once() -> None:
    one = joiner()
    assert known(happen(one, [Did(110, 1), Did(400, None)])) == set()
    assert known(show(one, [Saw(100, 1), Saw(100, 2)])) == {(0, 1.0, 110), (1, 0.0, 116)}


@pytest.mark.parametrize("ts", [99, 113])
def test_an_event_before_or_too_long_after_the_sight_is_not_its_label(ts: int) -> None:
    one = joiner()
    show(one, [Saw(100, 1)])
    assert known(happen(one, [Did(ts, 1)])) == set()
    assert known(happen(one, [Did(117, None)])) == {(0, 0.0, 116)}


def test_a_clock_that_is_ahead_does_not_make_the_labels_of_others_late() -> None:
    one = joiner()
    show(one, [Saw(100, 1)])
    happen(one, [Did(5_000, None, ahead=4_900)])
    assert known(happen(one, [Did(110, 1)])) == {(0, 1.0, 110)}


def test_labels_are_forgotten_when_no_sight_to_come_can_match_them() -> None:
    one = joiner()
    happen(one, [Did(1_000, 1), Did(MAX_DELAY_MS + 2_000, None)])
    assert one.labels == 1
    show(one, [Saw(MAX_DELAY_MS + 1_001, 9)])
    assert one.labels == 0


def test_labels_are_forgotten_while_nothing_is_shown_for_long() -> None:
    one = joiner()
    happen(one, [Did(1_000, 1), Did(MAX_DELAY_MS + 2_000, None)])
    one.all_shown_until(MAX_DELAY_MS + 1_000)
    assert one.labels == 1
    one.all_shown_until(MAX_DELAY_MS + 1_001)
    assert one.labels == 0


def test_an_impression_that_comes_far_too_late_is_refused_with_a_reason() -> None:
    one = joiner()
    assert one.admit(10_000_000, 10_000_000) is None
    assert one.admit(10_000_000 - MAX_DELAY_MS, 10_000_000) is None
    assert "before an earlier record" in str(
        one.admit(10_000_000 - MAX_DELAY_MS - 1, 10_000_000 - 5)
    )
    assert "from the record's time" in str(one.admit(10_000_000, 10_000_001 + MAX_DELAY_MS))


def test_a_thousand_sights_of_one_pair_are_all_found_by_one_event() -> None:
    one = joiner()
    for begin in range(0, 5_000, 500):
        show(one, [Saw(100, 1)] * 500, begin)
    found = known(happen(one, [Did(110, 1)]))
    assert len(found) == 5_000 and {label for _, label, _ in found} == {1.0}
    assert one.pending == 0
