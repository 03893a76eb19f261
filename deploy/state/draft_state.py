"""A whole state that is made beside the state folder, and put into it at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.deploy.state.folders import LEARNED
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.deploy.state.records import RECORDS
from freshrank.deploy.state.state_folder import FILLING, MARKER, StateFolder

KEPT = "kept"
"""The folder of a draft with that by which the work at it can go on after an end."""

_MADE_OF = JsonRecord("made_of.json", str)

_PARTS = (*(record.name for record in RECORDS), *LEARNED, MARKER)


def check_empty(folder: StateFolder) -> None:
    """Raise ConfigError where `folder` holds a state already, one that was put there whole."""
    if (folder.path / FILLING).exists():
        return
    present = _learned_in(folder)
    if present:
        raise ConfigError(
            str(folder.path),
            f"there is a state already ({', '.join(present)})",
            "Remove these folders from it, or set another `state` (FRESHRANK_STATE).",
        )


def check_finished(folder: StateFolder) -> None:
    """Raise ConfigError where a run would begin without the state that a draft is made for."""
    draft = _path_of(folder)
    if draft.exists() and not _learned_in(folder):
        raise ConfigError(
            str(draft),
            "a backfill was interrupted, and what it has read is not in the state",
            "Run the same `freshrank backfill` again; or remove this folder, to begin without it.",
        )


def _learned_in(folder: StateFolder) -> list[str]:
    return [name for name in LEARNED if (folder.path / name).exists()]


def _path_of(folder: StateFolder) -> Path:
    return folder.path.with_name(f"{folder.path.name}.draft")


@contextlib.contextmanager
def draft_of(folder: StateFolder, made_of: str) -> Iterator[StateFolder]:
    """Make a folder beside `folder`, which is removed at the end of the block.

    It stays where the block fails and has put something into its folder `KEPT`: then the next
    draft that is made of the same gets it as it is. Raises OSError.
    """
    path = _path_of(folder)
    if not (path / KEPT).exists() or _MADE_OF.read(path) != made_of:
        shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
    folder.disk.make_folder(path)
    _MADE_OF.write(path, made_of, folder.disk)
    try:
        yield replace(folder, path=path)
    except BaseException:
        if not (path / KEPT).exists():
            shutil.rmtree(path)
        raise
    shutil.rmtree(path)


def put_in_place(draft: StateFolder, folder: StateFolder) -> None:
    """Move the state in `draft` into `folder`, which holds none that is whole. Raises OSError.

    A start accepts all of it or nothing, wherever this process ends.
    """
    disk, filling = folder.disk, folder.path / FILLING
    disk.write(filling, [])
    disk.sync(folder.path)
    for name in _learned_in(folder):
        shutil.rmtree(folder.path / name)
    for name in _PARTS:
        if (draft.path / name).exists():
            disk.rename(draft.path / name, folder.path / name)
    disk.sync(folder.path)
    disk.remove(filling)
    disk.sync(folder.path)
