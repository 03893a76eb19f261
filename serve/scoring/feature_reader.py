"""Reads rows of the online store; concurrent requests share a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, TypeAlias

import msgspec

from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import OnlineStore, StoreRead
from freshrank.serve.scoring.recent_entries import RecentEntries

# Rows that the reader keeps to answer from during an outage of the store: 20 MB of rows of 1 kB.
KEPT_ROWS = 20_000
KEPT_ROW_S = 3_600.0
"""Seconds for which a row is kept at most after it was last read, while the store answers: as long
as the store keeps one that nobody refreshes."""
# Seconds without reads: after the second failure in a row, and at most after further failures.
# Meanwhile the reader answers from the kept rows at once, so that not every request waits for the
# same timeout. A single failure may be a late answer, so the request after it reads again.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
# Seconds between two reads for a request that waits for newer rows: a fifth of the time that an
# event takes to reach the store.
_READ_AGAIN_S = 0.002


RowSource: TypeAlias = Literal["online", "new", "stale", "outage"]


class StoredRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the online store and its source. Requests make hundreds: a struct is made fastest.

    `row` is None where the store, which has the rows of all partitions, answered that the key has
    none (``new``); and where the reader keeps none while the store does not answer, or has been
    emptied and is not filled again (``outage``).
    """

    row: bytes | None
    source: RowSource


_ONLINE: RowSource = "online"
_NEW = StoredRow(None, "new")
_OUTAGE = StoredRow(None, "outage")
_WORST_FIRST: tuple[RowSource, ...] = ("outage", "stale", "online", "new")


def source_of(rows: Sequence[StoredRow]) -> RowSource:
    """Return the source of an entity with several rows: the worst of its rows.

    ``new`` is the source of an entity without any row only.

    >>> source_of([StoredRow(b"1", "online"), StoredRow(None, "new")])
    'online'
    >>> source_of([StoredRow(b"1", "stale"), StoredRow(None, "outage")])
    'outage'
    """
    if len(rows) == 1:
        return rows[0].source
    sources = {stored.source for stored in rows}
    return next(source for source in _WORST_FIRST if source in sources)


@dataclass(slots=True)
class _SharedRead:
    """The requests that a single read of the store answers."""

    keys: dict[bytes, None] = field(default_factory=dict)
    """The distinct keys of all requests, in order of arrival."""
    requests: list[tuple[Sequence[bytes], asyncio.Future[list[StoredRow]]]] = field(
        default_factory=list
    )
    """The keys of each request, and the future that receives their rows."""


