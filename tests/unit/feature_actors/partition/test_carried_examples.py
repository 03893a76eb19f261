"""Examples, and what waits for its label, go on by input when definitions change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from changing_shop import by_name, shop, view
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import JOINED, LABELLED, LATER, batch, event, packed, visit, visits
from source_offsets import upto

from freshrank import Count, FeatureView, LastK, Sum, TimeSince, col
from freshrank.actors.impressions import encode_impression
from freshrank.actors.messages import Examples, SourceOffsets, Version
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.file_format import unpack
from freshrank.benchmarks.workloads.impressions import impression_of, without_scores
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.carry_over.carried_over import MOST_LAYOUTS
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec

VIEWS = Count(where=col.type == "view", windows=["1m"])
SPEND = Sum("price", where=col.type == "order", windows=["1h"])
RECENT = LastK("item", k=2)
PAGES = view(visits, pages=Count(windows=["1m"]))
BEFORE = view(views=VIEWS, spend=SPEND, recent=RECENT)
NOW = view(idle=TimeSince(), spend=SPEND, recent=RECENT, lately=LastK("item", k=1))
LABELS: dict[str, Joined | Labelled] = {
    "joined": JOINED,
    "labelled": LABELLED,
    "labelled later": LATER,
}


def old(label: Joined | Labelled = LABELLED) -> PartitionSpec:
    return shop(BEFORE, label=label, crosses=[("user", "item")])


def new(label: Joined | Labelled = LABELLED, *more: type[FeatureView]) -> PartitionSpec:
    return shop(NOW, *more, label=label, crosses=[("user", "recent")])


def read(state: PartitionState, begin: int, end: int) -> None:
    """Take the events of these numbers, and what was shown before each."""
    at_ms = [number * 1_000 for number in range(begin, end)]
    values = [
        event(at, f"u{at % 3}", "order" if at % 3 else "view", at % 4, at * 1_000)
        for at in range(begin, end)
    ]
    if isinstance(state.spec.label, Joined):
        shown = [_shown(state.spec, at) for at in range(begin, end)]
        state.process(batch("shown", shown, state.offsets["shown"], at_ms))
    state.process(batch("events", values, begin, at_ms))


def _shown(made: PartitionSpec, number: int) -> bytes:
    """Of every other one the label is known at once."""
    dense = np.random.default_rng(number).random((2, len(made.encoder.layout.dense)), np.float32)
    shown = impression_of(
        made.encoder,
        f"u{number % 3}",
        [number % 4, 7],
        1_700_000_000_000 + number * 1_000 - 500,
        f"r{number}",
        dense,
    )
    return encode_impression(shown if number % 2 else without_scores(shown))


def later(state: PartitionState, end: int) -> None:
    """Let so much time pass that every label is known."""
    values = [event(1_000 + at, "late", "view", 1, 600_000 + at) for at in range(10)]
    stamps = [600_000 + at for at in range(10)]
    state.process(batch("events", values, end, stamps))


def given_out(state: PartitionState) -> list[Examples]:
    """All ranges of examples, as a learner takes them."""
    found = []
    while (examples := state.example_queue.peek()) is not None:
        found.append(examples)
        end = examples.offset_range.end
        state.example_queue.acknowledge(Progress(True, False, end, upto(), Version(1, 1)))
    return found


def unlike(examples: Sequence[Examples]) -> list[tuple[object, ...]]:
    """Of each range all but its inputs."""
    return [
        (
            one.offset_range,
            one.labels.tolist(),
            one.event_times_ms.tolist(),
            None if one.corrects is None else one.corrects.tolist(),
            None if one.served is None else np.nan_to_num(one.served, nan=-1.0).tolist(),
        )
        for one in examples
    ]


@pytest.mark.parametrize("name", LABELS)
def test_examples_and_what_waits_keep_the_inputs_that_stay_and_lack_the_new_ones(
    name: str,
) -> None:
    label = LABELS[name]
    state = PartitionState(old(label), 0)
    read(state, 0, 12)
    now = new(label)
    found = PartitionState.restore(now, 0, packed(state))
    assert found.pending == state.pending
    assert (name == "labelled") == (state.pending == 0)
    for one in (state, found):
        later(one, 12)
    before, after = given_out(state), given_out(found)
    assert unlike(after) == unlike(before)
    assert sum(map(len, (one.labels for one in after))) > 10
    for was, is_ in zip(before, after, strict=True):
        keeps = len(is_.labels) - 10 * (
            name == "labelled"
        )  # the last events are read by those of now
        values, carried = by_name(state.spec, was.inputs), by_name(now, is_.inputs)
        for same in ("spend_1h", "recent_match", "id user", "id item", "id recent"):
            assert carried[same][:keeps] == values[same][:keeps], same
        assert set(carried["idle"][:keeps]) == {0.0}
        for fresh in ("id lately", "id user_x_recent"):
            assert not np.any(carried[fresh][:keeps]), fresh
    assert any(sum(by_name(now, one.inputs)["spend_1h"]) for one in after)


@pytest.mark.parametrize("name", LABELS)
def test_a_file_of_the_same_definitions_is_loaded_bit_for_bit(name: str) -> None:
    state = PartitionState(old(LABELS[name]), 0)
    read(state, 0, 12)
    file = packed(state)
    found = PartitionState.restore(old(LABELS[name]), 0, file)
    assert packed(found) == file
    assert (found.changes, found.former_layouts) == (None, {})


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["events", "visits", "give"]), st.integers(1, 5))),
    st.integers(0, 20),
    st.booleans(),
)
def test_a_learner_goes_on_where_it_was_when_a_stream_goes_or_comes(
    happens: Sequence[tuple[str, int]], applied: int, comes: bool
) -> None:
    """It forgets the offsets of topics that are gone, too (`checkpoints.restore`)."""
    one, two = (shop(*views, label=LABELLED) for views in ((BEFORE,), (BEFORE, PAGES)))
    was, now = (one, two) if comes else (two, one)
    state = PartitionState(was, 0)
    bounds = [upto()]
    pushed: list[Examples] = []
    file = packed(state)
    for what, many in happens:
        if what == "events":
            begin = state.offsets["events"]
            read(state, begin, begin + many)
        elif what == "visits" and not comes:
            begin = state.offsets["visits"]
            values = [visit(at, "u1", at, at * 1_000) for at in range(begin, begin + many)]
            state.process(batch("visits", values, begin))
        elif what == "give":
            if many > 3:
                file = packed(state)
            if (examples := state.example_queue.peek()) is not None:
                pushed.append(examples)
                bounds.append(examples.offset_range.end)
                progress = Progress(True, False, bounds[-1], upto(), Version(1, 1))
                state.example_queue.acknowledge(progress)
    place = min(applied, len(bounds) - 1)
    at = bounds[place].only(now.topics)
    found = PartitionState.restore(now, 0, file)
    found.example_queue.resume(Progress(True, False, at, at, Version(2, 0)))
    end = max(state.offsets["events"], found.offsets["events"]) + 3
    for begin in range(found.offsets["events"], end):
        read(found, begin, begin + 1)
    ranges, learned = given_out(found), [len(part.labels) for part in pushed[:place]]
    assert sum(learned) + sum(len(part.labels) for part in ranges) == end
    bound = at
    for part in ranges:
        assert part.offset_range.begin == bound, "the next range begins where the last ended"
        bound = part.offset_range.end
        assert part.offset_range.begin != bound
    if ranges:
        assert ranges[0].offset_range.begin == at
        assert bound == SourceOffsets({**found.offsets})


def test_layouts_of_before_are_known_from_file_to_file_and_the_oldest_are_forgotten() -> None:
    state = PartitionState(old(JOINED), 0)
    specs = [shop(view(**{f"views_{at}": VIEWS}), label=JOINED) for at in range(MOST_LAYOUTS + 2)]
    known = [old(JOINED).encoder.fingerprint]
    for now in specs:
        state = PartitionState.restore(now, 0, packed(state))
        assert list(state.former_layouts) == known[:MOST_LAYOUTS]
        inputs = unpack(packed(state)).meta["inputs"]
        known.insert(0, now.encoder.fingerprint)
        assert list(inputs) == known[:MOST_LAYOUTS]
    assert len(inputs) == MOST_LAYOUTS
    back = PartitionState.restore(specs[-2], 0, packed(state))
    assert specs[-2].encoder.fingerprint not in back.former_layouts


def test_impressions_of_a_layout_before_last_are_joined() -> None:
    first, second = old(JOINED), new(JOINED)
    state = PartitionState.restore(second, 0, packed(PartitionState(first, 0)))
    third = PartitionState.restore(shop(BEFORE), 0, packed(state))
    for made in (first, second):
        begin = third.offsets["shown"]
        third.process(batch("shown", [_shown(made, begin + 1)], begin, [2_000]))
    assert third.counters.impressions == third.counters.impressions_carried == 2
