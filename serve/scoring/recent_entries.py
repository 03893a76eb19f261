"""Entries by key, of a bounded number and age, at little cost for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")


class RecentEntries(Generic[_Entry]):
    """Keeps the entries that were added last, in two generations.

    New entries join the young generation; when it has half of the number or of the age that is
    allowed, it becomes the old one, whose entries are dropped as a whole. So there is no order to
    keep, and between half and all of what is allowed is there.

    Parameters
    ----------
    most
        Entries that are kept.
    keep_s
        Seconds after which an entry is dropped, as long as others are added.

    >>> recent = RecentEntries[str](most=4, keep_s=60.0)
    >>> for second, key in enumerate([b"a", b"b", b"c", b"a", b"d"]):
    ...     recent.add({key: f"{second} s"}, second)
    >>> recent.get(b"a"), recent.get(b"b"), recent.get(b"d")
    ('3 s', None, '4 s')
    """

    def __init__(self, most: int, keep_s: float) -> None:
        self._most = most
        self._keep_s = keep_s
        self._young: dict[bytes, _Entry] = {}
        self._old: dict[bytes, _Entry] = {}
        self._young_since_s = self._old_since_s = 0.0

    def add(self, entries: Mapping[bytes, _Entry], now_s: float) -> None:
        """Add entries, or put them in place of those with the same keys."""
        full = len(self._young) + len(entries) > self._most // 2
        if not self._young:
            self._young_since_s = now_s
        elif full or now_s - self._young_since_s > self._keep_s / 2:
            self._old, self._young = self._young, {}
            self._old_since_s, self._young_since_s = self._young_since_s, now_s
        if now_s - self._old_since_s > self._keep_s:
            self._old = {}
        surplus = len(entries) - self._most
        self._young.update(islice(entries.items(), max(surplus, 0), None))
        if len(self._young) + len(self._old) > self._most:
            self._old = {}

    def get(self, key: bytes) -> _Entry | None:
        """The entry of `key`."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def each(self, keys: Sequence[bytes]) -> list[_Entry | None]:
        """The entry of each of `keys`, as of `get`."""
        young = map(self._young.get, keys)
        old = self._old.get
        return [old(key) if one is None else one for key, one in zip(keys, young, strict=True)]

    def drop(self, keys: Iterable[bytes]) -> None:
        """Forget the entries of `keys`."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def drop_where(self, chosen: Callable[[bytes], bool]) -> None:
        """Forget the entries whose keys are `chosen`."""
        self.drop([key for key in (*self._young, *self._old) if chosen(key)])