class FeatureReader:
    """Coalesces the reads of concurrent requests.

    A read starts in the next iteration of the event loop, with the keys of all requests that have
    arrived by then. Requests that arrive while a read is under way wait for it to end and share the
    next read. So a lone request reads without waiting, and many requests make few, large reads.

    Parameters
    ----------
    store
        The online store that is read.
    clock
        Measures the pauses without reads.
    timeout_s
        Seconds after which a read counts as failed.
    partitions
        A store with the rows of fewer partitions is being filled: what is missing may yet come.
    kept_rows
        Number of rows, the last read, that are kept at most to answer from during an outage.
    """

    def __init__(
        self,
        store: OnlineStore,
        clock: Clock,
        timeout_s: float,
        *,
        partitions: int,
        kept_rows: int = KEPT_ROWS,
    ) -> None:
        self._store = store
        self._partitions = partitions
        self._clock = clock
        self._timeout_s = timeout_s
        self._kept = RecentEntries[bytes](kept_rows, KEPT_ROW_S)
        self._gathering = _SharedRead()
        self._under_way = _SharedRead()
        self._reading: asyncio.Task[StoreRead] | None = None
        self._paused_until = 0.0
        # No random share: replicas read when requests arrive, so their reads do not coincide.
        self._pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, random_share=lambda: 1.0)
        self.error: str | None = None
        """The error of the last read; None after a success."""
        self.filling = False
        """Whether shards had still to write rows to the store when it answered last."""
        self.failures = 0
        """Number of reads that failed because the store did not answer."""

    async def read(self, keys: Sequence[bytes]) -> list[StoredRow]:
        """Return the rows stored under `keys`; an outage shows in `StoredRow.source`."""
        if self._clock.monotonic() < self._paused_until:
            return [self._fallback(key) for key in keys]
        future: asyncio.Future[list[StoredRow]] = asyncio.get_running_loop().create_future()
        # Each request has its own future, so that cancelling a request leaves the others alone.
        self._gathering.keys.update(dict.fromkeys(keys))
        self._gathering.requests.append((keys, future))
        if self._reading is None:
            self._start()
        return await future

    async def read_until(
        self, keys: Sequence[bytes], enough: Callable[[list[StoredRow]], bool], timeout_s: float
    ) -> bool:
        """Read `keys` until their rows are `enough`; whether they were before `timeout_s`."""
        deadline = self._clock.monotonic() + timeout_s
        while not enough(await self.read(keys)):
            remaining_s = deadline - self._clock.monotonic()
            if remaining_s <= 0:
                return False
            await self._clock.sleep(min(_READ_AGAIN_S, remaining_s))
        return True

    def forget(self, keys: Sequence[bytes], owned: Callable[[bytes], bool]) -> None:
        """Keep no rows of `keys`, and of those that are `owned`: they are to be forgotten."""
        self._kept.drop(keys)
        self._kept.drop_where(owned)

    async def check(self) -> None:
        """Check that the store answers, by reading a key without a row.

        Raises Unavailable or TimeoutError.
        """
        async with asyncio.timeout(self._timeout_s):
            await self._store.read([b"fr:probe"])

    def _start(self) -> None:
        self._reading = asyncio.ensure_future(self._read_batch())
        self._reading.add_done_callback(self._arrived)

    async def _read_batch(self) -> StoreRead:
        self._under_way, self._gathering = self._gathering, _SharedRead()
        async with asyncio.timeout(self._timeout_s):
            return await self._store.read(list(self._under_way.keys))

    def _arrived(self, reading: asyncio.Task[StoreRead]) -> None:
        batch, self._under_way = self._under_way, _SharedRead()
        self._reading = None
        if self._gathering.requests:
            self._start()
        error = asyncio.CancelledError() if reading.cancelled() else reading.exception()
        if isinstance(error, Unavailable | TimeoutError):
            self._note_outage(error)
            found = {key: self._fallback(key) for key in batch.keys}
        elif error is not None:
            # A defect: the requests of this read fail, and the next read is not affected.
            self._raise_in(batch, error)
            return
        else:
            self.error = None
            self._pauses.reset()
            rows, filled = reading.result()
            self.filling = filled < self._partitions
            found = self._found(batch.keys, rows)
        for keys, future in batch.requests:
            if not future.done():
                future.set_result(list(map(found.__getitem__, keys)))

    def _raise_in(self, batch: _SharedRead, error: BaseException) -> None:
        for _, future in batch.requests:
            if future.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)

    def _note_outage(self, error: BaseException) -> None:
        self.failures += 1
        if self.error is not None:  # at least the second in a row
            self._paused_until = self._clock.monotonic() + self._pauses.next_s()
        self.error = str(error) or f"no answer in {self._timeout_s} s"

    def _found(self, keys: Iterable[bytes], rows: Sequence[bytes | None]) -> dict[bytes, StoredRow]:
        """What the store has answered; one that is not `filling` has the rows of all partitions."""
        read = dict(zip(keys, rows, strict=True))
        present = {key: row for key, row in read.items() if row is not None}
        self._kept.add(present, self._clock.monotonic())
        found = dict(zip(present, map(StoredRow, present.values(), repeat(_ONLINE)), strict=True))
        if len(present) < len(read):
            absent = [key for key in read if key not in present]
            if not self.filling:
                self._kept.drop(absent)
            found |= {key: self._fallback(key) if self.filling else _NEW for key in absent}
        return found

    def _fallback(self, key: bytes) -> StoredRow:
        kept = self._kept.get(key)
        return _OUTAGE if kept is None else StoredRow(kept, "stale")
