"""What a partition holds follows from its log alone, however reading is interleaved."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import (
    START_MS,
    batch,
    event,
    events,
    impression,
    known,
    packed,
    spec,
    user,
    visit,
)
from source_offsets import upto

from freshrank import Count, FeatureView, col
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.plan import FeaturePlan

MADE = spec()


class OneMinute(FeatureView):
    entity, source = user, events
    views = Count(where=col.type == "view", windows=["1m"])


def stream(seed: int, count: int = 120) -> tuple[list[bytes], list[bytes], list[int]]:
    """Events, impressions, and the time of both."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 3_000, count)).tolist()
    happened = [
        event(
            int(random.integers(0, count)),
            f"u{random.integers(3)}",
            "order" if random.random() < 0.5 else "view",
            int(random.integers(1, 4)),
            int(at) - int(random.integers(0, 3_000)) + 3_000,
        )
        for at in times
    ]
    shown = [
        impression(MADE, f"u{random.integers(3)}", random.integers(1, 4, 2).tolist(), at, number)
        for number, at in enumerate(times)
    ]
    return happened, shown, times


def ends(state: PartitionState) -> tuple[list[tuple[float, float]], dict[str, bytes], int]:
    names = state.tables[0].entities(state.tables[0].slots())
    rows = state.tables[0].rows(state.tables[0].slots())
    assert state.joiner is not None
    features = {name: row.tobytes() for name, row in zip(names, rows, strict=True)}
    return known(state), features, state.joiner.pending


def feed(state: PartitionState, topic: str, begin: int, end: int, seed: int) -> None:
    happened, shown, times = stream(seed)
    values = happened if topic == "events" else shown
    stamps = [at + 4_000 for at in times[begin:end]]
    part: RecordBatch = batch(topic, values[begin:end], begin, stamps)
    state.process(part)


turns = st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=20)


@pytest.mark.repeats
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), turns, st.integers(0, 20))
def test_rows_pending_and_examples_at_given_offsets_follow_from_the_log_alone(
    seed: int, plan: list[tuple[bool, int]], restart: int
) -> None:
    state, at = PartitionState(MADE, 0), {"events": 0, "shown": 0}
    for turn, (is_event, count) in enumerate(plan):
        if turn == restart:
            state = PartitionState.restore(MADE, 0, packed(state))
        topic = "events" if is_event else "shown"
        feed(state, topic, at[topic], at[topic] + count, seed)
        at[topic] = min(at[topic] + count, 120)
    straight = PartitionState(MADE, 0)
    feed(straight, "events", 0, at["events"], seed)
    feed(straight, "shown", 0, at["shown"], seed)
    assert state.offsets == straight.offsets == upto(**at)
    assert ends(state) == ends(straight)


def forgetful() -> PartitionSpec:
    """Rows that hold nothing after a minute: their entities are idle from then on."""
    plan = FeaturePlan([OneMinute])
    return replace(MADE, plan=plan, encoder=InputEncoder([plan], events, ["item"], []))


