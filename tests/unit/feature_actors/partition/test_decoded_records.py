"""Records that their reader has decoded change a state as their bytes, or copies of them, do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import msgspec
import pytest
from small_shop import START_MS, Event, events

from freshrank import Count, FeatureView, LastK
from freshrank.actors.records import RecordBatch
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.copies.origin import copied_in_turn, generation_of
from freshrank.feature_actors.streams.stream import Entity
from freshrank.feature_actors.views.plan import FeaturePlan


class Kinds(FeatureView):
    entity, source = Entity("kind", key="type"), events
    happened = Count(windows=["1m"])
    who = LastK("user", k=3)


SPEC = features_only(FeaturePlan([Kinds]), ShardSettings())


def state_of(batch: RecordBatch) -> tuple[list[bytes], dict[str, int]]:
    """The state of the views of kinds after a batch, and what was counted."""
    state = PartitionState(SPEC, 0)
    state.process(batch)
    state.move_to({batch.topic: 0})
    snapshot = state.snapshot()
    snapshot.copy_rows(None)
    return [bytes(piece) for piece in snapshot.pieces()], asdict(state.counters)


def records(events_: Sequence[Event]) -> RecordBatch:
    values = [msgspec.json.encode(one) for one in events_]
    stream = SPEC.stream
    return consecutive_records(stream.log_topic, 0, values, START_MS + 60_000, 3)


def decoded(batch: RecordBatch) -> RecordBatch:
    """The same records, as the stream of the user has decoded them."""
    columns, rejected = Codec(events).decode(replace(batch, topic=events.topic))
    assert not rejected
    return replace(batch, values=[b""] * len(batch.values), decoded=columns)


def event(number: int, kind: str, at_ms: int = 0) -> Event:
    return Event(f"e{number}", f"u{number % 3}", kind, 1, 2.0, START_MS + at_ms)


@pytest.mark.parametrize("length", [4, 0, 256, 257])
def test_events_of_another_key_are_as_copies_of_their_records(length: int) -> None:
    given = [
        event(1, "order"),
        event(2, "x" * length),
        event(2, "view"),
        event(3, "view", -(10**9)),
    ]
    batch = records(given)
    copies = replace(batch, values=list(copied_in_turn(batch, generation_of(""))))
    assert state_of(decoded(batch)) == state_of(copies)


def test_times_are_checked_by_the_log_again() -> None:
    batch = records([event(1, "view"), event(2, "view", 10**8), event(3, "order")])
    later = replace(batch, timestamps_ms=batch.timestamps_ms + 10**8)
    codec = Codec(events)
    found, rejected = codec.decode(replace(batch, decoded=decoded(later).decoded))
    wanted, as_bytes = codec.decode(batch)
    assert rejected == as_bytes
    assert len(rejected) == 1
    assert found.text("type") == wanted.text("type") == ["view", "order"]
    assert found.offsets.tolist() == wanted.offsets.tolist() == [3, 5]
