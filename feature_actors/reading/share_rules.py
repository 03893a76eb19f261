"""The shares that a shard's counters must not be of others: what each means, and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from freshrank.actors.alerts import AlertKind
from freshrank.actors.records import RejectKind

# The least records that make a share, and the greatest share that is no alert.
LEAST_RECORDS = 100
GREATEST_SHARE = 0.05
NEARLY_ALL = 0.95
# Of records that lie in the wrong partition, which chance never makes.
FEW = 10
# Some users act late, or on what they had not been shown; many of them hint at a fault.
_MANY = 0.2
_MOST = 0.5
_ALL_BUT_A_FEW = 0.999  # one kind of a union of structs may be rare


@dataclass(frozen=True, slots=True)
class ShareRule:
    """A counter of a shard's status that may be a small share of others only."""

    counter: str
    of: tuple[str, ...]
    """The counters that together are the whole."""
    kind: AlertKind
    what: str
    """What the counter counts, and the fix; with ``{dead}`` for the topics of rejected records."""
    least: int = LEAST_RECORDS
    """The least records that make a share."""
    blocks: bool = False
    """Whether answers are wrong while the share is too large: the shard is not ready."""
    mostly: Mapping[str, str] = field(default_factory=dict)
    """By a counter that counts some of the same records: `what` in place of the other, where it
    has nearly all of them."""
    most: float = GREATEST_SHARE
    """The greatest share that is no alert."""
    certain: bool = False
    """Whether more than half of `FEW` records are enough: chance does not make so many."""

    def exceeded(self, part: int, whole: int) -> bool:
        """Whether `part` of `whole` is too large a share.

        >>> rule = ShareRule("dead_time_zone", ("events",), AlertKind.REJECTED, "", certain=True)
        >>> rule.exceeded(6, 100), rule.exceeded(6, 99), rule.exceeded(6, 10), rule.exceeded(5, 5)
        (True, False, True, False)
        """
        if whole >= self.least and part > self.most * whole:
            return True
        return self.certain and whole >= FEW and part > _MOST * whole

    def explain(self, now: Mapping[str, int], then: Mapping[str, int]) -> str:
        """What the records between two states of the counters are, and the fix."""
        part = now[self.counter] - then[self.counter]
        for counter, what in self.mostly.items():
            if now[counter] - then[counter] >= NEARLY_ALL * part:
                return what
        return self.what

    @property
    def counters(self) -> tuple[str, ...]:
        """All counters that the rule compares."""
        return (self.counter, *self.of, *self.mostly)


_ROWS = ("table_rows", "tombstones", "tombstones_unknown")
_EVENTS = ("events", "duplicates", "late", "dead", *_ROWS)
_PAIRS = ("events", "duplicates", "late", "without_part", "part_too_long")
_TABLE_RECORDS = (*_ROWS, "dead_table_rows")
_IMPRESSIONS = ("impressions", "dead_shown_late")
_LABELS = ("label_events_read",)

