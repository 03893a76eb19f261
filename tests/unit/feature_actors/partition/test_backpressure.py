from __future__ import annotations

import pytest
from small_shop import batch, event, impression, spec
from source_offsets import upto

from freshrank.actors.messages import BEGINNING, SourceOffsets, Version
from freshrank.actors.protocols import Progress
from freshrank.feature_actors.partition import backpressure
from freshrank.feature_actors.partition.backpressure import waiting_topics
from freshrank.feature_actors.partition.partition import PartitionState


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition may hold one item, or one event, that waits."""
    monkeypatch.setattr(backpressure, "MAX_PENDING_ITEMS", 1)
    monkeypatch.setattr(backpressure, "MAX_LABEL_EVENTS", 1)


def replaying(applied: SourceOffsets) -> PartitionState:
    """A new state that has to read as far as its learner has."""
    state = PartitionState(spec(), 0)
    state.example_queue.resume(Progress(True, False, applied, BEGINNING, Version(1, 1)))
    return state


def test_many_pending_items_let_the_impressions_wait_for_the_events() -> None:
    state = replaying(upto(5, 5))
    state.process(batch("shown", [impression(state.spec, "u1", [1, 2], 0)], stamps_ms=[0]))
    assert waiting_topics(state, impressions_lag=4) == {"shown"}


def test_impressions_go_on_where_the_events_stand_at_the_learners_offsets() -> None:
    state = replaying(upto(1, 2))
    state.process(batch("events", [event(1, "u1", "view", 1, 0)], stamps_ms=[0]))
    state.process(batch("shown", [impression(state.spec, "u1", [1, 2], 0)], stamps_ms=[0]))
    assert state.joiner is not None and state.joiner.pending == 2
    assert waiting_topics(state, impressions_lag=1) == {"events"}


def test_events_go_on_where_the_impressions_stand_at_the_learners_offsets() -> None:
    state = replaying(upto(2, 1))
    state.process(batch("shown", [b"none"]))
    state.process(batch("events", [event(1, "u1", "order", 1, 0)]))
    assert state.joiner is not None and state.joiner.labels == 1
    assert waiting_topics(state, impressions_lag=1) == {"shown"}
