"""Copies of rows that many requests need: those of candidates, for a short time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from freshrank.actors.clock import Clock
from freshrank.actors.features.service import Candidates, FeatureService, RowLookup
from freshrank.serve.api.responses import CandidateRows
from freshrank.serve.scoring.feature_reader import RowSource, StoredRow, source_of
from freshrank.serve.scoring.recent_entries import RecentEntries

MOST_COPIES = 20_000
"""Rows of which copies are kept at most: 20 MB of rows of 1 kB."""


_NOTHING: Mapping[bytes, StoredRow] = {}


_Copy: TypeAlias = tuple[StoredRow, float]
"""A row, and when it was read, in seconds. A plain tuple: requests handle hundreds."""

# Sources of rows that copies are made of.
_KEPT = ("online", "new")

_value_of = attrgetter("row")


@dataclass(frozen=True)
class FoundRows:
    """The rows of a request."""

    rows: list[StoredRow]
    """Those of the entity, then those of the candidates."""
    ages_ms: Sequence[int]
    """The age of the copy of each row of the candidates; 0 for one that this request has read."""

    @cached_property
    def values(self) -> list[bytes | None]:
        """What each of `rows` holds."""
        return list(map(_value_of, self.rows))

    @cached_property
    def source(self) -> RowSource:
        """The worst source of all rows."""
        return source_of(self.rows)

    @property
    def own(self) -> list[StoredRow]:
        """The rows of the entity."""
        return self.rows[: len(self.rows) - len(self.ages_ms)]

    def by_table(self, entity: str, lookups: Sequence[RowLookup]) -> dict[str, CandidateRows]:
        """The candidates' rows, for the answer, by the topic that fills each of their tables."""
        rows: dict[str, CandidateRows] = {}
        own = begin = len(self.own)
        for lookup in lookups:
            if lookup.entity == entity:
                continue
            end = begin + len(lookup.keys)
            values, missing = self.values[begin:end], list[int]()
            if None in values:
                absent = np.array([one is None for one in values])
                missing = np.flatnonzero(absent[lookup.which]).tolist()
            age_ms = max(self.ages_ms[begin - own : end - own], default=0)
            rows[lookup.table] = CandidateRows(source_of(self.rows[begin:end]), missing, age_ms)
            begin = end
        return rows


class RequestRows(NamedTuple):
    """What was read for a request."""

    key: str
    """Of the entity, in its canonical form."""
    lookups: Sequence[RowLookup]
    found: FoundRows
    """Those of `lookups`, in their order."""


class RowReader(Protocol):
    """Reads rows of the online store."""

    async def read(self, keys: Sequence[bytes]) -> list[StoredRow]:
        """The rows stored under `keys`, in their order."""
        ...


class RowCopies:
    """Reads the rows of an entity and of its candidates at once, except those it has copies of.

    The rows of an entity are always read. A copy is of what the store answered: a row, or that
    there is none. What an outage gave is not kept.

    Parameters
    ----------
    keep_ms
        For how long a copy is used; 0: none is made.
    """

    def __init__(self, reader: RowReader, clock: Clock, keep_ms: int) -> None:
        self._reader = reader
        self._clock = clock
        self._keep_s = keep_ms / 1000
        # Generations of that time, so that none is dropped before it.
        self._copies = RecentEntries[_Copy](MOST_COPIES, 2 * self._keep_s)

    async def of_request(
        self,
        features: FeatureService,
        key: str,
        candidates: Candidates,
        own_rows: Sequence[StoredRow] = (),
    ) -> RequestRows:
        """The rows that the entity `key` and `candidates` need, by one read, or two.

        Rows that lead to further ones are read first, unless there are copies of all of them.
        `own_rows` as in `read`. Raises RequestError.
        """
        lookups, leaders = features.lookups(key, candidates), dict[bytes, StoredRow]()
        leading = [lookup for lookup in lookups if lookup.leads]
        if leading:
            first = await self.read("", leading)
            keys = [one for lookup in leading for one in lookup.keys]
            leaders = dict(zip(keys, first.rows, strict=True))
            lookups = [*lookups, *features.following(leading, first.values, key, candidates)]
        found = await self.read(features.entities[0], lookups, own_rows, leaders)
        return RequestRows(key, lookups, found)

    async def read(
        self,
        entity: str,
        lookups: Sequence[RowLookup],
        own_rows: Sequence[StoredRow] = (),
        just_read: Mapping[bytes, StoredRow] = _NOTHING,
    ) -> FoundRows:
        """The rows of `lookups` in their order, of which those of `entity` are the first.

        `own_rows` are those of `entity` where they were just read: they are read again only where
        others are, which costs nothing and makes all of one moment. Others that were `just_read`
        are not read again.
        """
        own, others, unshared = list[bytes](), list[bytes](), set[bytes]()
        for lookup in lookups:
            (own if lookup.entity == entity else others).extend(lookup.keys)
            if not lookup.shared:
                unshared.update(lookup.keys)
        if not others:
            return FoundRows(list(own_rows) or await self._reader.read(own), [])
        now_s = self._clock.monotonic()
        copies = self._usable(others, now_s, just_read)
        missing = [key for key, copy in zip(others, copies, strict=True) if copy is None]
        if missing or len(own_rows) < len(own):
            found = await self._reader.read([*own, *missing])
        else:
            found = list(own_rows)
        rows_read, read_s = found[len(own) :], self._clock.monotonic()
        self._keep(missing, rows_read, read_s, unshared)
        fresh = zip(rows_read, repeat(read_s))
        used = [next(fresh) if copy is None else copy for copy in copies]
        rows, times_s = zip(*used, strict=True)
        # When this request began to read: how long its reads take makes no copy older.
        ages_ms = {at_s: max(int((now_s - at_s) * 1000), 0) for at_s in set(times_s)}
        return FoundRows([*found[: len(own)], *rows], list(map(ages_ms.__getitem__, times_s)))

    def _usable(
        self, keys: Sequence[bytes], now_s: float, just_read: Mapping[bytes, StoredRow]
    ) -> list[_Copy | None]:
        """The copy of each of `keys`, where one is new enough; of those `just_read`, these."""
        oldest_s = now_s - self._keep_s
        copies = [
            copy if copy is not None and copy[1] > oldest_s else None
            for copy in self._copies.each(keys)
        ]
        if not just_read:
            return copies
        return [
            (just_read[key], now_s) if copy is None and key in just_read else copy
            for key, copy in zip(keys, copies, strict=True)
        ]

    def _keep(
        self,
        keys: Sequence[bytes],
        rows: Sequence[StoredRow],
        read_s: float,
        unshared: Collection[bytes],
    ) -> None:
        """Keep copies of the rows that the store has just given, but for the `unshared` keys."""
        if self._keep_s <= 0:
            return
        read = {
            key: (stored, read_s)
            for key, stored in zip(keys, rows, strict=True)
            if stored.source in _KEPT and key not in unshared
        }
        self._copies.add(read, read_s)
