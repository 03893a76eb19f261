"""Reads the rows of the items of a catalogue from the online store."""

from __future__ import annotations

import asyncio
import math

import numpy as np

from freshrank.actors.backoff import Backoff
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Ints
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex

# Items whose rows are read at once.
_CHUNK = 500
# Seconds after which a read of the store has failed: nobody waits for it.
_READ_TIMEOUT_S = 2.0
# Seconds between two tries while the store is away.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
# Seconds between two passes over a small catalogue.
_PASS_S = 0.25


class ItemRows:
    """Reads the rows of all items, one part after the other."""

    def __init__(self, index: CandidateIndex, rows_per_s: int, connectors: Connectors) -> None:
        self._index = index
        self._rows_per_s = rows_per_s
        self._store = connectors.store
        self._clock = connectors.clock
        self._pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._left = np.zeros(0, dtype=np.int64)
        """int64[.]: slots that are left of this pass."""
        self._begun_s = 0.0
        self._next_s = -math.inf
        self.passes = 0
        """How often all rows have been read."""
        self.pass_s = 0.0
        """How long the last pass took."""
        self.error: str | None = None

    @property
    def due(self) -> bool:
        """Whether rows are to be read now."""
        return self._clock.monotonic() >= self._next_s

    async def step(self) -> None:
        """Read the next part, if it is due."""
        if not self.due:
            return
        if not len(self._left):
            self._begun_s = self._clock.monotonic()
            self._left = np.flatnonzero(self._index.catalogue.alive)
        slots, rest = self._left[:_CHUNK], self._left[_CHUNK:]
        if self._index.tables and len(slots) and not await self._read(slots):
            self._next_s = self._clock.monotonic() + self._pauses.next_s()
            return
        self._left = rest
        now_s = self._clock.monotonic()
        # The first pass is as fast as it can be: the replica waits for it.
        self._next_s = now_s + (len(slots) / self._rows_per_s if self.passes else 0.0)
        if not len(rest):
            self.passes += 1
            self.pass_s = now_s - self._begun_s
            self._next_s = max(self._next_s, self._begun_s + _PASS_S)

    async def _read(self, slots: Ints) -> bool:
        """Read the rows of the items in `slots`. Returns whether the store has answered."""
        tables = self._index.tables
        names = [self._index.catalogue.names[slot] for slot in slots.tolist()]
        keys = [key for table in tables for key in table.row_keys(names)]
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                rows = (await self._store.read(keys)).rows
            parts = {
                table.name: rows[place * len(slots) : (place + 1) * len(slots)]
                for place, table in enumerate(tables)
            }
            self._index.take_rows(slots, parts, self._clock.now_ms())
        except (Unavailable, TimeoutError) as error:
            self.error = str(error) or f"no answer in {_READ_TIMEOUT_S} s"
            return False
        self.error = None
        self._pauses.reset()
        return True
