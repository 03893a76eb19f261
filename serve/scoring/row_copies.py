"""Copies of rows that many requests need: those of candidates, for a short time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.clock import Clock
from freshrank.actors.features.service import Candidates, FeatureService, RowLookup
from freshrank.serve.api.responses import CandidateRows
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow, source_of

MOST_COPIES = 20_000
"""Rows of which copies are kept: 20 MB of rows of 1 kB."""


_NOTHING: Mapping[bytes, StoredRow] = {}


class _Copy(NamedTuple):
    stored: StoredRow
    read_s: float


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The rows of a request."""

    rows: list[StoredRow]
    """Those of the entity, then those of the candidates."""
    ages_ms: list[int]
    """How long ago each row of the candidates was read; 0 for one that was read now."""

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
            stored = self.rows[begin:end]
            absent = np.array([one.row is None for one in stored], dtype=np.bool_)
            missing = np.flatnonzero(absent[lookup.which]).tolist()
            age_ms = max(self.ages_ms[begin - own : end - own], default=0)
            rows[lookup.table] = CandidateRows(source_of(stored), missing, age_ms)
            begin = end
        return rows


class RequestRows(NamedTuple):
    """What was read for a request."""

    key: str
    """Of the entity, in its canonical form."""
    lookups: Sequence[RowLookup]
    found: FoundRows
    """Those of `lookups`, in their order."""


class RowCopies:
    """Reads the rows of an entity and of its candidates at once, except those it has copies of.

    The rows of an entity are always read. A copy is of what the store answered: a row, or that
    there is none. What an outage gave is not kept.

    Parameters
    ----------
    keep_ms
        For how long a copy is used; 0: none is made.
    """

    def __init__(self, reader: FeatureReader, clock: Clock, keep_ms: int) -> None:
        self._reader = reader
        self._clock = clock
        self._keep_s = keep_ms / 1000
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        """By key, in the order in which they were read."""

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
            rows = [stored.row for stored in first.rows]
            lookups = [*lookups, *features.following(leading, rows, key, candidates)]
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
        own, others, shared = list[bytes](), list[bytes](), set[bytes]()
        for lookup in lookups:
            (own if lookup.entity == entity else others).extend(lookup.keys)
            if lookup.shared:
                shared.update(lookup.keys)
        if not others:
            return FoundRows(list(own_rows) or await self._reader.read(own), [])
        now_s = self._clock.monotonic()
        copies = {key: copy for key in others if (copy := self._usable(key, now_s)) is not None}
        copies |= {key: _Copy(row, now_s) for key, row in just_read.items() if key not in copies}
        missing = [key for key in others if key not in copies]
        if missing or len(own_rows) < len(own):
            found = await self._reader.read([*own, *missing])
        else:
            found = list(own_rows)
        read = dict(zip(missing, found[len(own) :], strict=True))
        if self._keep_s > 0:
            self._keep({key: row for key, row in read.items() if key in shared})
        rows, ages_ms = found[: len(own)], list[int]()
        for key in others:
            copy = copies.get(key)
            rows.append(read[key] if copy is None else copy.stored)
            ages_ms.append(0 if copy is None else int((now_s - copy.read_s) * 1000))
        return FoundRows(rows, ages_ms)

    def _usable(self, key: bytes, now_s: float) -> _Copy | None:
        copy = self._copies.get(key)
        return copy if copy is not None and now_s - copy.read_s < self._keep_s else None

    def _keep(self, read: dict[bytes, StoredRow]) -> None:
        now_s = self._clock.monotonic()
        for key, stored in read.items():
            if stored.source in ("online", "new"):
                self._copies[key] = _Copy(stored, now_s)
                self._copies.move_to_end(key)
        while len(self._copies) > MOST_COPIES:
            self._copies.popitem(last=False)
