"""A store that keeps each snapshot in a file, and the newest few of each name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from freshrank.actors.errors import SnapshotError
from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.actors.snapshots.store import StoredSnapshot


class FileSnapshots:
    """Snapshots as files ``<name>.<number>.snapshot`` of one folder; satisfies SnapshotStore.

    Parameters
    ----------
    folder
        Created if it does not exist.
    keep
        The number of snapshots that stay of each name. With several, a damaged newest file costs
        a longer replay and not the state.
    disk
        Performs the file operations.
    """

    def __init__(self, folder: Path, keep: int = 3, disk: Disk | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._disk = disk or Disk()
        self._disk.make_folder(folder)

    def save(self, name: str, pieces: Iterable[Piece]) -> int:
        """Write a file durably, then delete the oldest files of `name`; returns its size in bytes.

        Raises SnapshotError when the disk fails; the earlier files stay.
        """
        disk, folder = self._disk, self._folder
        # One writer a name: a draft that a crash left behind is overwritten by the next.
        draft = folder / f".{name}.draft"
        try:
            kept = self._numbered(name)
            final = folder / f"{name}.{kept[-1][0] + 1 if kept else 1:012d}.snapshot"
            size = disk.replace(draft, final, pieces)
            for _, path in kept[: max(0, len(kept) + 1 - self._keep)]:
                disk.remove(path)
        except OSError as error:
            raise SnapshotError(f"cannot write {name} in {folder}: {error}") from error
        return size

    def candidates(self, name: str) -> list[StoredSnapshot]:
        """The snapshots of `name`, newest first."""
        paths = [path for _, path in reversed(self._numbered(name))]
        return [StoredSnapshot(str(path), partial(self._read, path)) for path in paths]

    def _read(self, path: Path) -> bytearray:
        try:
            return self._disk.read(path)
        except OSError as error:
            raise SnapshotError(f"cannot be read: {error}") from error

    def _numbered(self, name: str) -> list[tuple[int, Path]]:
        pattern = re.compile(re.escape(name) + r"\.(\d+)\.snapshot")
        matches = map(pattern.fullmatch, self._disk.names(self._folder))
        return sorted((int(match[1]), self._folder / match[0]) for match in matches if match)
