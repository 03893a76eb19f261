"""Rejected records that are a share of the stream are one alert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from fake_clock import FakeClock

from freshrank.actors.alerts import Alerts
from freshrank.actors.records import RejectKind
from freshrank.feature_actors.partition.outcome import TopicCounts
from freshrank.feature_actors.reading.share_rules import COUNTED_BY, FEW, RULES
from freshrank.feature_actors.reading.share_watch import ShareWatch

NAMES = {name for rule in RULES for name in rule.counters}


class Scene:
    """A shard's counters, and the alerts that they lead to."""

    def __init__(self) -> None:
        self.alerts = Alerts("shard-0", FakeClock())
        self.watch = ShareWatch(self.alerts)
        self.counters = dict.fromkeys(NAMES, 0)
        self.topics: Mapping[str, TopicCounts] = {}
        self.watch.update(self.counters, 0.0)

    def of_topics(self, topics: Mapping[str, TopicCounts]) -> Scene:
        """Go on with these counts of topics."""
        self.topics = topics
        return self

    def count(self, now_s: float, **more: int) -> int:
        """Add to the counters; gives the alerts so far."""
        for name, count in more.items():
            self.counters[name] += count
        self.watch.update(self.counters, now_s, self.topics)
        by_kind = self.alerts.status()["by_kind"]
        assert isinstance(by_kind, dict)
        return sum(by_kind.values())


def test_a_share_of_wrong_units_is_one_alert_while_it_lasts() -> None:
    scene = Scene()
    assert scene.count(1.0, events=93, dead=6, dead_time_unit=6) == 0, "99 are too few"
    assert scene.count(2.0, events=1) == 1
    assert "6 % of 100" in scene.watch.exceeded["dead_time_unit"]
    assert scene.count(3.0, dead=5, dead_time_unit=5) == 1
    assert scene.count(30.0, events=10_000) == 1
    assert scene.watch.exceeded == {}
    assert scene.count(100.0, events=100, dead=100, dead_time_unit=100) == 2


def test_few_of_them_are_counted_only() -> None:
    scene = Scene()
    assert scene.count(1.0, events=95, dead=5, dead_time_unit=5) == 0
    assert scene.watch.exceeded == {}


def test_most_events_may_have_no_pair_and_all_of_them_without_one_are_an_alert() -> None:
    scene = Scene()
    assert scene.count(1.0, events=1, without_part=999) == 0
    assert scene.count(2.0, without_part=1) == 1
    assert "producers send the fields" in scene.watch.exceeded["without_part"]
    assert scene.count(3.0, part_too_long=100) == 2


def test_most_events_of_no_class_are_an_alert_and_some_without_a_weight() -> None:
    scene = Scene()
    assert scene.count(1.0, examples=500, examples_of_no_class=500) == 0
    assert scene.count(2.0, examples_of_no_class=1) == 1
    assert "Labelled.classes" in scene.watch.exceeded["examples_of_no_class"]
    assert scene.count(3.0, examples_of_bad_weight=100) == 2


def test_most_events_without_a_target_are_an_alert() -> None:
    scene = Scene()
    assert scene.count(1.0, examples=500, examples_of_no_target=500) == 0
    assert scene.count(2.0, examples_of_no_target=1) == 1
    assert "Labelled.target" in scene.watch.exceeded["examples_of_no_target"]


def test_what_came_longer_ago_than_a_minute_is_not_counted() -> None:
    scene = Scene()
    scene.count(10.0, events=10_000)
    assert scene.count(80.0, events=60, dead=40, dead_time_ahead=40) == 1
    assert set(scene.watch.exceeded) == {"dead_time_ahead"}


def test_counters_of_a_snapshot_are_no_share_of_the_present() -> None:
    alerts = Alerts("shard-0", FakeClock())
    watch = ShareWatch(alerts)
    watch.update(dict.fromkeys(NAMES, 500), 7.0)
    watch.update(dict.fromkeys(NAMES, 500), 8.0)
    assert watch.exceeded == {}


def test_impressions_of_other_features_are_told_of_though_many_events_are_good() -> None:
    scene = Scene()
    assert scene.count(1.0, events=100_000, dead=100, dead_other_layout=100) == 1
    assert "a layout that this state does not know" in scene.watch.exceeded["dead_other_layout"]


def test_few_impressions_of_other_features_are_told_of_by_their_cause_alone() -> None:
    # The topic's own rule would say that the producer writes another schema.
    topics = {"shop.impressions": TopicCounts(30, dead=Counter({RejectKind.OTHER_LAYOUT: 20}))}
    scene = Scene().of_topics(topics)
    assert scene.count(1.0, impressions=10, dead=20, dead_other_layout=20) == 1
    assert set(scene.watch.exceeded) == {"dead_other_layout"}


@pytest.mark.parametrize("counter", sorted(set(COUNTED_BY.values())))
def test_a_rule_of_a_cause_needs_no_more_records_than_that_of_the_topic(counter: str) -> None:
    (rule,) = (rule for rule in RULES if rule.counter == counter)
    assert rule.certain or rule.least <= FEW


