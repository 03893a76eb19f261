"""What lies in a state folder: each snapshot and checkpoint, what it holds, whether it is whole.

Nothing here needs the pipeline: a file says by itself what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import Contents, unpack

_NAME = re.compile(r"(.+)\.(\d+)\.snapshot")

Offsets: TypeAlias = Mapping[str, int] | Sequence[int]
"""Next offsets by topic; in files of format 3 without the topics, in the pipeline's order."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file. What is None is not known, or not of its kind."""

    path: Path
    bytes: int
    age_s: float
    newest: bool = True
    """Of its name: the one that a start takes up, when it is whole."""
    problem: str | None = None
    """Why it would be refused."""
    kind: str | None = None
    format: int | None = None
    fingerprint: str | None = None
    """Of the definitions that it was made for."""
    partition: int | None = None
    version: str | None = None
    offsets: Offsets | None = None
    """The next offset of each source topic of a partition."""
    applied: Mapping[str, Offsets] | None = None
    """The same of each partition, as far as a learner's weights contain it."""
    rows: int | None = None
    """Entities of a partition, ids of a learner."""
    examples: int | None = None
    """Labelled, and not known to be covered by a checkpoint of the learner."""
    pending: int | None = None
    """Shown items whose label is not known."""

    def plain(self) -> dict[str, JsonValue]:
        """For JSON."""
        return {**asdict(self), "path": str(self.path)}


def look(path: Path, now_s: float) -> list[StateFile]:
    """The file at `path`, or all below a folder, each read whole; the newest of a name first.

    `now_s` is the present wall time in seconds. Raises ConfigError when there is nothing.
    """
    if path.is_file():
        return [_read(path, now_s)]
    if not path.is_dir():
        raise ConfigError(str(path), "there is nothing of this name", "Give a file or a folder.")
    found = newest_first(path)
    if not found:
        raise ConfigError(
            str(path),
            "no snapshot or checkpoint lies in it or below",
            "A pipeline's state is in .freshrank/<pipeline> where it was started, or where "
            "the setting `state` says.",
        )
    return [
        replace(_read(one, now_s), newest=rank == 0)
        for files in found
        for rank, one in enumerate(files)
    ]


def newest_first(folder: Path) -> list[list[Path]]:
    """The files below a folder: those of each name, the newest first."""
    found: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    for one in folder.rglob("*.snapshot"):
        match = _NAME.fullmatch(one.name)
        if match and one.is_file():
            found.setdefault((one.parent, match[1]), []).append((int(match[2]), one))
    return [[one for _, one in sorted(files, reverse=True)] for _, files in sorted(found.items())]


def _read(path: Path, now_s: float) -> StateFile:
    """What the file says, or why it cannot be believed."""
    try:
        status, payload = path.stat(), path.read_bytes()
    except OSError as error:
        return StateFile(path, 0, 0.0, problem=f"cannot be read: {error.strerror}")
    file = StateFile(path, status.st_size, max(0.0, now_s - status.st_mtime))
    try:
        return _described(file, unpack(payload))
    except SnapshotError as error:
        return replace(file, problem=str(error))


def _described(file: StateFile, contents: Contents) -> StateFile:
    meta, arrays = contents.meta, contents.arrays

    def length(*names: str) -> int | None:
        """Of the first of these arrays that there is."""
        return next((len(arrays[name]) for name in names if name in arrays), None)

    return replace(
        file,
        kind=contents.kind,
        format=contents.format,
        fingerprint=contents.fingerprint,
        partition=meta.get("partition"),
        version=meta.get("version"),
        offsets=meta.get("offsets", meta.get("cut")),
        applied=meta.get("applied"),
        rows=length("table/rows", "keys"),
        examples=length("outbox/order"),
        pending=length("joiner/pending.pairs"),
    )
