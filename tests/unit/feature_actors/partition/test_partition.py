from dataclasses import replace

import msgspec
import numpy as np
import pytest
from small_shop import (
    GRACE_MS,
    JOINED,
    LABELLED,
    START_MS,
    WITHIN_MS,
    Event,
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
from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.impressions import decode_impression, encode_impression
from freshrank.actors.messages import BEGINNING, SourceOffsets, Version
from freshrank.actors.protocols import Progress
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Labelled
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.status import totals
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan

MADE = spec()
OWN_LABELS = spec(LABELLED)


def views_of(state: PartitionState, who: str, at_ms: int) -> float:
    table = state.tables[0]
    row = table.row(who)
    assert row is not None
    block = table.plan.read(row.reshape(1, -1), np.array([START_MS + at_ms]))
    return float(block.values[0, table.plan.columns.index("views_1m")])


def test_good_events_change_rows_and_the_others_are_sorted_out() -> None:
    state = PartitionState(MADE, 0)
    bad = msgspec.json.encode(Event("far", "u1", "view", 1, 1.0, START_MS + 99_999_999))
    outcome = state.process(
        batch(
            "events",
            [
                event(1, "u1", "view", 7, 1_000),
                b"{broken",
                event(1, "u1", "view", 7, 1_000),
                None,
                event(2, "u2", "view", 7, 2_000),
                bad,
            ],
            begin=40,
        )
    )
    assert [one.offset for one in outcome.dead] == [41, 43, 45]
    assert outcome.dead[0].value == b"{broken"
    assert outcome.dead[0].topic == "events"
    assert (state.counters.events, state.counters.duplicates, state.counters.dead) == (2, 1, 3)
    assert state.offsets == upto(46, 0)
    assert state.tables[0].entities(state.tables[0].dirty.take(10)) == ["u1", "u2"]
    assert views_of(state, "u1", 2_000) == 1.0


def test_duplicates_are_known_across_batches() -> None:
    state = PartitionState(MADE, 0)
    for begin in (0, 1):
        state.process(batch("events", [event(1, "u1", "view", 7, 1_000)], begin))
    assert views_of(state, "u1", 2_000) == 1.0


def test_duplicates_of_ids_beyond_the_bound_count_again_and_that_is_told() -> None:
    state = PartitionState(spec(event_ids=2), 0)
    for begin, number in enumerate([1, 2, 3, 3, 1]):
        state.process(batch("events", [event(number, "u1", "view", 7, 1_000)], begin))
        state = PartitionState.restore(state.spec, 0, packed(state))
    assert (state.counters.events, state.counters.duplicates) == (4, 1)
    assert state.counters.ids_forgotten == 2
    assert totals({0: state})["ids_forgotten"] == 2
    assert views_of(state, "u1", 2_000) == 4.0


def test_an_event_whose_clock_is_ahead_does_not_hide_duplicates() -> None:
    state = PartitionState(MADE, 0)
    good = event(1, "u1", "view", 7, 10_000)
    ahead = event(2, "u2", "view", 7, 3_000_000)  # by more than ids are remembered
    state.process(batch("events", [good, ahead, good], stamps_ms=[10_000] * 3))
    state.process(batch("events", [good], begin=3, stamps_ms=[10_000]))
    assert (state.counters.events, state.counters.duplicates) == (2, 2)


class OneMinute(FeatureView):
    entity, source = user, events
    views = Count(where=col.type == "view", windows=["1m"])


def test_events_too_late_for_every_feature_go_to_the_late_topic() -> None:
    plan = FeaturePlan([OneMinute])
    encoder = InputEncoder([plan], events, ["item"], [])
    state = PartitionState(replace(MADE, plan=plan, encoder=encoder), 0)
    late = event(2, "u1", "view", 7, 1_000)
    outcome = state.process(batch("events", [event(1, "u1", "view", 7, 9_000_000), late], begin=3))
    assert [(one.offset, one.value) for one in outcome.late] == [(4, late)]
    assert (state.counters.late, state.counters.events) == (1, 1)


def test_records_below_the_offsets_are_not_taken_twice() -> None:
    state = PartitionState(MADE, 0)
    values = [event(n, "u1", "view", 7, 1_000 + n) for n in range(4)]
    state.process(batch("events", values[:3]))
    state.process(batch("events", values, begin=0))
    assert (state.counters.events, state.counters.duplicates) == (4, 0)
    assert state.offsets == upto(4, 0)


def test_a_gap_in_the_log_is_counted() -> None:
    state = PartitionState(MADE, 0)
    state.process(batch("events", [event(1, "u1", "view", 7, 1_000)], begin=50))
    assert state.counters.skipped == 0  # where the log begins is no gap
    state.process(batch("events", [event(2, "u1", "view", 7, 1_000)], begin=60))
    assert state.counters.skipped == 9


def test_a_shown_item_is_learned_once_its_label_is_known() -> None:
    state = PartitionState(MADE, 0)
    shown = [impression(MADE, "u1", [7, 8], 10_000, number=1)]
    shown += [impression(MADE, "u2", [7], 10_000, number=2)]
    state.process(batch("shown", shown, stamps_ms=[10_000] * 2))
    assert state.counters.impressions == 2
    state.process(batch("events", [event(1, "u1", "order", 7, 12_000)], stamps_ms=[12_000]))
    assert known(state) == [(1.0, 1.0)]
    beyond = 10_000 + WITHIN_MS + GRACE_MS + 1
    state.process(batch("events", [event(2, "u3", "view", 7, beyond)], 1, [beyond]))
    state.example_queue.acknowledge(Progress(True, False, upto(1, 2), BEGINNING, Version(1, 1)))
    assert known(state) == [(1.0, 0.0), (2.0, 0.0)]
    assert (state.counters.examples, state.counters.positives) == (3, 1)


def test_what_was_scored_in_an_outage_of_the_store_is_counted_and_not_learned() -> None:
    state = PartitionState(MADE, 0)
    served = impression(MADE, "u1", [7], 10_000)
    flagged = encode_impression(msgspec.structs.replace(decode_impression(served), outage=True))
    outcome = state.process(batch("shown", [flagged, served], stamps_ms=[10_000] * 2))
    assert outcome.dead == []
    assert (state.counters.impressions, state.counters.impressions_outage) == (1, 1)
    assert totals({0: state})["impressions_outage"] == 1
    state.process(batch("events", [event(1, "u1", "order", 7, 12_000)]))
    assert state.counters.examples == 1


def test_of_impressions_that_repeat_each_other_the_first_counts_across_restarts() -> None:
    def shown(number: int, who: str = "u1", once: bool = True) -> bytes:
        served = decode_impression(impression(MADE, who, [7], 10_000, number))
        return encode_impression(msgspec.structs.replace(served, once=once))

    state = PartitionState(MADE, 0)
    first = [shown(1), shown(1), shown(2), shown(3, once=False), shown(3, once=False)]
    outcome = state.process(batch("shown", first, stamps_ms=[10_000] * 5))
    assert outcome.dead == []
    assert (state.counters.impressions, state.counters.impressions_repeated) == (4, 1)
    state = PartitionState.restore(MADE, 0, packed(state))
    state.process(batch("shown", [shown(2), shown(4)], begin=5, stamps_ms=[11_000] * 2))
    assert (state.counters.impressions, state.counters.impressions_repeated) == (5, 2)
    assert totals({0: state})["impressions_repeated"] == 2


def test_an_impression_of_an_outage_does_not_stand_for_the_one_that_repeats_it() -> None:
    served = msgspec.structs.replace(
        decode_impression(impression(MADE, "u1", [7], 10_000)), once=True
    )
    flagged = msgspec.structs.replace(served, outage=True)
    state = PartitionState(MADE, 0)
    values = [encode_impression(flagged), encode_impression(served)]
    state.process(batch("shown", values, stamps_ms=[10_000] * 2))
    assert (state.counters.impressions, state.counters.impressions_repeated) == (1, 0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"\xc1", "not an impression"),
        (impression(MADE, "u1", [7], -290_001), "300 s before the record reached the log"),
    ],
)
def test_impressions_that_are_no_use_are_rejected_with_a_reason(
    value: bytes | None, reason: str
) -> None:
    state = PartitionState(MADE, 0)
    outcome = state.process(batch("shown", [value], begin=5, stamps_ms=[10_000]))
    assert state.offsets == upto(0, 6)
    assert [one.offset for one in outcome.dead] == [5]
    assert reason in outcome.dead[0].reason


