"""A disk whose machine can lose power: then everything is gone that was not synced."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from freshrank.actors.snapshots.disk import Disk, Piece


class PowerLoss(BaseException):
    """The machine loses power now: no code of the product may catch it."""


class PowerLossDisk(Disk):
    """The files below `root`, a folder that exists and survives; folders are never renamed.

    Parameters
    ----------
    root
        What lies below it now is durable.
    operations
        So many changes are made, and then PowerLoss is raised; None: it never is.
    names_early
        Whether the file system writes names before it is asked to: then a renamed file keeps its
        new name even without a sync of its folder, and of its contents what was synced. A function
        says it by the name: file systems write names in any order.
    """

    def __init__(
        self,
        root: Path,
        operations: int | None = None,
        *,
        names_early: bool | Callable[[str], bool] = False,
    ) -> None:
        self._root = root
        self._left = operations
        self._early = names_early if callable(names_early) else lambda _: names_early
        self._next = itertools.count()
        # The number of each file by its path now; what was last synced of its contents, by its
        # number; and of each folder's names, None for a folder in it.
        self._files = {path: next(self._next) for path in root.rglob("*") if path.is_file()}
        self._contents = {number: path.read_bytes() for path, number in self._files.items()}
        self._names = {folder: self._names_now(folder) for folder in _folders(root)}

    def lose_power(self) -> None:
        """Leave below `root` only what is durable. The last call of this object."""
        for folder in _folders(self._root):
            synced, now = self._names.get(folder, {}), self._names_now(folder)
            self._names[folder] = {
                name: number
                for names, early in ((synced, False), (now, True))
                for name, number in names.items()
                if self._early(name) == early
            }
        for path in self._root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self._restore(self._root)

    def make_folder(self, folder: Path) -> None:
        """See Disk."""
        super().make_folder(folder)
        self._changed()

    def write(self, path: Path, pieces: Iterable[Piece]) -> int:
        """See Disk."""
        written = super().write(path, pieces)
        self._files.setdefault(path, next(self._next))
        self._changed()
        return written

    def sync(self, path: Path) -> None:
        """See Disk."""
        if path.is_dir():
            self._names[path] = self._names_now(path)
        else:
            self._contents[self._files[path]] = path.read_bytes()
        self._changed()

    def rename(self, old: Path, new: Path) -> None:
        """See Disk."""
        super().rename(old, new)
        self._files[new] = self._files.pop(old)
        self._changed()

    def remove(self, path: Path) -> None:
        """See Disk."""
        super().remove(path)
        self._files.pop(path, None)
        self._changed()

    def remove_folder(self, folder: Path) -> None:
        """See Disk."""
        super().remove_folder(folder)
        self._changed()

    def _names_now(self, folder: Path) -> dict[str, int | None]:
        """Leaves out files that were made in another way, such as locks."""
        return {
            path.name: self._files.get(path)
            for path in folder.iterdir()
            if path.is_dir() or path in self._files
        }

    def _changed(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise PowerLoss

    def _restore(self, folder: Path) -> None:
        for name, number in self._names.get(folder, {}).items():
            if number is None:
                (folder / name).mkdir()
                self._restore(folder / name)
            else:
                (folder / name).write_bytes(self._contents.get(number, b""))


def _folders(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]