def test_an_alert_names_the_topics_of_the_rejected_records() -> None:
    few = {RejectKind.MISPLACED: 30}
    topics = {"clicks": TopicCounts(100), "visits": TopicCounts(90, dead=Counter(few))}
    scene = Scene().of_topics(topics)
    scene.count(1.0, events=160, dead=30, dead_misplaced=30)
    assert "(visits.dead has each with its partition)" in scene.watch.exceeded["dead_misplaced"]


def test_impressions_of_an_outage_of_the_store_are_told_of_when_they_are_a_share() -> None:
    scene = Scene()
    assert scene.count(1.0, impressions=96, impressions_outage=4) == 0
    assert scene.count(2.0, impressions_outage=10) == 1
    assert "the online store did not answer" in scene.watch.exceeded["impressions_outage"]


@pytest.mark.parametrize(
    ("counter", "whole"),
    [
        ("stamp_ahead", "events"),
        ("stamp_behind", "events"),
        ("shown_ahead", "impressions"),
        ("shown_behind", "impressions"),
        ("dead_shown_late", "impressions"),
    ],
)
def test_wrong_clocks_are_one_alert_when_they_are_a_share(counter: str, whole: str) -> None:
    scene = Scene()
    assert scene.count(1.0, **{whole: 1_000, counter: 50}) == 0
    assert scene.count(2.0, **{counter: 30}) == 1
    assert scene.alerts.status()["by_kind"] == {"clocks": 1}


@pytest.mark.parametrize(
    ("counter", "few"), [("label_early", 20), ("label_late", 20), ("label_not_shown", 50)]
)
def test_label_events_that_label_nothing_are_an_alert_when_they_are_many(
    counter: str, few: int
) -> None:
    scene = Scene()
    assert scene.count(1.0, **{"label_events_read": 100, counter: few}) == 0
    assert scene.count(2.0, **{counter: 1}) == 1
    assert scene.alerts.status()["by_kind"] == {"unjoined": 1}


def test_rejected_rows_of_a_table_are_an_alert() -> None:
    scene = Scene()
    dead = {"dead": 5, "dead_table_rows": 5}
    assert scene.count(1.0, table_rows=90, tombstones=5, tombstones_unknown=0, **dead) == 0
    assert scene.count(2.0, dead=5, dead_table_rows=5) == 1
    assert "its schema has changed" in scene.watch.exceeded["dead_table_rows"]
    assert scene.count(3.0, dead=9, dead_table_rows=9, dead_no_key=9) == 2
    assert "have no key" in scene.watch.exceeded["dead_no_key"]


def test_one_dropped_row_of_a_table_is_an_alert() -> None:
    scene = Scene()
    assert scene.count(1.0, table_rows=5_000) == 0
    assert scene.count(2.0, table_rows=1_000, table_rows_dropped=1) == 1
    assert "raise shards.max_entities_per_partition" in scene.watch.exceeded["table_rows_dropped"]


def test_few_misplaced_rows_of_a_table_are_a_small_share() -> None:
    scene = Scene()
    misplaced = {"dead": 10, "dead_misplaced": 10, "dead_table_rows": 10}
    assert scene.count(1.0, table_rows=1_000, **misplaced) == 0


def dead(records: int, **kinds: int) -> dict[str, TopicCounts]:
    """Counts of the topic ``plays`` beside another one."""
    of = Counter({RejectKind(kind): count for kind, count in kinds.items()})
    return {"plays": TopicCounts(records, dead=of, reason="no field"), "likes": TopicCounts(9_000)}


@pytest.mark.parametrize("kind", sorted(RejectKind))
def test_each_reason_in_one_of_several_topics_is_one_alert(kind: str) -> None:
    scene = Scene()
    assert scene.of_topics(dead(100, **{kind: 5})).count(1.0) == 0
    assert scene.of_topics(dead(100, **{kind: 6})).count(2.0) == 1
    assert scene.watch.exceeded["plays.dead"].startswith("6 % of 100 (in 60 s)")
    assert (
        "'plays' are rejected, the last one because of: no field"
        in (scene.watch.exceeded["plays.dead"])
    )
    assert scene.of_topics(dead(110, **{kind: 16})).count(3.0) == 1, "told once"
    assert scene.watch.not_ready == {}


def test_ten_records_are_enough_where_most_are_rejected() -> None:
    scene = Scene()
    assert scene.of_topics(dead(9, invalid=9)).count(1.0) == 0
    assert scene.of_topics(dead(12, invalid=6)).count(2.0) == 0
    assert scene.of_topics(dead(13, invalid=7)).count(3.0) == 1
    other = Scene()
    assert other.count(1.0, events=4, dead=6, dead_time_zone=6) == 1


def test_what_a_rule_tells_of_is_not_told_of_its_topic_again() -> None:
    scene = Scene()
    wrong = {"events": 10, "dead": 90, "dead_time_unit": 90}
    assert scene.of_topics(dead(100, time_unit=90)).count(1.0, **wrong) == 1
    assert set(scene.watch.exceeded) == {"dead_time_unit"}


def test_late_records_of_one_of_several_topics_are_an_alert() -> None:
    scene = Scene()
    plays, likes = TopicCounts(100, late=6), TopicCounts(9_000)
    assert scene.of_topics({"plays": plays, "likes": likes}).count(1.0, events=9_094, late=6) == 1
    assert "came too late" in scene.watch.exceeded["plays.late"]