def test_rows_of_another_layout_are_refused() -> None:
    state = PartitionState(MADE, 0)
    other = impression(MADE, "u1", [7], 10_000).replace(
        MADE.encoder.fingerprint.encode(), b"0" * len(MADE.encoder.fingerprint)
    )
    outcome = state.process(batch("shown", [other], stamps_ms=[10_000]))
    assert "layout 0000" in outcome.dead[0].reason
    assert (state.counters.dead, state.counters.dead_other_layout) == (1, 1)


def test_an_event_with_its_own_label_is_learned_with_the_features_before_it() -> None:
    state = PartitionState(OWN_LABELS, 0)
    values = [
        event(1, "u1", "view", 7, 1_000),
        event(2, "u1", "order", 7, 2_000),
        event(3, "u1", "view", 8, 3_000),
    ]
    state.process(batch("events", values))
    examples = state.example_queue.peek()
    assert examples is not None
    assert examples.labels.tolist() == [0.0, 1.0, 0.0]
    views = examples.inputs.dense[:, OWN_LABELS.encoder.layout.dense.index("views_1m")]
    assert np.expm1(views).round().tolist() == [0.0, 1.0, 1.0]
    assert examples.event_times_ms.tolist() == [START_MS + at for at in (1_000, 2_000, 3_000)]


