"""Online store, status registry and snapshots in memory, for simulation and replay.

They keep the promises of Redis and the file system as far as one process can: the batteries in
``tests/contracts`` run over both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from freshrank.actors.clock import Clock
from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import BEGINNING, SourceOffsets
from freshrank.actors.protocols import Status, StoreRead, WriteOutcome
from freshrank.actors.snapshots.store import StoredSnapshot

# A status that has not been posted again for so long is left out.
STATUS_TTL_MS = 8_000


class MemoryStore:
    """A dictionary with claims; satisfies OnlineStore. `forget` does as FLUSHALL."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.evictions = 0
        self._claims: dict[int, tuple[int, SourceOffsets]] = {}
        self._filled: set[int] = set()

    async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
        """Become the partition's writer; gives the offsets written so far."""
        held = self._claims.get(partition)
        if held is not None and held[0] > epoch:
            raise ProgressError(f"partition {partition} is claimed by epoch {held[0]} > {epoch}")
        self._claims[partition] = (epoch, BEGINNING if held is None else held[1])
        return None if held is None else held[1]

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        """Set each key to its row, if the claim allows."""
        outcome = self._check(partition, epoch)
        if outcome is WriteOutcome.WRITTEN and keys:
            width = len(rows) // len(keys)
            for at, key in enumerate(keys):
                self.rows[key] = bytes(rows[at * width : (at + 1) * width])
            before = self._claims[partition][1]
            greatest = {topic: max(before[topic], at) for topic, at in reached.items()}
            self._claims[partition] = (epoch, SourceOffsets({**before, **greatest}))
        return outcome

    async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
        """Drop the rows of `keys`, if the claim allows."""
        outcome = self._check(partition, epoch)
        if outcome is WriteOutcome.WRITTEN:
            for key in keys:
                self.rows.pop(key, None)
        return outcome

    async def refresh(self, partition: int, epoch: int, keys: Sequence[bytes]) -> list[int]:
        """The places of `keys` that have no row, if the claim allows; nothing expires here."""
        if self._check(partition, epoch) is not WriteOutcome.WRITTEN:
            return []
        return [place for place, key in enumerate(keys) if key not in self.rows]

    async def mark_filled(self, partition: int, epoch: int) -> WriteOutcome:
        """Note it, if the claim allows."""
        outcome = self._check(partition, epoch)
        if outcome is WriteOutcome.WRITTEN:
            self._filled.add(partition)
        return outcome

    async def evicted(self) -> int:
        """What a test has set."""
        return self.evictions

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        """The row of each key."""
        return StoreRead([self.rows.get(key) for key in keys], len(self._filled))

    def forget(self) -> None:
        """Lose everything, claims included."""
        self.rows.clear()
        self._claims.clear()
        self._filled.clear()

    def _check(self, partition: int, epoch: int) -> WriteOutcome:
        held = self._claims.get(partition)
        if held is None:
            return WriteOutcome.LOST
        return WriteOutcome.WRITTEN if held[0] == epoch else WriteOutcome.FENCED


class MemoryStatusRegistry:
    """The statuses of the last `STATUS_TTL_MS`; satisfies StatusRegistry."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._posted: dict[str, tuple[int, Status]] = {}

    async def post(self, part: str, status: Status) -> None:
        """Replace the status of `part`."""
        self._posted[part] = (self._clock.now_ms(), status)

    async def withdraw(self, part: str) -> None:
        """Remove the status of `part`."""
        self._posted.pop(part, None)

    async def collect(self) -> dict[str, Status]:
        """By part: the statuses that have not expired."""
        since = self._clock.now_ms() - STATUS_TTL_MS
        return {part: status for part, (at, status) in self._posted.items() if at > since}


class MemorySnapshots:
    """Satisfies SnapshotStore."""

    def __init__(self, keep: int = 3) -> None:
        self._keep = keep
        self._kept: dict[str, list[bytes]] = {}

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        """Keep the concatenated `pieces` as the newest snapshot of `name`."""
        payload = b"".join(pieces)
        self._kept[name] = [payload, *self._kept.get(name, [])][: self._keep]
        return len(payload)

    def candidates(self, name: str) -> list[StoredSnapshot]:
        """The snapshots of `name`, newest first."""
        return [
            StoredSnapshot(f"{name} ({age} snapshots ago)", partial(bytes, payload))
            for age, payload in enumerate(self._kept.get(name, []))
        ]
