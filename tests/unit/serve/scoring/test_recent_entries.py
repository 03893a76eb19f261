"""Entries that were added last are kept, of a bounded number and age."""

from __future__ import annotations

from freshrank.serve.scoring.recent_entries import RecentEntries


def test_adding_nothing_drops_nothing_before_its_time() -> None:
    recent = RecentEntries[int](most=10, keep_s=10.0)
    recent.add({b"a": 1}, 0.0)
    for now_s in (6.0, 6.1, 6.2):
        recent.add({}, now_s)
    assert recent.get(b"a") == 1
    recent.add({b"b": 2}, 11.0)
    assert (recent.get(b"a"), recent.get(b"b")) == (None, 2)


def test_an_emptied_generation_leaves_the_other_one() -> None:
    recent = RecentEntries[int](most=2, keep_s=10.0)
    recent.add({b"a": 1}, 0.0)
    recent.add({b"b": 2}, 1.0)
    recent.drop([b"b"])
    recent.add({b"c": 3}, 2.0)
    assert (recent.get(b"a"), recent.get(b"c")) == (1, 3)
    assert recent.each([b"c", b"b", b"a"]) == [3, None, 1]