class Sale(Event):
    paid: float | None = None


def test_an_event_with_a_number_is_learned_with_it_and_one_without_is_no_example() -> None:
    sales = Stream("events", id="event_id", time="ts", key=user, schema=Sale)

    class Sales(FeatureView):
        entity, source = user, sales
        views = Count(where=col.type == "view", windows=["1m"])

    plan = FeaturePlan([Sales])
    made = replace(
        spec(Labelled(target="paid")),
        plan=plan,
        encoder=InputEncoder([plan], sales, ["item"], []),
    )
    state = PartitionState(made, 0)
    paid = [12.5, None, -3.0, 1e300]
    sold = [
        Sale(f"e{number}", "u1", "view", 7, 1.0, START_MS + number, amount)
        for number, amount in enumerate(paid)
    ]
    state.process(batch("events", [msgspec.json.encode(one) for one in sold]))
    examples = state.example_queue.peek()
    assert examples is not None
    assert examples.labels.tolist() == [12.5, -3.0], "1e300 is beyond float32"
    assert (state.counters.examples, state.counters.positives) == (2, 1)
    assert state.counters.examples_of_no_target == 2


BOTH = spec(two_streams=True, max_entities=4)


def test_an_id_of_one_stream_is_no_duplicate_in_another() -> None:
    state = PartitionState(BOTH, 0)
    state.process(batch("events", [event(7, "u1", "view", 1, 1_000)]))
    state.process(batch("visits", [visit(7, "u1", 1, 1_000)]))
    assert (state.counters.events, state.counters.duplicates) == (2, 0)


