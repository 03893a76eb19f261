from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.impressions import ServedRows
from freshrank.actors.messages import Inputs, Ints
from freshrank.feature_actors.labels.examples import RANK_BITS, LabelledRows
from freshrank.feature_actors.labels.forgettings import AHEAD_MS
from freshrank.feature_actors.labels.joiner import EARLY_MS, MAX_DELAY_MS, Joiner
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS

WITHIN_MS, GRACE_MS = 12_000, 4_000
ITEMS = 100
"""Of each entity: that of a pair is its quotient by this number."""


@dataclass(frozen=True)
class Did:
    """An event; `pair` None when it makes nothing positive.

    It reached the log at `at`, `ahead` of the clock there.
    """

    at: int
    pair: int | None
    ahead: int = 0

    @property
    def clock(self) -> int:
        return self.at - self.ahead


@dataclass(frozen=True)
class Gone:
    """The tombstone of an entity."""

    at: int
    entity: int
    ahead: int = 0

    @property
    def clock(self) -> int:
        return self.at - self.ahead


@dataclass(frozen=True)
class Saw:
    at: int
    pair: int


def ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def joiner(*, listwise: bool = False) -> Joiner:
    return Joiner(WITHIN_MS, GRACE_MS, (1, 1), listwise=listwise)


def happen(to: Joiner, events: Sequence[Did | Gone]) -> LabelledRows:
    found = [LabelledRows.none(1, 1)]
    for is_gone, some in groupby(events, lambda one: isinstance(one, Gone)):
        if is_gone:
            gone = [one for one in some if isinstance(one, Gone)]
            found += [to.forget(one.entity, one.at, one.clock) for one in gone]
        else:
            found.append(_did(to, [one for one in some if isinstance(one, Did)]))
    return LabelledRows.join(found, 1, 1)


def _did(to: Joiner, events: Sequence[Did]) -> LabelledRows:
    labels = [one for one in events if one.pair is not None]
    pairs = ints([one.pair for one in labels if one.pair is not None])
    label_ms = to.forgotten.later(pairs // ITEMS, ints([one.at for one in labels]))
    return to.happen(ints([one.clock for one in events]), label_ms, pairs)


def show(
    to: Joiner,
    seen: Sequence[Saw],
    begin: int = 0,
    clock: int = LONG_AGO_MS,
    *,
    scored: bool = False,
) -> LabelledRows:
    """Show items; those that are not `scored` are of impressions of a version before."""
    order = ints(range(begin, begin + len(seen)))
    inputs = Inputs(order.astype(np.float32).reshape(-1, 1), order.reshape(-1, 1) * 7)
    pairs, times = ints([one.pair for one in seen]), ints([one.at for one in seen])
    entities = pairs // ITEMS
    scores = order.astype(np.float32) if scored else np.full(len(seen), np.nan, np.float32)
    return to.show(entities, pairs, times, order, ServedRows(pairs, inputs, scores), clock)


Known = set[tuple[int, float, int]]


def known(rows: LabelledRows) -> Known:
    """(place, label, time) of each, after checking that the inputs belong to the place."""
    assert rows.dense[:, 0].tolist() == rows.order.tolist()
    assert rows.ids[:, 0].tolist() == (rows.order * 7).tolist()
    scored = ~np.isnan(rows.served)
    assert rows.served[scored].tolist() == rows.order[scored].tolist()
    assert (rows.corrects == (scored & (rows.labels > 0))).all()
    triples = list(
        zip(rows.order.tolist(), rows.labels.tolist(), rows.event_times_ms.tolist(), strict=True)
    )
    assert len(set(triples)) == len(triples)
    return set(triples)


def timed(events: Sequence[Did | Gone]) -> list[Did | Gone]:
    """The same: tombstones are later than label events before them, and those of theirs follow."""
    found: list[Did | Gone] = []
    newest = LONG_AGO_MS
    until: dict[int, int] = {}
    for one in events:
        at = one.at
        if isinstance(one, Gone):
            at = until[one.entity] = max(at, newest)
        elif one.pair is not None:
            at = max(at, until.get(one.pair // ITEMS, LONG_AGO_MS) + 1)
        if isinstance(one, Gone) or one.pair is not None:
            newest = max(newest, at)
        found.append(replace(one, at=at, ahead=at - one.clock))
    return found


def forgets(one: Did | Gone, shown: Saw) -> bool:
    is_its = isinstance(one, Gone) and one.entity == shown.pair // ITEMS
    return is_its and shown.at <= one.at + AHEAD_MS


Fate = tuple[int | None, int] | None
"""The event that makes an item positive, or None where it is known to be negative, and when."""


def fates(events: Sequence[Did | Gone], seen: Sequence[Saw]) -> list[Fate]:
    """The rule as it is written down, one pair at a time; None: it is not known, or never will."""
    found: list[Fate] = []
    spent: set[int] = set()
    for shown in seen:
        fate: Fate = None
        for number, one in enumerate(timed(events)):
            soon = shown.at - EARLY_MS <= one.at <= shown.at + WITHIN_MS
            counts = one.at >= shown.at or number not in spent
            if isinstance(one, Did) and one.pair == shown.pair and soon and counts:
                fate = number, one.at
                spent.add(number)
                break
            over = one.clock > shown.at + WITHIN_MS + GRACE_MS
            if over:
                fate = None, shown.at + WITHIN_MS + GRACE_MS
            if over or forgets(one, shown):
                break
        found.append(fate)
    return found


def by_hand(events: Sequence[Did | Gone], seen: Sequence[Saw], *, scored: bool) -> Known:
    found: Known = {(place, 0.0, shown.at) for place, shown in enumerate(seen) if scored}
    for place, fate in enumerate(fates(events, seen)):
        if fate is not None and (fate[0] is not None or not scored):
            found.add((place, 0.0 if fate[0] is None else 1.0, fate[1]))
    return found


pairs = st.sampled_from([1, 2, ITEMS + 1])


@st.composite
def logs(draw: st.DrawFn) -> list[Did | Gone]:
    """Events at times that never go back, some of which are ahead of the clock."""
    events: list[Did | Gone] = []
    now = 0
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 300, 900, 2_500, 5_000]))
        ahead = draw(st.sampled_from([0, 0, 0, 7_000]))
        if draw(st.sampled_from([True, *[False] * 5])):
            events.append(Gone(now + ahead, draw(st.integers(0, 1)), ahead))
        else:
            events.append(Did(now + ahead, draw(st.none() | pairs), ahead))
    return events


