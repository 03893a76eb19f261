"""Rows out of the online store: one batched read for all requests of the moment."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, TypeAlias

from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import OnlineStore

# Rows remembered for when the store does not answer: at 1 kB a row, 20 MB.
KNOWN_ROWS = 20_000
# After failures in a row the store is left alone for so long: requests of that time are answered
# at once from what is known, in place of waiting for the same deadline one after another. Not
# after the first, which may be one late answer: then the very next request is worth a try.
_FIRST_REST_S, _LONGEST_REST_S = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row, and how it was come by."""

    row: bytes | None
    source: Literal["online", "last_known", "default"]


_UNKNOWN = StoredRow(None, "default")
_Batch: TypeAlias = dict[bytes, list[asyncio.Future[StoredRow]]]


class FeatureReader:
    """Coalesces the reads that requests make at the same time.

    A read starts at the next turn of the event loop, with all that ask until then. While it is on
    its way, later requests gather for the next one: at one request at a time nothing waits, at
    many the store sees few, larger reads.
    """

    def __init__(
        self, store: OnlineStore, clock: Clock, timeout_s: float, known_rows: int = KNOWN_ROWS
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._known_rows = known_rows
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._gathering: _Batch = {}
        self._under_way: _Batch = {}
        self._reading: asyncio.Task[list[bytes | None]] | None = None
        self._rest_until = 0.0
        self._failed_in_a_row = 0
        self.error: str | None = None
        """What the last read failed with; None while all is well."""
        self.failures = 0

    async def read(self, key: bytes) -> StoredRow:
        """The row stored under `key`; an outage shows in `StoredRow.source` only."""
        if self._clock.monotonic() < self._rest_until:
            return self._fallback(key)
        future: asyncio.Future[StoredRow] = asyncio.get_running_loop().create_future()
        # A future for each request: one that goes away takes nothing from the others.
        self._gathering.setdefault(key, []).append(future)
        if self._reading is None:
            self._start()
        return await future

    async def check(self) -> None:
        """Ask the store for nothing much; raises Unavailable or TimeoutError."""
        async with asyncio.timeout(self._timeout_s):
            await self._store.read([b"fr:probe"])

    def _start(self) -> None:
        self._reading = asyncio.ensure_future(self._read_batch())
        self._reading.add_done_callback(self._arrived)

    async def _read_batch(self) -> list[bytes | None]:
        self._under_way, self._gathering = self._gathering, {}
        async with asyncio.timeout(self._timeout_s):
            return await self._store.read(list(self._under_way))

    def _arrived(self, reading: asyncio.Task[list[bytes | None]]) -> None:
        batch, self._under_way = self._under_way, {}
        self._reading = None
        if self._gathering:
            self._start()
        error = asyncio.CancelledError() if reading.cancelled() else reading.exception()
        if isinstance(error, Unavailable | TimeoutError):
            self._rest(error)
            found = [self._fallback(key) for key in batch]
        elif error is not None:
            # Nobody foresaw it: each request fails by it, and the next read starts afresh.
            self._fail(batch, error)
            return
        else:
            self.error, self._failed_in_a_row = None, 0
            found = [self._remember(*one) for one in zip(batch, reading.result(), strict=True)]
        for futures, row in zip(batch.values(), found, strict=True):
            for future in futures:
                if not future.done():
                    future.set_result(row)

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        for future in (one for futures in batch.values() for one in futures):
            if future.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)

    def _rest(self, error: BaseException) -> None:
        self.failures += 1
        self._failed_in_a_row += 1
        self.error = str(error) or f"no answer in {self._timeout_s} s"
        if self._failed_in_a_row > 1:
            rest_s = min(_FIRST_REST_S * 2.0 ** min(self._failed_in_a_row - 2, 16), _LONGEST_REST_S)
            self._rest_until = self._clock.monotonic() + rest_s

    def _remember(self, key: bytes, row: bytes | None) -> StoredRow:
        if row is None:
            self._known.pop(key, None)
            return _UNKNOWN
        self._known[key] = row
        self._known.move_to_end(key)
        if len(self._known) > self._known_rows:
            self._known.popitem(last=False)
        return StoredRow(row, "online")

    def _fallback(self, key: bytes) -> StoredRow:
        row = self._known.get(key)
        return _UNKNOWN if row is None else StoredRow(row, "last_known")