def test_an_event_with_its_own_label_is_learned_with_the_rows_of_both_streams() -> None:
    made = spec(LABELLED, two_streams=True)
    state = PartitionState(made, 0)
    state.process(batch("visits", [visit(n, "u1", 3, n * 10) for n in range(1, 6)]))
    state.process(batch("events", [event(n, "u1", "order", 7, 1_000 + n) for n in range(2)]))
    state.process(batch("events", [event(9, "u2", "order", 7, 1_000)], begin=2))
    examples = state.example_queue.peek()
    assert examples is not None
    pages = examples.inputs.dense[:, made.encoder.layout.dense.index("pages_1m")]
    spend = examples.inputs.dense[:, made.encoder.layout.dense.index("spend_1h")]
    assert np.expm1(pages).round(3).tolist() == [5.0, 5.0, 0.0], "u2 has no visits"
    assert np.expm1(spend).round(3).tolist() == [0.0, 10.5, 0.0]


def test_a_snapshot_of_another_partition_or_definition_is_refused() -> None:
    state = PartitionState(MADE, 0)
    payload = packed(state)
    with pytest.raises(DefinitionChanged):
        PartitionState.restore(OWN_LABELS, 0, payload)
    with pytest.raises(SnapshotError, match="partition 0, not 1"):
        PartitionState.restore(MADE, 1, payload)


def test_a_snapshot_is_independent_of_what_happens_next() -> None:
    state = PartitionState(MADE, 0)
    state.process(batch("events", [event(1, "u1", "view", 7, 1_000)]))
    snapshot = state.snapshot()
    state.process(batch("events", [event(2, "u1", "view", 7, 2_000)], begin=1))
    assert snapshot.copy_rows(None)
    back = PartitionState.restore(MADE, 0, b"".join(snapshot.pieces()))
    assert back.offsets == upto(1, 0)
    assert views_of(back, "u1", 3_000) == 1.0
    assert views_of(state, "u1", 3_000) == 2.0


def test_rows_that_the_store_has_not_got_are_dirty_again_after_a_restart() -> None:
    state = PartitionState(MADE, 0)
    for number, who in enumerate(["u1", "u2", "u3"]):
        state.process(batch("events", [event(number, who, "view", 7, 1_000)], begin=number))
    snapshot = state.snapshot(under_way={"user/events": state.tables[0].dirty.take(2)[:1]})
    assert snapshot.copy_rows(None)
    back = PartitionState.restore(MADE, 0, b"".join(snapshot.pieces()))
    assert back.tables[0].entities(back.tables[0].dirty.take(9)) == ["u1", "u3"]


class TestStops:
    """Reading again up to what the learner has."""

    def resumed(self, applied: SourceOffsets) -> PartitionState:
        state = PartitionState(MADE, 0)
        state.example_queue.resume(Progress(True, False, applied, BEGINNING, Version(1, 1)))
        return state

    def test_a_batch_ends_exactly_where_the_learner_is(self) -> None:
        state = self.resumed(upto(2, 1))
        values = [event(n, "u1", "view", 7, n) for n in range(5)]
        assert state.process(batch("events", values)).unread_from == 2
        assert (state.offsets, state.replaying) == (upto(2, 0), True)
        assert state.stopped("events") and not state.stopped("shown")
        shown = [impression(MADE, "u1", [7], 1_000)] * 2
        assert state.process(batch("shown", shown, stamps_ms=[1_000] * 2)).unread_from == 1
        assert (state.offsets, state.replaying) == (upto(2, 1), False)
        assert not state.stopped("events")
        assert state.process(batch("events", values[2:], begin=2)).unread_from is None

    def test_a_gap_at_the_stop_does_not_keep_it_from_being_reached(self) -> None:
        state = self.resumed(upto(5, 0))
        values = [event(n, "u1", "view", 7, n) for n in range(2)]
        state.process(batch("events", values))
        assert state.process(batch("events", values, begin=9)).unread_from == 5
        assert (state.offsets, state.replaying) == (upto(5, 0), False)

    def test_examples_from_below_the_learners_offsets_are_not_offered(self) -> None:
        state = self.resumed(upto(1, 1))
        state.process(batch("shown", [impression(MADE, "u1", [7], 1_000)], stamps_ms=[1_000]))
        state.process(batch("events", [event(1, "u1", "order", 7, 2_000)]))
        assert state.counters.examples == 1
        assert state.example_queue.peek() is None
        assert state.example_queue.replay_target == upto(1, 1)


