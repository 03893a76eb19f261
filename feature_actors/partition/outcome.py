"""The rejected records of a batch, and the counters of a partition since its first record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from freshrank.actors.records import RejectedRecord, RejectKind


@dataclass(slots=True)
class Counters:
    """Counts of a partition's records since its first."""

    events: int = 0
    """Applied to the features."""
    duplicates: int = 0
    late: int = 0
    without_part: int = 0
    """Events without a value for a part of an entity's id: they change none of its rows."""
    part_too_long: int = 0
    """Events whose part of an entity's id has more than `LONGEST_KEY` characters."""
    dead: int = 0
    dead_time_unit: int = 0
    """Of the dead: their event time is in another unit than the stream declares."""
    dead_time_zone: int = 0
    """Of the dead: their event time names no zone, and the stream declares none."""
    dead_time_ahead: int = 0
    """Of the dead: their event time is further ahead of the log than `Stream.max_ahead`."""
    dead_misplaced: int = 0
    """Of the dead: events of entities that belong to another partition."""
    dead_misplaced_crc32: int = 0
    """Of these: they lie where CRC-32 puts them, and the stream declares murmur2."""
    dead_misplaced_murmur2: int = 0
    """Of these: they lie where murmur2 puts them, and the stream declares CRC-32."""
    dead_impression_misplaced: int = 0
    """Of the dead: impressions of entities that belong to another partition."""
    dead_other_layout: int = 0
    """Of the dead: impressions that were served with inputs of a layout that is not known."""
    dead_shown_late: int = 0
    """Of the dead: impressions that reached the log more than `MAX_DELAY_MS` after their time."""
    clock_ahead: int = 0
    """Events that were dated later than the log; they count as of the log's time."""
    clock_behind: int = 0
    """Events that were dated more than `TOLERANCE_MS` before they reached the log: by clocks that
    are behind, or delayed."""
    stamp_ahead: int = 0
    """Events whose records a producer stamped too far ahead of the log's clock."""
    stamp_behind: int = 0
    """Events whose records a producer stamped long before the log's clock."""
    shown_ahead: int = 0
    """Impressions of replicas whose clocks are ahead of the log's."""
    shown_behind: int = 0
    """Impressions of replicas whose clocks are behind the log's, or that were delayed."""
    copied_again: int = 0
    """Copies of records of a re-keyed topic that are left out: they were made again after a
    failure, or for another state."""
    table_rows: int = 0
    """Records that replaced the row of an entity in a table."""
    forgotten: int = 0
    """Tombstones in streams, of entities whose rows were deleted."""
    forgotten_unknown: int = 0
    """Tombstones in streams, of entities that the stream had no row of."""
    tombstones: int = 0
    """Records that deleted the row of an entity in a table."""
    tombstones_unknown: int = 0
    """Records that were to delete a row that the table did not have."""
    table_rows_dropped: int = 0
    """Of the evicted: the oldest rows of a table that holds too many entities."""
    dead_table_rows: int = 0
    """Of the dead: records of tables, whatever the reason."""
    dead_no_key: int = 0
    """Of the dead: rows and tombstones without a key."""
    skipped: int = 0
    """Offsets without a record: compaction, and the markers of transactions."""
    lost_to_retention: int = 0
    """Offsets that were deleted before they were read."""
    deleted_before_start: int = 0
    """Offsets of streams below the first record that was read: the state began without them."""
    impressions: int = 0
    impressions_carried: int = 0
    """Of these: they were served with a former input layout; what it lacks is missing."""
    impressions_outage: int = 0
    """Impressions that were scored while the online store did not answer: they are not joined."""
    impressions_repeated: int = 0
    """Further impressions of a repeated request: only the first is joined."""
    negatives_left_out: int = 0
    """Negatives that are not learned from: the label keeps a share of them."""
    examples_of_no_target: int = 0
    """Events that are no examples: the target has no value, or a value beyond float32."""
    examples_of_no_class: int = 0
    """Events that are no examples: the target has none of the label's classes."""
    examples_of_bad_weight: int = 0
    """Events that are no examples: their weight is missing, negative or not finite."""
    examples: int = 0
    positives: int = 0
    evicted: int = 0
    ids_forgotten: int = 0
    """Of events, before `Stream.dedup_within` had passed: there were more than are remembered."""

    @property
    def records(self) -> int:
        """Records of streams and impressions that were taken, whatever became of them."""
        applied = self.events + self.duplicates + self.impressions
        return applied + self.late + self.without_part + self.part_too_long + self.dead

    def count_dead(self, dead: Sequence[RejectedRecord]) -> None:
        """Count rejected records, by the kinds of their reasons."""
        if not dead:
            return
        self.dead += len(dead)
        of = Counter(record.kind for record in dead)
        by_crc32, by_murmur2 = of[RejectKind.MISPLACED_CRC32], of[RejectKind.MISPLACED_MURMUR2]
        self.dead_time_unit += of[RejectKind.TIME_UNIT]
        self.dead_time_zone += of[RejectKind.TIME_ZONE]
        self.dead_time_ahead += of[RejectKind.TIME_AHEAD]
        self.dead_misplaced += of[RejectKind.MISPLACED] + by_crc32 + by_murmur2
        self.dead_misplaced_crc32 += by_crc32
        self.dead_misplaced_murmur2 += by_murmur2
        self.dead_impression_misplaced += of[RejectKind.IMPRESSION_MISPLACED]
        self.dead_other_layout += of[RejectKind.OTHER_LAYOUT]
        self.dead_no_key += of[RejectKind.NO_KEY]
        self.dead_shown_late += of[RejectKind.SHOWN_LATE]


# Characters of a reason that are kept: it may quote the record.
_MOST_REASON = 200


@dataclass(slots=True)
class TopicCounts:
    """Counts of a topic's records since its reader was made: no snapshot has them.

    >>> counts = TopicCounts(records=5, late=1)
    >>> counts.add(TopicCounts(records=3))
    >>> counts.records, counts.late
    (8, 1)
    """

    records: int = 0
    late: int = 0
    dead: Counter[RejectKind] = field(default_factory=Counter)
    reason: str = ""
    """Of the last rejection."""

    def count(self, records: int, late: int, dead: Sequence[RejectedRecord]) -> None:
        """Count `records`, of which some are late or dead."""
        self.records += records
        self.late += late
        if dead:
            self.dead.update(record.kind for record in dead)
            self.reason = dead[-1].reason[:_MOST_REASON]

    def add(self, other: TopicCounts) -> None:
        """Add the counts of another partition of the topic."""
        self.records += other.records
        self.late += other.late
        self.dead.update(other.dead)
        self.reason = other.reason or self.reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effects of a batch except its examples, and where reading has to go on."""

    dead: list[RejectedRecord] = field(default_factory=list)
    """Rejected records."""
    late: list[RejectedRecord] = field(default_factory=list)
    """The same, those that came too late."""
    forgotten: list[str] = field(default_factory=list)
    """Entities of which nothing that was learned before is to stay."""
    unread_from: int | None = None
    """The batch reached beyond an offset at which reading has to stop: go back to it."""