def shoppers(seed: int, count: int = 150) -> tuple[list[bytes], list[int]]:
    """Events of many users, some of whom come once only, and the times of their records."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 9_000, count)).tolist()
    values = [
        event(number, f"u{int(random.exponential(5))}", "view", 7, at - int(random.integers(9_000)))
        for number, at in enumerate(times)
    ]
    return values, times


def rows_by_entity(table: EntityTable) -> dict[str, bytes]:
    slots = table.slots()
    rows = zip(table.entities(slots), table.rows(slots), strict=True)
    return {name: row.tobytes() for name, row in rows}


def rows_of(state: PartitionState) -> list[dict[str, bytes]]:
    """The rows of each table, by entity."""
    return [rows_by_entity(table) for table in state.tables]


@pytest.mark.repeats
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([spec(max_entities=3), spec(max_entities=45), forgetful()]),
    st.integers(0, 3),
    st.lists(st.integers(1, 40), max_size=12),
    st.integers(0, 12),
)
def test_which_entities_are_dropped_follows_from_the_log_alone(
    made: PartitionSpec, seed: int, sizes: list[int], restart: int
) -> None:
    values, times = shoppers(seed)
    state, end = PartitionState(made, 0), 0
    for number, size in enumerate(sizes):
        if number == restart:
            state = PartitionState.restore(made, 0, packed(state))
        begin, end = end, min(end + size, len(values))
        state.process(batch("events", values[begin:end], begin, times[begin:end]))
    one_by_one = PartitionState(made, 0)
    for at in range(end):
        one_by_one.process(batch("events", values[at : at + 1], at, times[at : at + 1]))
    assert rows_of(state) == rows_of(one_by_one)
    assert state.counters == one_by_one.counters


@pytest.mark.parametrize("made", [spec(max_entities=3), forgetful()])
def test_entities_are_dropped_from_that_log(made: PartitionSpec) -> None:
    values, times = shoppers(0)
    state = PartitionState(made, 0)
    state.process(batch("events", values, 0, times))
    assert state.counters.evicted > 10
    assert 0 < len(state.tables[0]) < 15


def test_a_gap_in_the_log_does_not_put_off_a_look_at_the_entities() -> None:
    made = spec(max_entities=60)  # looked at every third offset
    values = [event(number, f"u{number}", "view", 7, number) for number in range(64)]
    offsets = np.array([*range(62), 100, 101])
    gapped = RecordBatch(
        "events", 0, list(values), offsets, np.full(64, START_MS), np.ones(64, np.bool_)
    )
    whole, parted = PartitionState(made, 0), PartitionState(made, 0)
    whole.process(gapped)
    parted.process(gapped.between(0, 62))
    assert len(parted.tables[0]) == 62
    parted.process(gapped.between(62, None))
    assert rows_of(whole) == rows_of(parted)
    assert whole.counters.evicted == parted.counters.evicted == 5, "62 of 60 are cut to 57"


BOTH = spec(two_streams=True, max_entities=4)


@cache
def three_topics(seed: int) -> dict[str, tuple[list[bytes], list[int]]]:
    """What lies in each topic, and the times of the records."""
    happened, shown, times = stream(seed)
    random = np.random.default_rng(seed + 10)
    seen = [
        visit(
            int(random.integers(1, 150)),
            f"u{random.integers(7)}",
            int(random.integers(1, 5)),
            at - int(random.integers(0, 5_000)) - (3_600_000 if random.random() < 0.05 else 0),
        )
        for at in times
    ]
    shown = [
        impression(BOTH, f"u{random.integers(3)}", random.integers(1, 4, 2).tolist(), at, number)
        for number, at in enumerate(times)
    ]
    return {"events": (happened, times), "visits": (seen, times), "shown": (shown, times)}


def read_on(state: PartitionState, topic: str, count: int, seed: int) -> None:
    """Give the state the next records of a topic, as one batch."""
    values, times = three_topics(seed)[topic]
    begin = state.offsets[topic]
    end = min(begin + count, len(values))
    stamps = [at + 4_000 for at in times[begin:end]]
    state.process(batch(topic, values[begin:end], begin, stamps))


def everything_of(state: PartitionState) -> tuple[object, ...]:
    """Whatever has to follow from the offsets alone."""
    assert state.joiner is not None
    snapshot = state.snapshot()
    ids = {name: part() for name, part in snapshot.parts.items() if "dedup" in name}
    known_ids = {name: sorted(arrays["ids"].tolist()) for name, arrays in ids.items()}
    newest_ms = snapshot.meta["newest_event_ms"]
    return rows_of(state), known(state), state.counters, state.joiner.pending, known_ids, newest_ms


interleavings = st.lists(
    st.tuples(st.sampled_from(["events", "visits", "shown"]), st.integers(1, 50)), max_size=24
)


@pytest.mark.repeats
@settings(deadline=None, max_examples=30)
@given(st.sampled_from([4, 1_000]), st.integers(0, 3), interleavings, st.integers(0, 24))
def test_two_streams_may_be_interleaved_and_batched_in_any_way(
    max_entities: int, seed: int, turns: list[tuple[str, int]], restart: int
) -> None:
    made = spec(two_streams=True, max_entities=max_entities)
    state = PartitionState(made, 0)
    for turn, (topic, count) in enumerate(turns):
        if turn == restart:
            state = PartitionState.restore(made, 0, packed(state))
        read_on(state, topic, count, seed)
    straight = PartitionState(made, 0)
    for topic in ("visits", "shown", "events"):
        for _ in range(state.offsets[topic]):
            read_on(straight, topic, 1, seed)
    assert straight.offsets == state.offsets
    assert everything_of(straight) == everything_of(state)


def test_the_second_stream_of_that_log_is_worth_it() -> None:
    state = PartitionState(BOTH, 0)
    for topic in BOTH.topics:
        read_on(state, topic, 120, seed=0)
    alone = PartitionState(spec(max_entities=4), 0)
    read_on(alone, "events", 120, seed=0)
    activity, browsing = state.tables
    assert (len(activity) > 0, len(browsing) > 0) == (True, True)
    assert rows_by_entity(activity) == rows_by_entity(alone.tables[0]), "its rows are its own"
    counted, before = state.counters, alone.counters
    assert counted.events > before.events + 50
    assert counted.duplicates > before.duplicates + 5
    assert counted.late > 0 and counted.evicted > before.evicted