def test_idle_entities_are_evicted_and_named_for_the_store() -> None:
    made = spec(max_entities=2)
    state = PartitionState(made, 0)
    values = [event(n, f"u{n}", "view", 7, 1_000 + n) for n in range(4)]
    state.process(batch("events", values))
    assert len(state.tables[0]) < 4
    assert "u0" in state.tables[0].evicted
    left = state.tables[0].entities(state.tables[0].dirty.take(9))
    assert set(left).isdisjoint(state.tables[0].evicted) and "u3" in left
    assert state.counters.evicted == len(state.tables[0].evicted)
    back = PartitionState.restore(made, 0, packed(state))
    assert back.tables[0].evicted == state.tables[0].evicted


AHEAD_MS = 59 * 60_000


class RecentViews(FeatureView):
    entity, source = user, events
    views = Count(windows=["5m"])


def recent_views() -> PartitionSpec:
    """A view that forgets everything after five minutes: idle entities are evicted."""
    plan = FeaturePlan([RecentViews])
    return replace(MADE, plan=plan, encoder=InputEncoder([plan], events, ["item"], []))


def viewed(state: PartitionState, who: str, at_ms: int) -> float:
    table = state.tables[0]
    row = table.row(who)
    assert row is not None
    block = table.plan.read(row.reshape(1, -1), np.array([START_MS + at_ms]))
    return float(block.values[0, table.plan.columns.index("views_5m")])


def test_an_event_ahead_of_the_log_counts_as_of_the_logs_time_for_its_own_user() -> None:
    state = PartitionState(recent_views(), 0)
    values = [event(0, "u1", "view", 7, AHEAD_MS)]
    values += [event(n, "u1", "view", 7, n * 1_000) for n in range(1, 50)]
    state.process(batch("events", values, stamps_ms=[n * 1_000 for n in range(50)]))
    assert (state.counters.late, state.counters.events) == (0, 50)
    assert state.counters.clock_ahead == 1
    assert viewed(state, "u1", 50_000) == 50.0
    assert viewed(state, "u1", 20 * 60_000) == 0.0, "not for an hour"


def test_an_event_ahead_of_the_log_evicts_nobody() -> None:
    state = PartitionState(recent_views(), 0)
    values = [event(n, f"u{n}", "view", 7, n) for n in range(100)]
    values += [event(100, "ahead", "view", 7, AHEAD_MS), event(101, "u1", "view", 7, 60_000)]
    state.process(batch("events", values, stamps_ms=[*range(101), 60_000]))
    state.process(batch("events", [event(102, "u2", "view", 7, 61_000)], 102, [61_000]))
    assert (len(state.tables[0]), state.counters.evicted) == (101, 0)
    assert viewed(state, "u1", 61_000) == 2.0


def test_a_stamp_ahead_of_the_log_needs_its_broker() -> None:
    """The broker's stamps are the log's time, so what is idle by them goes."""
    state = PartitionState(recent_views(), 0)
    values = [event(n, f"u{n}", "view", 7, n) for n in range(100)]
    values += [event(100, "later", "view", 7, AHEAD_MS)]
    state.process(batch("events", values, stamps_ms=[*range(100), AHEAD_MS]))
    assert (len(state.tables[0]), state.counters.evicted) == (1, 100)


def test_an_event_ahead_of_the_log_makes_no_duplicate_count_and_no_label_of_others_late() -> None:
    state = PartitionState(MADE, 0)
    shown = [impression(MADE, "u1", [7], 62_000, number=1)]
    state.process(batch("shown", shown, stamps_ms=[62_000]))
    values = [
        event(1, "u1", "view", 7, 1_000),
        event(2, "ahead", "view", 7, AHEAD_MS),
        event(1, "u1", "view", 7, 1_000),
        event(3, "u1", "order", 7, 63_000),
    ]
    state.process(batch("events", values, stamps_ms=[1_000, 2_000, 62_000, 63_000]))
    assert (state.counters.duplicates, state.counters.events) == (1, 3)
    assert known(state) == [(1.0, 1.0)]