RULES = (
    ShareRule(
        "dead_time_unit",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because their time is not in the declared unit: "
        "mend the producer, or declare Stream(time_unit=...) ({dead} has each with its unit)",
        certain=True,
    ),
    ShareRule(
        "dead_time_zone",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because their time names no zone: "
        'declare the zone that they are in, as in Stream(time_zone="Europe/Berlin")',
        certain=True,
    ),
    ShareRule(
        "dead_time_ahead",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because their time is too far ahead of the log: "
        "set the clocks of their producers right, or allow more with Stream.max_ahead",
        certain=True,
    ),
    ShareRule(
        "dead_misplaced",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because they lie in another partition than their entity belongs to: "
        'key the records by the entity, or declare Stream(partitioner="any") '
        "({dead} has each with its partition)",
        FEW,
        blocks=True,
        mostly={
            "dead_misplaced_crc32": "events are rejected because they lie where CRC-32 puts their "
            'entity, as librdkafka does: declare Stream(partitioner="crc32")',
            "dead_misplaced_murmur2": "events are rejected because they lie where murmur2 puts "
            'their entity, as Kafka\'s Java client does: declare Stream(partitioner="murmur2")',
        },
    ),
    ShareRule(
        "dead_table_rows",
        _TABLE_RECORDS,
        AlertKind.REJECTED,
        "records of a table are rejected, and the rows before them stay: its schema has changed, "
        "or another program writes to the topic ({dead} has each with its reason)",
        FEW,
    ),
    ShareRule(
        "dead_no_key",
        _TABLE_RECORDS,
        AlertKind.REJECTED,
        "records of a table have no key, so that no entity gets their rows: write them with the "
        "entity's id as their key",
        FEW,
    ),
    ShareRule(
        "table_rows_dropped",
        ("table_rows",),
        AlertKind.REJECTED,
        "rows of a table are dropped, the oldest first, because it holds too many entities: raise "
        "shards.max_entities_per_partition, or give its topic more partitions",
        least=1,
        most=0.0,
    ),
    ShareRule(
        "without_part",
        _PAIRS,
        AlertKind.REJECTED,
        "hardly an event has a value for a part of an entity's id, so that they change no row of "
        "it: see that the producers send the fields that Entity(key=...) names",
        most=_ALL_BUT_A_FEW,
    ),
    ShareRule(
        "part_too_long",
        _PAIRS,
        AlertKind.REJECTED,
        "events change no row of an entity because a part of its id is longer than 256 "
        "characters: name a field that identifies, such as an id",
    ),
    ShareRule(
        "examples_of_no_target",
        ("examples", "examples_of_no_target"),
        AlertKind.REJECTED,
        "most events are not learned from because they have no value of the target: see that the "
        "producers send the field that Labelled.target names, or say with among=... what has one",
        most=_MOST,
    ),
    ShareRule(
        "examples_of_no_class",
        ("examples", "examples_of_no_class"),
        AlertKind.REJECTED,
        "most events are not learned from because the target has none of Labelled.classes: compare "
        "these with the values that come, their case too, or say with among=... what is an example",
        most=_MOST,
    ),
    ShareRule(
        "examples_of_bad_weight",
        ("examples", "examples_of_bad_weight"),
        AlertKind.REJECTED,
        "events are not learned from because their weight is missing, negative or not finite: see "
        "that the producers send the field that Labelled.weight names",
    ),
    ShareRule(
        "dead_impression_misplaced",
        ("impressions", "dead_impression_misplaced"),
        AlertKind.REJECTED,
        "impressions are not learned from because they lie in another partition than their entity "
        "belongs to: after a change of the partitioner only those served since are, and this ends "
        "by itself; else another program writes to this topic",
        certain=True,
    ),
    ShareRule(
        "dead_other_layout",
        ("impressions", "dead_other_layout"),
        AlertKind.REJECTED,
        "impressions are not learned from because they were served with inputs of a layout that "
        "this state does not know: after a start without the state of before only those served "
        "since are, and this ends by itself; else another program writes to this topic",
        certain=True,
    ),
    ShareRule(
        "impressions_outage",
        ("impressions", "impressions_outage"),
        AlertKind.REJECTED,
        "impressions are not learned from because the online store did not answer when they were "
        "scored: see that it is up, near, and not busy with others (serve.read_timeout_ms)",
    ),
    ShareRule(
        "stamp_ahead",
        _EVENTS,
        AlertKind.CLOCKS,
        "records are stamped ahead of the log by their producers: set their clocks right, or let "
        "the broker stamp them (message.timestamp.type=LogAppendTime)",
    ),
    ShareRule(
        "stamp_behind",
        _EVENTS,
        AlertKind.CLOCKS,
        "records are stamped long before they reached the log: their producers' clocks are behind, "
        "or they were delayed",
    ),
    ShareRule(
        "shown_ahead",
        _IMPRESSIONS,
        AlertKind.CLOCKS,
        "impressions are dated later than the log: set the clocks of the replicas right",
    ),
    ShareRule(
        "shown_behind",
        _IMPRESSIONS,
        AlertKind.CLOCKS,
        "impressions are dated more than 10 s before they reached the log: the clocks of their "
        "replicas are behind, so that labels may be missed, or the broker was away",
    ),
    ShareRule(
        "dead_shown_late",
        _IMPRESSIONS,
        AlertKind.CLOCKS,
        "impressions are not learned from because they are dated more than five minutes before "
        "they reached the log: set the clocks of the replicas right",
        certain=True,
    ),
    ShareRule(
        "label_early",
        _LABELS,
        AlertKind.UNJOINED,
        "label events reached the log just before their item was shown: compare the clocks of the "
        "brokers and of the replicas",
        most=_MANY,
    ),
    ShareRule(
        "label_late",
        _LABELS,
        AlertKind.UNJOINED,
        "label events reached the log when Joined.within had passed: allow more, or find out what "
        "delays them",
        most=_MANY,
    ),
    ShareRule(
        "label_not_shown",
        _LABELS,
        AlertKind.UNJOINED,
        "label events are of items that were not shown to their user: users find items elsewhere, "
        "or records are not keyed by the entity, or by another partitioner",
        most=_MOST,
    ),
)

# Of a topic's `TopicCounts`: what is rejected, then what is too late.
OF_TOPICS = (
    ShareRule(
        "dead",
        ("records",),
        AlertKind.REJECTED,
        "records of the topic {topic!r} are rejected, the last one because of: {reason} "
        "({topic}.dead has each with its reason): mend the producer, or declare the schema that it "
        "writes",
        certain=True,
    ),
    ShareRule(
        "late",
        ("records",),
        AlertKind.REJECTED,
        "records of the topic {topic!r} change nothing because they came too late: every aggregate "
        "has forgotten their time ({topic}.late has each). Find out what delays them, set the "
        "clocks of their producers right, or declare longer windows",
        certain=True,
    ),
)
COUNTED_BY = {
    RejectKind.TIME_UNIT: "dead_time_unit",
    RejectKind.TIME_ZONE: "dead_time_zone",
    RejectKind.TIME_AHEAD: "dead_time_ahead",
    RejectKind.MISPLACED: "dead_misplaced",
    RejectKind.MISPLACED_CRC32: "dead_misplaced",
    RejectKind.MISPLACED_MURMUR2: "dead_misplaced",
    RejectKind.IMPRESSION_MISPLACED: "dead_impression_misplaced",
    RejectKind.OTHER_LAYOUT: "dead_other_layout",
    RejectKind.SHOWN_LATE: "dead_shown_late",
}
"""The counters of `RULES` that tell of kinds of rejection; others are told of by topic alone."""
