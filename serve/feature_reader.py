"""Rows out of the online store: one batched read for all requests of the moment."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import OnlineStore

# Rows remembered for when the store does not answer: at 1 kB a row, 20 MB.
KNOWN_ROWS = 20_000
# After a failure the store is left alone for so long: requests of that time are answered at once
# from what is known, in place of waiting for the same deadline one after another.
_REST_S = 0.5


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row, and how it was come by."""

    row: bytes | None
    source: str
    """``online``, ``last_known`` or ``default``."""


class FeatureReader:
    """Coalesces the reads that requests make at the same time.

    While a batch is on its way, later requests gather for the next one: at one request at a time
    nothing waits, at many the store sees few, larger reads.
    """

    def __init__(
        self, store: OnlineStore, clock: Clock, timeout_s: float, known_rows: int = KNOWN_ROWS
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._known_rows = known_rows
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._waiting: dict[bytes, asyncio.Future[StoredRow]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self.error: str | None = None
        """What the last read failed with; None while all is well."""
        self.failures = 0

    async def read(self, key: bytes) -> StoredRow:
        """The row stored under `key`; never fails, see `StoredRow.source`."""
        if self._clock.monotonic() < self._rest_until:
            return self._fallback(key)
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._worker is None:
                self._worker = asyncio.ensure_future(self._work())
        # A request that goes away must not take the answer from the others.
        return await asyncio.shield(future)

    async def check(self) -> None:
        """Ask the store for nothing much; raises Unavailable."""
        async with asyncio.timeout(self._timeout_s):
            await self._store.read([b"fr:probe"])

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                await self._read_batch(batch)
        finally:
            self._worker = None

    async def _read_batch(self, batch: dict[bytes, asyncio.Future[StoredRow]]) -> None:
        keys = list(batch)
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await self._store.read(keys)
        except (Unavailable, TimeoutError) as error:
            self.failures += 1
            self.error = str(error) or f"no answer in {self._timeout_s} s"
            self._rest_until = self._clock.monotonic() + _REST_S
            found = [self._fallback(key) for key in keys]
        else:
            self.error = None
            found = [self._remember(key, row) for key, row in zip(keys, rows, strict=True)]
        for key, row in zip(keys, found, strict=True):
            if not batch[key].done():
                batch[key].set_result(row)

    def _remember(self, key: bytes, row: bytes | None) -> StoredRow:
        if row is None:
            return StoredRow(None, "default")
        self._known[key] = row
        self._known.move_to_end(key)
        if len(self._known) > self._known_rows:
            self._known.popitem(last=False)
        return StoredRow(row, "online")

    def _fallback(self, key: bytes) -> StoredRow:
        row = self._known.get(key)
        return StoredRow(row, "default" if row is None else "last_known")