def test_an_example_with_its_own_label_is_read_as_of_the_logs_time() -> None:
    state = PartitionState(OWN_LABELS, 0)
    values = [event(1, "u1", "view", 7, 1_000), event(2, "u1", "order", 7, AHEAD_MS)]
    state.process(batch("events", values, stamps_ms=[1_000, 2_000]))
    examples = state.example_queue.peek()
    assert examples is not None
    assert examples.event_times_ms.tolist() == [START_MS + 1_000, START_MS + 2_000]
    views = examples.inputs.dense[:, OWN_LABELS.encoder.layout.dense.index("views_1m")]
    assert np.expm1(views).round().tolist() == [0.0, 1.0]


def test_an_event_far_behind_the_newest_is_known_again_when_it_is_sent_twice() -> None:
    state = PartitionState(MADE, 0)
    now = 20 * 60_000
    old = event(2, "u2", "view", 7, 1_000)  # by a slow clock, or sent after an outage
    values = [event(1, "u1", "view", 7, now), old, old]
    state.process(batch("events", values, stamps_ms=[now, now + 1_000, now + 2_000]))
    state = PartitionState.restore(MADE, 0, packed(state))
    state.process(batch("events", [old], 3, [now + 600_000]))
    assert (state.counters.events, state.counters.duplicates) == (2, 2)


def test_an_id_is_remembered_for_a_while_after_its_event_arrived() -> None:
    state = PartitionState(MADE, 0)
    same = event(1, "u1", "view", 7, 1_000)
    later = event(2, "u2", "view", 7, 1_000)
    stamps_ms = [1_000, 601_001, 601_002]  # ten minutes and a little
    state.process(batch("events", [same, later, same], stamps_ms=stamps_ms))
    assert (state.counters.events, state.counters.duplicates) == (3, 0)


def test_a_share_of_the_negatives_is_learned_and_every_positive_once() -> None:
    label = replace(JOINED, negatives_kept=0.25)
    made = replace(spec(label), settings=MADE.settings)
    state = PartitionState(made, 0)
    shown = [impression(made, f"u{n}", range(1, 9), 1_000, n, scored=True) for n in range(100)]
    state.process(batch("shown", shown, stamps_ms=[1_000] * 100))
    orders = [event(n, f"u{n}", "order", 3, 2_000) for n in range(100)]
    state.process(batch("events", orders, stamps_ms=[2_000] * 100))
    examples = state.example_queue.peek()
    assert examples is not None and examples.corrects is not None
    positive = examples.labels > 0.5
    assert positive.sum() == 100
    negatives = len(examples) - 100
    assert 150 < negatives < 250, "a quarter of 800, of which some were ordered then"
    assert 10 < examples.corrects.sum() < 40, "those that were learned as negative"
    assert not examples.corrects[~positive].any()
    assert state.counters.negatives_left_out == 800 - negatives

    again = PartitionState(made, 0)
    for at in range(0, 100, 7):
        again.process(batch("shown", shown[at : at + 7], at, [1_000] * len(shown[at : at + 7])))
    again.process(batch("events", orders, stamps_ms=[2_000] * 100))
    same = again.example_queue.peek()
    assert same is not None and same.corrects is not None
    assert (same.inputs.dense == examples.inputs.dense).all()
    assert (same.corrects == examples.corrects).all()


def test_events_that_carry_labels_are_sampled_too() -> None:
    state = PartitionState(spec(replace(LABELLED, negatives_kept=0.25)), 0)
    kinds = ["order" if n % 10 == 0 else "view" for n in range(400)]
    state.process(batch("events", [event(n, "u1", kind, 3, n) for n, kind in enumerate(kinds)]))
    labels = [label for _, label in known(state)]
    assert labels.count(1.0) == 40
    assert 60 < labels.count(0.0) < 120
