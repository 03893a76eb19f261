"""No clock of a user, a producer or a replica changes the labels, duplicates or rows of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import (
    START_MS,
    WITHIN_MS,
    batch,
    event,
    events,
    impression,
    packed,
    spec,
    user,
)

from freshrank import Count, FeatureView
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.status import totals
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.state.log_clock import QUORUM
from freshrank.feature_actors.views.plan import FeaturePlan

MADE = spec()
AHEAD_MS = 59 * 60_000


def labels(state: PartitionState) -> list[float]:
    examples = state.example_queue.peek()
    return [] if examples is None else examples.labels.tolist()


def by_producers(
    topic: str, values: Sequence[bytes], stamps_ms: Sequence[int], begin: int = 0
) -> RecordBatch:
    """Records of a topic whose broker does not stamp them."""
    made = batch(topic, values, begin, stamps_ms)
    return replace(made, stamped_by_broker=np.zeros(len(values), dtype=np.bool_))


def rows_by_entity(table: EntityTable) -> dict[str, bytes]:
    slots = table.slots()
    rows = zip(table.entities(slots), table.rows(slots), strict=True)
    return {name: row.tobytes() for name, row in rows}


class RecentViews(FeatureView):
    entity, source = user, events
    views = Count(windows=["5m"])


def recent_views() -> PartitionSpec:
    """A view that forgets everything after five minutes: idle entities are evicted."""
    plan = FeaturePlan([RecentViews])
    return replace(MADE, plan=plan, encoder=InputEncoder([plan], events, ["item"], []))


class TestSlowClocksOfUsers:
    """An event's own time has no influence on its label."""

    @pytest.mark.parametrize(
        ("dated", "reached"),
        [
            (7_000, 11_000),  # a click 1 s after the showing, by a clock that is 4 s behind
            (19_000, 30_000),  # 11 s behind the watermark
            (9_999, 10_010),  # 1 ms before the replica's clock
            (-86_400_000, 12_000),  # yesterday
            (15_000, 12_000),  # ahead
        ],
    )
    def test_a_click_is_positive_by_the_time_it_reaches_the_log(
        self, dated: int, reached: int
    ) -> None:
        state = PartitionState(MADE, 0)
        shown = impression(MADE, "u1", [7], 10_000)
        state.process(batch("shown", [shown], stamps_ms=[10_005]))
        values = [event(1, "u2", "view", 3, reached), event(2, "u1", "order", 7, dated)]
        state.process(batch("events", values, stamps_ms=[reached, reached]))
        assert labels(state) == [1.0]

    def test_a_clock_that_is_behind_by_more_than_a_usual_delay_is_counted(self) -> None:
        state = PartitionState(MADE, 0)
        values = [event(n, "u1", "view", 7, dated) for n, dated in enumerate((2_000, 1_999, 0))]
        state.process(batch("events", values, stamps_ms=[12_000] * 3))
        assert (state.counters.clock_behind, state.counters.clock_ahead) == (2, 0)

    def test_a_click_that_was_made_in_time_and_came_too_late_is_counted(self) -> None:
        state = PartitionState(MADE, 0)
        state.process(batch("shown", [impression(MADE, "u1", [7], 10_000)], stamps_ms=[10_005]))
        late = 10_000 + WITHIN_MS + 1
        state.process(batch("events", [event(1, "u1", "order", 7, 11_000)], stamps_ms=[late]))
        assert labels(state) == []
        counted = totals({0: state})
        assert (counted["label_events_read"], counted["label_late"]) == (1, 1)


class TestReplicasClocks:
    """An item was shown before its impression reached the log."""

    def test_of_one_that_is_ahead_the_logs_time_counts(self) -> None:
        state = PartitionState(MADE, 0)
        ahead = impression(MADE, "u1", [7], 10_000 + AHEAD_MS)
        state.process(batch("shown", [ahead], stamps_ms=[10_000]))
        state.process(batch("events", [event(1, "u1", "order", 7, 11_000)], stamps_ms=[11_000]))
        assert labels(state) == [1.0]
        assert (state.counters.shown_ahead, state.counters.shown_behind) == (1, 0)

    def test_one_that_is_behind_is_counted(self) -> None:
        state = PartitionState(MADE, 0)
        behind = impression(MADE, "u1", [7], 10_000)
        state.process(batch("shown", [behind], stamps_ms=[20_001]))
        assert (state.counters.shown_ahead, state.counters.shown_behind) == (0, 1)
        assert state.counters.impressions == 1

    def test_one_that_is_far_behind_is_a_dead_letter_of_its_own_kind(self) -> None:
        state = PartitionState(MADE, 0)
        behind = impression(MADE, "u1", [7], 10_000)
        state.process(batch("shown", [behind], stamps_ms=[10_000 + AHEAD_MS]))
        assert (state.counters.dead, state.counters.dead_shown_late) == (1, 1)

    def test_dates_beyond_64_bits_stop_nothing(self) -> None:
        state = PartitionState(MADE, 0)
        shown = [impression(MADE, "u1", [7], at) for at in (2**63, -(2**62))]
        state.process(batch("shown", shown, stamps_ms=[10_000, 10_000]))
        assert (state.counters.shown_ahead, state.counters.dead_shown_late) == (1, 1)

    def test_its_usual_delay_is_not_counted(self) -> None:
        state = PartitionState(MADE, 0)
        shown = [impression(MADE, "u1", [7], at) for at in (10_000, 10_999)]
        state.process(batch("shown", shown, stamps_ms=[10_000, 10_050]))
        assert (state.counters.shown_ahead, state.counters.shown_behind) == (0, 0)


