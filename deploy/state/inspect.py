"""The files of a state folder: each snapshot and checkpoint, its contents, whether it is whole.

The pipeline is not needed: each file says what it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import Contents, MadeFor, read_header, unpack

_NAME = re.compile(r"(.+)\.(\d+)\.snapshot")

Offsets: TypeAlias = Mapping[str, int] | Sequence[int]
"""Next offsets by topic; in files of format 3 without the topics, in the pipeline's order."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file; None: not known, or not part of a file of this kind."""

    path: Path
    bytes: int
    age_s: float
    newest: bool = True
    """The newest of its name, which a start loads if it is whole."""
    problem: str | None = None
    """Why a start would refuse it; None: it is whole."""
    kind: str | None = None
    format: int | None = None
    fingerprint: str | None = None
    """Fingerprint of the definitions that it was made for."""
    partition: int | None = None
    version: str | None = None
    offsets: Offsets | None = None
    """The next offset of each source topic of a partition."""
    applied: Mapping[str, Offsets] | None = None
    """The same of each partition, as far as a learner's weights contain it."""
    rows: int | None = None
    """Number of entities of a partition, or of ids of a learner."""
    examples: int | None = None
    """Labelled examples that no checkpoint of the learner is known to contain."""
    pending: int | None = None
    """Items that were shown, or events, whose label is not known yet."""

    def plain(self) -> dict[str, JsonValue]:
        """Return the fields as plain JSON."""
        return {**asdict(self), "path": str(self.path)}


def inspect_state(path: Path, now_s: float) -> list[StateFile]:
    """Read the file at `path`, or all files below a folder, the newest of each name first.

    `now_s` is the present wall-clock time in seconds. Raises ConfigError when there is no file.
    """
    if path.is_file():
        return [_read(path, now_s)]
    if not path.is_dir():
        raise ConfigError(str(path), "there is no such file or folder", "Give a file or a folder.")
    found = newest_first(path)
    if not found:
        raise ConfigError(
            str(path),
            "no snapshot or checkpoint lies in it or below",
            "A pipeline's state is in .freshrank/<pipeline> where it was started, or where "
            "the setting `state` says.",
        )
    return [
        replace(_read(file, now_s), newest=rank == 0)
        for files in found
        for rank, file in enumerate(files)
    ]


def check_checkpoints(folder: Path) -> None:
    """Raise ConfigError where the learner has checkpoints in `folder`, and none is whole."""
    for files in newest_first(folder):
        problems = list[str]()
        for path in files:
            problem = _read(path, 0.0).problem
            if problem is None:
                return
            problems.append(f"{path} is passed over: {problem}")
        raise ConfigError(
            str(folder),
            f"no checkpoint can be read: {'; '.join(problems)}",
            "Put a copy of one there, or begin anew in another folder (`state`).",
        )


def newest_first(folder: Path) -> list[list[Path]]:
    """List the state files below a folder: those of each name, the newest first."""
    found: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    for path in folder.rglob("*.snapshot"):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault((path.parent, match[1]), []).append((int(match[2]), path))
    return [[path for _, path in sorted(files, reverse=True)] for _, files in sorted(found.items())]


class Header(NamedTuple):
    """What a file says of itself, before its arrays."""

    made_for: MadeFor
    meta: Mapping[str, Any]


def newest_headers(kind: str, folder: Path) -> Iterator[Header]:
    """That of the newest file of each name below a folder whose header can be read."""
    for files in newest_first(folder):
        for path in files:
            with contextlib.suppress(SnapshotError):  # a start skips it too, and logs that
                yield Header(*read_header(kind, path))
                break


def _read(path: Path, now_s: float) -> StateFile:
    """Read one file: its contents, or why it would be refused."""
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

    def length(pattern: str) -> int | None:
        """Return the length of all arrays whose names match; None where there is none."""
        lengths = [len(array) for name, array in arrays.items() if re.fullmatch(pattern, name)]
        return sum(lengths) if lengths else None

    return replace(
        file,
        kind=contents.kind,
        format=contents.format,
        fingerprint=contents.made_for.fingerprint,
        partition=meta.get("partition"),
        version=meta.get("version"),
        offsets=meta.get("offsets", meta.get("cut")),
        applied=meta.get("applied"),
        rows=length("tables?/(.+/)?rows|keys"),
        examples=length("outbox/order"),
        pending=length(r"joiner/pending\.pairs|waiting/pairs"),
    )
