"""The protocol of a store of snapshots, implemented in files and in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot that a `SnapshotStore` keeps."""

    place: str
    """The path of its file, for messages."""
    read: Callable[[], bytes | bytearray]
    """Returns the contents. Raises SnapshotError when they cannot be read."""


class SnapshotStore(Protocol):
    """Stores snapshots by name, atomically; keeps the newest few of each name."""

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        """Store a snapshot durably, then delete the oldest of `name`; returns its size in bytes.

        Raises SnapshotError; the earlier snapshots stay.
        """
        ...

    def candidates(self, name: str) -> list[StoredSnapshot]:
        """The snapshots of `name`, newest first."""
        ...
