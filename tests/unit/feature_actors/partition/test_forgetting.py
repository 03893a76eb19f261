"""Tombstones in streams: nothing of their entity stays, and what it was learned is forgotten."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import (
    LABELLED,
    batch,
    event,
    impression,
    known,
    packed,
    spec,
    visit,
)
from source_offsets import upto

from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.messages import BEGINNING, Version
from freshrank.actors.protocols import Progress
from freshrank.actors.records import RecordBatch, RejectKind
from freshrank.feature_actors.partition.partition import PartitionState

MADE = spec()
(U1,) = MADE.identity_ids(["u1"])


def log(*records: bytes | str, begin: int = 0, topic: str = "events") -> RecordBatch:
    """Records of a topic a second apart: events, or the entities whose tombstones they are."""
    values = [None if isinstance(one, str) else one for one in records]
    keys = [one.encode() if isinstance(one, str) else b"any" for one in records]
    stamps_ms = [1_000 * (begin + place) for place in range(len(records))]
    return replace(batch(topic, values, begin, stamps_ms), keys=keys)


def rows(state: PartitionState) -> list[str]:
    return sorted(state.tables[0].entities(state.tables[0].slots()))


def forgotten(state: PartitionState) -> tuple[int, ...]:
    examples = state.example_queue.peek()
    return () if examples is None else examples.offset_range.forgotten


def test_a_tombstone_deletes_the_row_and_the_entity_may_come_back() -> None:
    state = PartitionState(MADE, 0)
    state.process(log(event(0, "u1", "view", 7, 0), event(1, "u2", "view", 7, 1_000), "u1"))
    assert rows(state) == ["u2"]
    assert state.tables[0].evicted == ["u1"], "the online store has to remove its row"
    assert (state.counters.forgotten, state.counters.forgotten_unknown) == (1, 0)
    assert forgotten(state) == (U1,)
    assert packed(state).count(b"u1") == 1, "it is still to be removed from the online store"
    state.tables[0].evicted.clear()
    assert b"u1" not in packed(state)
    state.process(log(event(2, "u1", "view", 7, 3_000), begin=3))
    assert rows(state) == ["u1", "u2"]
    assert state.offsets == upto(4)


def test_a_tombstone_of_what_never_was_is_counted_and_harmless() -> None:
    state = PartitionState(MADE, 0)
    state.process(log(event(0, "u2", "view", 7, 0), "u1", "u1"))
    assert rows(state) == ["u2"]
    assert (state.counters.forgotten, state.counters.forgotten_unknown) == (0, 2)
    assert state.counters.dead == 0


@pytest.mark.parametrize(
    ("key", "kind", "reason"),
    [
        (None, RejectKind.NO_KEY, "it has no key"),
        (b"", RejectKind.INVALID, "its key: "),
        (b"\xff", RejectKind.INVALID, "its key is no UTF-8"),
        (b"k" * 257, RejectKind.INVALID, "its key: "),
    ],
)
def test_a_tombstone_that_names_no_entity_is_a_dead_letter(
    key: bytes | None, kind: RejectKind, reason: str
) -> None:
    state = PartitionState(MADE, 0)
    outcome = state.process(replace(log("u1"), keys=[key]))
    (dead,) = outcome.dead
    assert dead.kind is kind and dead.reason.startswith(reason)
    assert state.counters.dead == 1
    assert state.counters.forgotten_unknown == 0 and forgotten(state) == ()


def test_a_tombstone_in_another_partition_than_its_entitys_is_a_dead_letter() -> None:
    states = [PartitionState(MADE, partition, 2) for partition in range(2)]
    kinds = []
    for state in states:
        found = replace(log("u1"), partition=state.partition)
        kinds += [dead.kind for dead in state.process(found).dead]
    assert len(kinds) == 1 and "misplaced" in kinds[0]


def test_what_waits_for_its_label_is_learned_as_negative_only() -> None:
    state = PartitionState(MADE, 0)
    shown = [
        impression(MADE, "u1", [7], 0, number=1, scored=True),
        impression(MADE, "u2", [7], 0, number=2, scored=True),
    ]
    state.process(batch("shown", shown, stamps_ms=[0, 0]))
    state.process(log(event(0, "u9", "view", 7, 0), "u1"))
    state.process(
        log(event(1, "u1", "order", 7, 2_000), event(2, "u2", "order", 7, 3_000), begin=2)
    )
    assert known(state) == [(1.0, 0.0), (2.0, 0.0), (2.0, 1.0)]
    assert state.joiner is not None and state.joiner.pending == 0


def test_what_was_shown_before_and_is_read_after_is_learned_and_forgotten_again() -> None:
    state = PartitionState(MADE, 0)
    state.process(log(event(0, "u9", "view", 7, 0), "u1"))
    state.example_queue.close()
    first = state.example_queue.peek()
    assert first is not None and first.offset_range.forgotten == (U1,)
    state.example_queue.acknowledge(Progress(True, False, upto(2), BEGINNING, Version(1, 1)))
    shown = [impression(MADE, who, [7], 500, number=1, scored=True) for who in ("u2", "u1")]
    state.process(batch("shown", shown, stamps_ms=[900, 900]))
    assert known(state) == [(1.0, 0.0), (1.0, 0.0)]
    assert forgotten(state) == (U1,)
    later = impression(MADE, "u1", [7], 60_000, number=2, scored=True)
    state.example_queue.acknowledge(Progress(True, False, upto(2, 2), BEGINNING, Version(1, 2)))
    state.process(batch("shown", [later], begin=2, stamps_ms=[60_000]))
    assert known(state) == [(2.0, 0.0)] and forgotten(state) == (), "it has come back"


def test_the_id_is_that_of_the_inputs_that_are_served() -> None:
    blocks = [table.block(1) for table in MADE.plan.tables]
    lines = [np.zeros(1, dtype=np.int64) for _ in blocks]
    context = {"user": hash_texts(["u1"]), "item": np.array([5])}
    inputs = MADE.encoder.encode(blocks, lines, context)
    assert U1 in inputs.ids[0].tolist()


def test_with_labels_of_their_own_events_are_forgotten_too() -> None:
    made = spec(LABELLED)
    state = PartitionState(made, 0)
    state.process(log(event(0, "u1", "view", 7, 0), "u1", event(1, "u1", "order", 7, 2_000)))
    examples = state.example_queue.peek()
    assert examples is not None and len(examples) == 2
    assert examples.offset_range.forgotten == (U1,)
    assert examples.inputs.dense[0].tolist() == examples.inputs.dense[1].tolist(), "as if new"


def test_where_nothing_is_learned_there_is_nothing_to_forget() -> None:
    state = PartitionState(replace(spec(None), label=None), 0)
    state.process(log(event(0, "u1", "view", 7, 0), "u1"))
    assert rows(state) == [] and state.example_queue.next_end is None


def test_each_stream_forgets_its_own_rows() -> None:
    made = spec(two_streams=True)
    state = PartitionState(made, 0)
    state.process(log(event(0, "u1", "view", 7, 0)))
    state.process(log(visit(1, "u1", 3, 0), "u1", topic="visits"))
    assert [len(table) for table in state.tables] == [1, 0]
    assert forgotten(state) == (), "the label's stream tells of examples"


def test_a_snapshot_keeps_what_the_learner_has_to_forget() -> None:
    state = PartitionState(MADE, 0)
    state.process(log(event(0, "u1", "view", 7, 0), "u1"))
    again = PartitionState.restore(MADE, 0, packed(state))
    assert forgotten(again) == (U1,)
    assert again.tables[0].evicted == ["u1"]


records = st.lists(
    st.tuples(st.sampled_from(["view", "order", "gone"]), st.integers(0, 3)), max_size=40
)


@settings(deadline=None, max_examples=60)
@given(records, st.lists(st.integers(0, 40), max_size=5))
def test_the_state_is_the_same_wherever_batches_end(
    drawn: list[tuple[str, int]], cuts: list[int]
) -> None:
    made = spec(max_entities=3)  # so that entities are dropped, and offsets are looked at
    values = [
        f"u{who}" if kind == "gone" else event(number, f"u{who}", kind, 7, number * 1_000)
        for number, (kind, who) in enumerate(drawn)
    ]
    whole, parts = PartitionState(made, 0), PartitionState(made, 0)
    whole.process(log(*values))
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    for begin, end in pairwise(bounds):
        parts.process(log(*values[begin:end], begin=begin))
    for state in (whole, parts):
        state.tables[0].evicted.sort()
    assert whole.counters == parts.counters
    assert rows(whole) == rows(parts)
    for who in rows(whole):
        one, other = whole.tables[0].row(who), parts.tables[0].row(who)
        assert one is not None and other is not None and one.tobytes() == other.tobytes()