class TestAProducerThatIsAhead:
    """Of a topic whose records are stamped by their producers, one is 59 minutes ahead."""

    def crowd(self, ahead_ms: int = AHEAD_MS) -> tuple[list[bytes], list[int]]:
        """Events of a hundred users in a minute; in the middle one that is ahead."""
        stamps = [n * 600 for n in range(101)]
        values = [event(n, f"u{n}", "view", 7, stamp) for n, stamp in enumerate(stamps)]
        stamps[50] += ahead_ms
        values[50] = event(50, "ahead", "view", 7, stamps[50])
        return values, stamps

    def test_clicks_of_others_a_minute_later_have_the_label_1(self) -> None:
        state = PartitionState(MADE, 0)
        shown = impression(MADE, "u3", [7], 80_000)
        state.process(batch("shown", [shown], stamps_ms=[80_010]))
        values, stamps = self.crowd()
        state.process(by_producers("events", values, stamps))
        click = event(900, "u3", "order", 7, 90_000)
        state.process(by_producers("events", [click], [90_000], begin=101))
        assert labels(state) == [1.0]
        assert state.counters.stamp_ahead == 1

    def test_an_event_that_is_sent_again_after_a_minute_counts_once(self) -> None:
        state = PartitionState(MADE, 0)
        values, stamps = self.crowd()
        state.process(by_producers("events", values, stamps))
        state.process(by_producers("events", values[:2], [61_000, 61_001], begin=101))
        assert (state.counters.events, state.counters.duplicates) == (101, 2)

    def test_nobody_else_is_evicted(self) -> None:
        state = PartitionState(recent_views(), 0)
        values, stamps = self.crowd()
        state.process(by_producers("events", values, stamps))
        assert (len(state.tables[0]), state.counters.evicted) == (101, 0)

    def test_the_next_events_of_its_own_user_are_not_late(self) -> None:
        state = PartitionState(recent_views(), 0)
        values, stamps = self.crowd()
        state.process(by_producers("events", values, stamps))
        more = [event(200 + n, "ahead", "view", 7, 61_000 + n) for n in range(49)]
        state.process(by_producers("events", more, [61_000 + n for n in range(49)], begin=101))
        assert (state.counters.late, state.counters.events) == (0, 150)
        row = state.tables[0].row("ahead")
        assert row is not None
        plan = state.tables[0].plan
        seen = [
            float(plan.read(row.reshape(1, -1), np.array([START_MS + at])).values[0, 0])
            for at in (62_000, 20 * 60_000)
        ]
        assert seen == [50.0, 0.0], "all of them now, and none in twenty minutes"

    def test_what_is_idle_goes_when_most_producers_agree_on_the_time(self) -> None:
        state = PartitionState(recent_views(), 0)
        values, stamps = self.crowd()
        state.process(by_producers("events", values, stamps))
        later = [event(300 + n, f"v{n}", "view", 7, AHEAD_MS + n) for n in range(40)]
        state.process(by_producers("events", later, [AHEAD_MS + n for n in range(40)], begin=101))
        assert state.counters.evicted >= 90

    def test_an_hours_shift_of_a_tenth_of_the_producers_moves_nothing(self) -> None:
        random = np.random.default_rng(0)
        state = PartitionState(recent_views(), 0)
        wrong = (random.random(5_000) < 0.1) & (np.arange(5_000) > QUORUM)
        stamps = (np.arange(5_000) * 10 + AHEAD_MS * wrong).tolist()
        values = [event(n, f"u{n % 200}", "view", 7, stamp) for n, stamp in enumerate(stamps)]
        state.process(by_producers("events", values, stamps))
        assert (state.counters.evicted, state.counters.late) == (0, 0)
        assert 400 < state.counters.stamp_ahead < 600


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), st.lists(st.integers(1, 60), max_size=12), st.integers(0, 12))
def test_what_producers_stamped_leads_to_one_state_wherever_batches_end(
    seed: int, sizes: list[int], restart: int
) -> None:
    random = np.random.default_rng(seed)
    stamps = np.cumsum(random.integers(0, 9_000, 200))
    stamps += random.choice([0, 0, 0, 0, AHEAD_MS, -AHEAD_MS], 200)
    values = [
        event(number % 190, f"u{random.integers(30)}", "view", 7, at)
        for number, at in enumerate(stamps.tolist())
    ]
    made, end = recent_views(), 0
    state = PartitionState(made, 0)
    for number, size in enumerate(sizes):
        if number == restart:
            state = PartitionState.restore(made, 0, packed(state))
        begin, end = end, min(end + size, len(values))
        part = by_producers("events", values[begin:end], stamps[begin:end].tolist(), begin)
        state.process(part)
    straight = PartitionState(made, 0)
    straight.process(by_producers("events", values[:end], stamps[:end].tolist()))
    assert state.counters == straight.counters
    assert state.counters.stamp_ahead + state.counters.stamp_behind > 0 or end < 40
    ours, theirs = state.snapshot(), straight.snapshot()
    assert ours.meta == theirs.meta
    for name_of_part in ("clock/events", "dedup/events"):
        arrays = theirs.parts[name_of_part]()
        for name, array in ours.parts[name_of_part]().items():
            assert array.tolist() == arrays[name].tolist(), f"{name_of_part}/{name}"
    assert rows_by_entity(state.tables[0]) == rows_by_entity(straight.tables[0])