@st.composite
def sightings(draw: st.DrawFn) -> list[Saw]:
    seen, now = [], 0
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 300, 900, 2_500, 5_000]))
        seen.append(Saw(now - draw(st.integers(0, 6_000)), draw(pairs)))
    return seen


cuts = st.lists(st.tuples(st.booleans(), st.integers(1, 10)), max_size=40)


@settings(deadline=None, max_examples=150)
@given(logs(), sightings(), cuts, st.integers(0, 40), st.booleans())
def test_any_interleaving_and_a_restart_anywhere_give_the_examples_of_the_rule(
    events: list[Did | Gone],
    seen: list[Saw],
    turns: list[tuple[bool, int]],
    restart: int,
    scored: bool,
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
            rows = show(under_test, seen[at_seen : at_seen + count], at_seen, scored=scored)
            at_seen = min(at_seen + count, len(seen))
        assert not found & known(rows)
        found |= known(rows)
        # Not only in the end: at each cut the set follows from what was read up to it.
        assert found == by_hand(events[:at_event], seen[:at_seen], scored=scored)
    clock = max((one.clock for one in events), default=LONG_AGO_MS)
    positive = {place for place, label, _ in found if label}
    waiting = [
        place
        for place, one in enumerate(seen)
        if place not in positive
        and clock <= one.at + WITHIN_MS + GRACE_MS
        and not any(forgets(event, one) for event in timed(events))
    ]
    assert under_test.pending == len(waiting)


def test_nothing_of_a_forgotten_entity_waits_and_no_later_event_makes_it_positive() -> None:
    one, read_late = joiner(), joiner()
    seen = [Saw(100, 1), Saw(100, 2), Saw(100, ITEMS + 1)]
    log: list[Did | Gone] = [Did(110, 1), Gone(120, 0), Did(130, 2), Did(140, ITEMS + 1)]
    found = known(show(one, seen, scored=True)) | known(happen(one, log))
    negatives = {(place, 0.0, 100) for place in range(3)}
    assert found == negatives | {(0, 1.0, 110), (2, 1.0, 140)}
    assert one.pending == 0
    assert happen(read_late, log).order.tolist() == []
    assert known(show(read_late, seen, scored=True)) == found
    assert read_late.pending == 0
    show(one, [Saw(5_000, 2)], begin=3, scored=True)
    assert known(happen(one, [Did(5_100, 2)])) == {(3, 1.0, 5_100)}, "it has come back"


def test_a_tombstone_is_kept_until_nothing_from_before_it_can_be_read() -> None:
    one = joiner()
    happen(one, [Gone(1_000, 0)])
    show(one, [Saw(500, 1)], clock=1_000 + MAX_DELAY_MS, scored=True)
    assert (len(one.forgotten), one.pending) == (1, 0)
    show(one, [], clock=1_001 + MAX_DELAY_MS + EARLY_MS)
    assert len(one.forgotten) == 1, "the clock of the events stands still"
    happen(one, [Did(1_001, None)])
    show(one, [], clock=1_002 + MAX_DELAY_MS + EARLY_MS)
    assert len(one.forgotten) == 0


def test_a_file_of_a_version_before_knows_no_tombstones_and_no_entities() -> None:
    one, again = joiner(), joiner()
    show(one, [Saw(100, 1)], scored=True)
    arrays = {name: array.copy() for name, array in one.freeze()().items()}
    arrays["marks"] = arrays["marks"][:3]
    for name in ("forgotten", "pending.entity"):
        del arrays[name]
    again.load(arrays)
    happen(again, [Gone(120, 7)])
    assert known(happen(again, [Did(130, 1)])) == {(0, 1.0, 130)}


def test_an_item_is_negative_when_it_is_shown_and_corrected_when_it_is_clicked() -> None:
    one = joiner()
    assert known(show(one, [Saw(100, 1), Saw(100, 2)], scored=True)) == {
        (0, 0.0, 100),
        (1, 0.0, 100),
    }
    corrected = happen(one, [Did(110, 1)])
    assert known(corrected) == {(0, 1.0, 110)} and corrected.corrects.tolist() == [True]
    assert known(happen(one, [Did(40_000, None)])) == set(), "it was negative already"
    assert one.pending == 0


def test_an_item_that_is_read_after_its_click_gives_the_same_two_examples() -> None:
    one = joiner()
    happen(one, [Did(110, 1)])
    found = show(one, [Saw(100, 1)], scored=True)
    assert found.corrects.tolist() == [False, True]
    assert known(found) == {(0, 0.0, 100), (0, 1.0, 110)}


def test_items_of_a_file_of_a_version_before_are_learned_when_their_label_is_known() -> None:
    one, again = joiner(), joiner()
    show(one, [Saw(100, 1), Saw(100, 2)], scored=True)
    arrays = one.freeze()()
    again.load({name: arrays[name] for name in arrays if name != "pending.served"})
    found = happen(again, [Did(110, 1), Did(40_000, None)])
    assert known(found) == {(0, 1.0, 110), (1, 0.0, 16_100)}
    assert not found.corrects.any()


def test_an_event_makes_an_earlier_sight_positive_at_once() -> None:
    one = joiner()
    assert known(show(one, [Saw(100, 1), Saw(100, 2)])) == set()
    assert known(happen(one, [Did(100 + WITHIN_MS, 1)])) == {(0, 1.0, 100 + WITHIN_MS)}
    assert one.pending == 1


def test_a_sight_that_is_read_after_its_event_is_positive_at_once() -> None:
    one = joiner()
    assert known(happen(one, [Did(110, 1), Did(40_000, None)])) == set()
    assert known(show(one, [Saw(100, 1), Saw(100, 2)])) == {(0, 1.0, 110), (1, 0.0, 16_100)}


@pytest.mark.parametrize("at", [10_000 - EARLY_MS, 10_000 + WITHIN_MS])
def test_both_ends_of_the_time_of_a_positive_event_count(at: int) -> None:
    one, other = joiner(), joiner()
    show(one, [Saw(10_000, 1)])
    assert known(happen(one, [Did(at, 1)])) == {(0, 1.0, at)}
    happen(other, [Did(at, 1)])
    assert known(show(other, [Saw(10_000, 1)])) == {(0, 1.0, at)}


@pytest.mark.parametrize("at", [10_000 - EARLY_MS - 1, 10_000 + WITHIN_MS + 1])
def test_an_event_before_or_too_long_after_the_sight_is_not_its_label(at: int) -> None:
    one, other = joiner(), joiner()
    show(one, [Saw(10_000, 1)])
    assert known(happen(one, [Did(at, 1)])) == set()
    happen(other, [Did(at, 1)])
    assert known(show(other, [Saw(10_000, 1)])) == set()
    assert known(happen(one, [Did(30_000, None)])) == {(0, 0.0, 26_000)}


def test_an_event_that_has_completed_a_sight_is_not_the_label_of_one_just_after_it() -> None:
    early, clicks = Did(10_000, 1), [Did(10_000, 1), Did(12_000, 1)]
    seen = [Saw(9_000, 1), Saw(10_500, 1)]
    one, other, between = joiner(), joiner(), joiner()
    show(one, seen)
    assert known(happen(one, [early])) == {(0, 1.0, 10_000)}
    happen(other, clicks)
    assert known(show(other, seen)) == {(0, 1.0, 10_000), (1, 1.0, 12_000)}
    show(between, seen[:1])
    assert known(happen(between, clicks)) == {(0, 1.0, 10_000)}
    again = joiner()
    again.load({name: array.copy() for name, array in between.freeze()().items()})
    assert known(show(again, seen[1:], 1)) == {(1, 1.0, 12_000)}


def test_an_event_ahead_of_the_clock_makes_no_label_of_others_late() -> None:
    one = joiner()
    show(one, [Saw(100, 1)])
    happen(one, [Did(5_000_000, 2, ahead=4_999_900)])
    assert known(happen(one, [Did(110, 1)])) == {(0, 1.0, 110)}


def test_labels_are_forgotten_when_no_sight_to_come_can_match_them() -> None:
    one = joiner()
    happen(one, [Did(1_000, 1)])
    last = 1_000 + EARLY_MS + MAX_DELAY_MS
    show(one, [Saw(last, 9)], clock=last)
    assert one.labels == 1
    show(one, [Saw(last, 9)], 1, clock=last + 1)
    assert (one.labels, one.unjoined.label_not_shown) == (0, 1)


def test_labels_are_forgotten_while_nothing_is_shown_for_long() -> None:
    one, last = joiner(), 1_000 + EARLY_MS + MAX_DELAY_MS
    happen(one, [Did(1_000, 1), Did(last + 10, None)])
    one.all_shown_until(last)
    assert one.labels == 1
    one.all_shown_until(last + 1)
    assert (one.labels, one.unjoined.label_not_shown) == (0, 0), "nothing was shown to anybody"


class TestUnjoined:
    """Label events that make nothing positive are counted by the reason."""

    def test_one_that_comes_when_the_time_is_over_is_late(self) -> None:
        one = joiner()
        show(one, [Saw(10_000, 1)])
        happen(one, [Did(10_001 + WITHIN_MS, 1), Did(10_001 + WITHIN_MS, 2)])
        assert (one.unjoined.label_events_read, one.unjoined.label_late) == (2, 1)

    def test_one_that_comes_just_before_its_item_is_shown_is_early(self) -> None:
        one = joiner()
        happen(one, [Did(10_000, 1), Did(10_000, 2), Did(10_000, 3)])
        show(one, [Saw(13_000, 1), Saw(13_000, 1), Saw(10_500, 2), Saw(80_000, 3)])
        assert one.unjoined.label_early == 1

    def test_each_is_counted_once_also_after_a_restart(self) -> None:
        one = joiner()
        happen(one, [Did(10_000, 1), Did(10_000, 2), Did(10_000, 3)])
        show(one, [Saw(13_000, 1), Saw(10_000, 2)], clock=13_000)
        again = joiner()
        again.load({name: array.copy() for name, array in one.freeze()().items()})
        show(again, [Saw(900_000, 9)], 2, clock=900_000)
        assert again.labels == 0
        assert (one.unjoined.label_early, again.unjoined.label_not_shown) == (1, 1)

    def test_the_labels_of_a_file_that_does_not_tell_are_read(self) -> None:
        one, again = joiner(), joiner()
        happen(one, [Did(10_000, 1)])
        arrays = one.freeze()()
        again.load({name: arrays[name] for name in arrays if name != "labels.accounted"})
        assert known(show(again, [Saw(10_000, 1)])) == {(0, 1.0, 10_000)}


def test_a_thousand_sights_of_one_pair_are_all_found_by_one_event() -> None:
    one = joiner()
    for begin in range(0, 5_000, 500):
        show(one, [Saw(100, 1)] * 500, begin)
    found = known(happen(one, [Did(110, 1)]))
    assert len(found) == 5_000 and {label for _, label, _ in found} == {1.0}
    assert one.pending == 0


@dataclass(frozen=True)
class List:
    """Items of one entity that were shown together."""

    at: int
    pairs: tuple[int, ...]


Slate = tuple[tuple[int, ...], int]
"""Places in the log, the chosen one first, and when it was chosen."""


@st.composite
def lists(draw: st.DrawFn) -> list[List]:
    seen, now = [], 0
    for _ in range(draw(st.integers(0, 12))):
        now += draw(st.sampled_from([0, 300, 900, 2_500, 5_000]))
        entity = ITEMS * draw(st.integers(0, 1))
        items = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        seen.append(List(now - draw(st.integers(0, 6_000)), tuple(entity + i for i in items)))
    return seen


def places_of(seen: Sequence[List]) -> list[int]:
    """Of all items in the log."""
    return [
        (number << RANK_BITS) + rank
        for number, one in enumerate(seen)
        for rank in range(len(one.pairs))
    ]


def show_lists(to: Joiner, seen: Sequence[List], begin: int) -> LabelledRows:
    sights = [Saw(one.at, pair) for one in seen for pair in one.pairs]
    order = ints(places_of(seen)) + (begin << RANK_BITS)
    pairs, times = ints([one.pair for one in sights]), ints([one.at for one in sights])
    # Places do not fit in a float32.
    inputs = Inputs(np.zeros((len(order), 1), np.float32), order.reshape(-1, 1) * 7)
    rows = ServedRows(pairs, inputs, np.full(len(order), 0.5, np.float32))
    return to.show(pairs // ITEMS, pairs, times, order, rows, LONG_AGO_MS)


def slates_of(rows: LabelledRows) -> list[Slate]:
    """Those of rows as a range of examples has them: sorted by their order."""
    rows = rows.take(np.argsort(rows.order, kind="stable"))
    assert not rows.corrects.any() and (rows.weights == 1.0).all()
    places = (rows.ids[:, 0] // 7).tolist()
    starts = [*np.flatnonzero(rows.labels > 0.5).tolist(), len(rows)]
    assert not places or starts[0] == 0
    found = []
    for begin, end in pairwise(starts):
        assert {one >> RANK_BITS for one in places[begin:end]} == {places[begin] >> RANK_BITS}
        assert set(rows.order[begin:end].tolist()) == {places[begin]}
        (chosen_ms,) = set(rows.event_times_ms[begin:end].tolist())
        found.append((tuple(places[begin:end]), chosen_ms))
    return found


def slates_by_hand(events: Sequence[Did | Gone], seen: Sequence[List]) -> list[Slate]:
    sights = [Saw(one.at, pair) for one in seen for pair in one.pairs]
    chosen = dict[int, tuple[int, int, int]]()
    for place, fate in zip(places_of(seen), fates(events, sights), strict=True):
        if fate is not None and fate[0] is not None:
            chosen[place] = fate[0], -place, fate[1]
    slates = []
    for place, (event, turn, at_ms) in chosen.items():
        of_list = [one for one in places_of(seen) if one >> RANK_BITS == place >> RANK_BITS]
        left = [one for one in of_list if one not in chosen or chosen[one][:2] > (event, turn)]
        if left:
            slates.append(((place, *left), at_ms))
    return slates


@settings(deadline=None, max_examples=150)
@given(logs(), lists(), cuts, st.integers(0, 40))
def test_a_listwise_label_gives_the_slates_of_the_rule_however_the_topics_are_read(
    events: list[Did | Gone], seen: list[List], turns: list[tuple[bool, int]], restart: int
) -> None:
    under_test = joiner(listwise=True)
    found: list[Slate] = []
    at_event = at_seen = alone = 0
    turns = [*turns, (True, len(events)), (False, len(seen)), (True, len(events))]
    for turn, (is_event, count) in enumerate(turns):
        if turn == restart:
            arrays = {name: one.copy() for name, one in under_test.freeze()().items()}
            alone = under_test.unjoined.label_alone
            under_test = joiner(listwise=True)
            under_test.load(arrays)
        if is_event:
            rows = happen(under_test, events[at_event : at_event + count])
            at_event = min(at_event + count, len(events))
        else:
            rows = show_lists(under_test, seen[at_seen : at_seen + count], at_seen)
            at_seen = min(at_seen + count, len(seen))
        found += slates_of(rows)
        wanted = slates_by_hand(events[:at_event], seen[:at_seen])
        assert sorted(found) == sorted(wanted)
    sights = [Saw(one.at, pair) for one in seen for pair in one.pairs]
    chosen = sum(fate is not None and fate[0] is not None for fate in fates(events, sights))
    assert alone + under_test.unjoined.label_alone == chosen - len(found)


def test_a_list_without_an_event_gives_nothing_and_a_second_choice_is_among_those_left() -> None:
    one = joiner(listwise=True)
    assert not len(show_lists(one, [List(100, (1, 2, 3)), List(200, (ITEMS + 1,))], 0))
    assert slates_of(happen(one, [Did(110, 2)])) == [((1, 0, 2), 110)]
    assert slates_of(happen(one, [Did(120, 1), Did(130, 3)])) == [((0, 2), 120)]
    assert not len(happen(one, [Did(210, ITEMS + 1)])), "it was shown alone"
    assert one.unjoined.label_alone == 2
    assert not len(happen(one, [Did(40_000, None)])) and one.pending == 0
