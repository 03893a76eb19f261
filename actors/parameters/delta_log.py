"""The log of deltas that the followers of a learner read: long poll, no delta dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Delta, Version

# Bytes of deltas: some minutes of a busy small model. A follower that is further behind is quicker
# with a snapshot.
KEPT_BYTES = 64 * 2**20
# Deltas after a snapshot that is given to followers that ask later. Few, so that a late follower
# has soon caught up.
_LONGEST_TAIL = 64


class DeltaLog:
    """The newest deltas, for any number of followers on the same event loop.

    An answer costs as much as the deltas in it, however many are kept.

    Parameters
    ----------
    newest
        The version that the log begins with.
    snapshot
        Makes a snapshot of the present weights, at least as new as the last delta appended when
        it was called. Asked only for followers that the log does not reach.
    keep_bytes
        Bound on the arrays of the kept deltas; the newest delta is always kept.
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
        self._appended = 0
        """Deltas appended so far."""
        self._position: dict[Version, int] = {newest: 0}
        """By version from which the kept deltas lead on: how many were appended before it."""
        self._bytes = 0
        self._changed = asyncio.Event()
        self._snapshot: Delta | None = None
        self._making = asyncio.Lock()

    @property
    def newest(self) -> Version:
        """The version that the last delta led to."""
        return self._newest

    def append(self, delta: Delta) -> None:
        """Publish `delta` and wake the followers that wait.

        Raises ProgressError unless it leads on from `newest`.
        """
        if delta.base != self._newest or delta.version <= self._newest:
            raise ProgressError(
                f"{delta.base} -> {delta.version} does not lead on from {self._newest}"
            )
        self._deltas.append(delta)
        self._appended += 1
        self._position[delta.version] = self._appended
        self._bytes += delta.nbytes
        self._newest = delta.version
        while self._bytes > self._keep_bytes and len(self._deltas) > 1:
            oldest = self._deltas.popleft()
            self._bytes -= oldest.nbytes
            assert oldest.base is not None  # checked when it was appended
            del self._position[oldest.base]
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource.newer_than`. A snapshot may be followed by deltas."""
        if refused is not None or version not in self._position:
            return await self._from_snapshot(refused)
        if version == self._newest:
            try:
                async with asyncio.timeout(timeout_s):  # wait_for may lose a cancellation
                    await self._changed.wait()
            except TimeoutError:
                return []
            if version not in self._position:  # more was appended at once than is kept
                return await self._from_snapshot()
        return self._after(version)

    def _behind(self, version: Version) -> int:
        """The number of deltas from `version` to the newest; 0 if `version` is not in the log."""
        return self._appended - self._position.get(version, self._appended)

    def _after(self, version: Version) -> list[Delta]:
        """The deltas that lead from `version` to the newest."""
        return list(islice(reversed(self._deltas), self._behind(version)))[::-1]

    async def _from_snapshot(self, refused: Version | None = None) -> list[Delta]:
        """A snapshot, made once for all followers that ask within some versions, and the rest."""
        async with self._making:
            snapshot = self._snapshot
            if snapshot is None or not self._serves(snapshot.version, refused):
                snapshot = self._snapshot = await self._make_snapshot()
        return [snapshot, *self._after(snapshot.version)]

    def _serves(self, version: Version, refused: Version | None) -> bool:
        """Whether a snapshot of `version` is newer than `refused`, and few deltas follow it."""
        if refused is not None and version <= refused:
            return False
        return version in self._position and self._behind(version) <= _LONGEST_TAIL
