"""The file operations that keep state: few, so that a test can let each of them fail."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.snapshots.private_files import make_private_folder, open_private

Piece: TypeAlias = bytes | memoryview
"""A part of a file's contents."""


class Disk:
    """Files of a real file system, for this user alone. Each method may raise OSError."""

    def make_folder(self, folder: Path) -> None:
        """Make `folder`, which only this user may enter, and its missing parents.

        The folders that were missing survive a power loss.
        """
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        make_private_folder(folder)
        for path in reversed(missing):
            self.sync(path.parent)

    def names(self, folder: Path) -> list[str]:
        """The names of the files and folders in `folder`, in no order."""
        return [path.name for path in folder.iterdir()]

    def read(self, path: Path) -> bytearray:
        """The whole file."""
        with path.open("rb", buffering=0) as file:
            contents = bytearray(os.fstat(file.fileno()).st_size)
            view, taken = memoryview(contents), 0
            while count := file.readinto(view[taken:]):
                taken += count
        if taken < len(contents):
            raise OSError(f"{taken} of {len(contents)} bytes could be read")
        return contents

    def write(self, path: Path, pieces: Iterable[Piece]) -> int:
        """Write `pieces` to a file; returns its length. A power loss may undo it until `sync`."""
        with FileIO(open_private(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            return sum(_write_all(file, piece) for piece in pieces)

    def replace(self, draft: Path, path: Path, pieces: Iterable[Piece]) -> int:
        """Replace `path` by a file of `pieces`, written to `draft` first; returns its length.

        At every moment `path` is the whole old file or the whole new file, even after a power
        loss; when this returns it is the new file. When it raises, the draft is removed.
        """
        try:
            size = self.write(draft, pieces)
            self.sync(draft)
            self.rename(draft, path)
            self.sync(path.parent)
        except OSError:
            with contextlib.suppress(OSError):  # gives its space back to a full disk, if it can
                self.remove(draft)
            raise
        return size

    def append(self, path: Path, contents: Piece) -> None:
        """Append all of `contents` to a file, which is created if it is missing, or nothing."""
        with FileIO(open_private(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            begin = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, contents)
            except OSError:
                file.truncate(begin)
                raise

    def sync(self, path: Path) -> None:
        """Make a file's contents, or a folder's names, survive a power loss."""
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file atomically; replaces a file that has the new name."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Delete a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Delete an empty folder. A power loss may undo it until `sync` of what it lay in."""
        folder.rmdir()


def _write_all(file: FileIO, piece: Piece) -> int:
    rest = memoryview(piece)
    while rest:  # a disk that is nearly full takes a part
        rest = rest[file.write(rest) :]
    return len(piece)
