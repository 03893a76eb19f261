"""Records of several partitions are given on in the order of their stamps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_shop import START_MS

from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.reading.stamp_merge import StampMerge


def records(partition: int, *seconds: int, by_broker: bool = True) -> RecordBatch:
    stamps = START_MS + 1_000 * np.array(seconds, dtype=np.int64)
    values: list[bytes | None] = [b"%d" % at for at in seconds]
    batch = consecutive_records("plays", partition, values, stamps)
    return replace(batch, stamped_by_broker=np.full(len(seconds), by_broker, dtype=np.bool_))


def given(merge: StampMerge, lag: dict[int, int], now_s: float = 0.0) -> list[bytes | None]:
    return [value for batch in merge.release(lag, now_s) for value in batch.values]


def test_records_wait_for_older_ones_of_a_partition_that_is_behind() -> None:
    merge = StampMerge()
    merge.add(records(0, 1, 5, 9), 0.0)
    assert given(merge, {0: 3, 1: 2}) == [], "those of partition 1 have not been seen"
    merge.add(records(1, 2, 5), 0.0)
    assert given(merge, {0: 3, 1: 4}) == [b"1", b"5", b"2", b"5"]
    assert (merge.holds(0), merge.holds(1), len(merge)) == (True, False, 1)
    assert given(merge, {0: 3, 1: 4}) == [], "partition 1 goes on after 5"
    assert given(merge, {0: 3, 1: 0}) == [b"9"]


def test_records_that_are_hardly_newer_than_what_is_left_elsewhere_are_not_held() -> None:
    merge = StampMerge()
    stamps = [np.array([begin, begin + 90, begin + 101]) for begin in (0, 1)]
    for partition, millis in enumerate(stamps):
        values: list[bytes | None] = [b"%d" % at for at in millis]
        batch = consecutive_records("plays", partition, values, START_MS + millis)
        merge.add(replace(batch, stamped_by_broker=np.ones(3, dtype=np.bool_)), 0.0)
    merge.add(records(2, 0), 0.0)
    assert given(merge, {0: 9, 1: 9, 2: 1}) == [b"0", b"90", b"1", b"91", b"0"]
    assert (merge.holds(0), merge.holds(1)) == (True, True), "partition 2 goes on after 0"
    assert given(merge, {0: 9, 1: 9, 2: 0}) == [b"101", b"102"]


def test_a_partition_without_unread_records_holds_up_no_other() -> None:
    merge = StampMerge()
    merge.add(records(0, 1, 5), 0.0)
    assert given(merge, {0: 0, 1: 0}) == [b"1", b"5"]


def test_where_nothing_is_left_to_read_nothing_is_held() -> None:
    merge = StampMerge()
    merge.add(records(0, 1, 5), 0.0)
    merge.add(records(1, 2, 9), 0.0)
    assert given(merge, {0: 0, 1: 0}) == [b"1", b"5", b"2", b"9"]
    assert len(merge) == 0


def test_a_producers_stamp_that_is_ahead_holds_records_up_for_a_second_at_most() -> None:
    merge = StampMerge()
    merge.add(records(0, 1, 3_600, by_broker=False), 0.0)
    merge.add(records(1, 2, by_broker=False), 0.0)
    assert given(merge, {0: 9, 1: 9}) == [b"1", b"2"]
    assert given(merge, {0: 9, 1: 9}, now_s=0.9) == []
    assert given(merge, {0: 9, 1: 9}, now_s=1.0) == [b"3600"]


def test_a_stamp_that_is_ahead_of_those_after_it_holds_none_of_them_up() -> None:
    merge = StampMerge()
    merge.add(records(0, 1, 3_600, 2), 0.0)
    merge.add(records(1, 3), 0.0)
    assert given(merge, {0: 9, 1: 9}) == [b"1", b"3600", b"2"]
