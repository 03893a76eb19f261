"""The log of deltas that every follower of a learner reads: long poll, nothing dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Delta, Version

# Some minutes of deltas of a busy small model; beyond it a follower is quicker with a snapshot.
KEPT_BYTES = 64 * 2**20
# Deltas after a snapshot that is given to more than those who ask at the same time. Few, so that
# whoever comes late has soon caught up.
_LONGEST_TAIL = 64


class DeltaLog:
    """The newest deltas, for any number of followers on the same event loop.

    Parameters
    ----------
    newest
        The version that the log begins with.
    snapshot
        Makes a snapshot of the present weights (at least as new as the last delta appended when
        it was called). Asked only by followers that the log does not reach.
    keep_bytes
        Bound on the arrays of the kept deltas; the newest one is always kept.
    """

    def __init__(
        self,
        newest: Version,
        snapshot: Callable[[], Awaitable[Delta]],
        keep_bytes: int = KEPT_BYTES,
    ) -> None:
        self._newest = newest
        self._make_snapshot = snapshot
        self._keep_bytes = keep_bytes
        self._deltas: deque[Delta] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._snapshot: Delta | None = None
        self._making = asyncio.Lock()

    @property
    def newest(self) -> Version:
        """The version that the last delta led to."""
        return self._newest

    def append(self, delta: Delta) -> None:
        """Publish `delta` and wake who waits.

        Raises ProgressError unless it leads on from `newest`.
        """
        if delta.base != self._newest or delta.version <= self._newest:
            raise ProgressError(
                f"{delta.base} -> {delta.version} does not lead on from {self._newest}"
            )
        self._deltas.append(delta)
        self._bytes += size_of(delta)
        self._newest = delta.version
        while self._bytes > self._keep_bytes and len(self._deltas) > 1:
            self._bytes -= size_of(self._deltas.popleft())
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource.newer_than`. A snapshot may be followed by deltas."""
        if refused is not None or not self._reaches(version):
            return await self._from_snapshot(refused)
        if version == self._newest:
            try:
                async with asyncio.timeout(timeout_s):  # wait_for may lose a cancellation
                    await self._changed.wait()
            except TimeoutError:
                return []
            if not self._reaches(version):  # a burst of appends larger than what is kept
                return await self._from_snapshot()
        return self._after(version)

    def _reaches(self, version: Version | None) -> bool:
        """Whether the kept deltas lead from `version` to the newest."""
        return version == self._newest or any(delta.base == version for delta in self._deltas)

    def _after(self, version: Version | None) -> list[Delta]:
        return [delta for delta in self._deltas if version is None or delta.version > version]

    async def _from_snapshot(self, refused: Version | None = None) -> list[Delta]:
        """A snapshot (made once for all who ask within some versions), and the rest."""
        async with self._making:
            snapshot = self._snapshot
            if snapshot is None or not self._serves(snapshot.version, refused):
                snapshot = self._snapshot = await self._make_snapshot()
        return [snapshot, *self._after(snapshot.version)]

    def _serves(self, version: Version, refused: Version | None) -> bool:
        """Whether a snapshot of it, and what follows, contains nothing refused and is no detour."""
        if refused is not None and version <= refused:
            return False
        return self._reaches(version) and len(self._after(version)) <= _LONGEST_TAIL


def size_of(delta: Delta) -> int:
    """Bytes of a delta's arrays."""
    return delta.dense.nbytes + delta.keys.nbytes + delta.rows.nbytes + delta.evicted.nbytes
