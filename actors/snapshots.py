"""One file for a state: named arrays and a little metadata, whole or refused.

The format is safetensors, whose header carries what is needed to refuse a file that is
truncated, damaged, foreign, of a newer format or made for other definitions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
import xxhash
from numpy.typing import NDArray

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.protocols import JsonValue

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

# Grows by one when a reader of the present format could not read the new one.
FORMAT = 1
_HEADER_KEY = "freshrank"
_CHECKSUM_BYTES = 8


class _Header(msgspec.Struct, frozen=True):
    kind: str
    format: int
    fingerprint: str
    meta: msgspec.Raw


def pack(kind: str, fingerprint: str, meta: Mapping[str, JsonValue], arrays: Arrays) -> bytes:
    """One payload of `arrays` and `meta`, marked with what it is and what it was made for.

    Parameters
    ----------
    kind
        What the payload holds (``"partition"``, ``"learner"``).
    fingerprint
        Of the definitions: whoever has others cannot read it.
    meta
        Small figures, as plain JSON.
    arrays
        Any shapes and dtypes that safetensors knows.
    """
    header = _Header(kind, FORMAT, fingerprint, msgspec.Raw(json.dumps(meta).encode()))
    body = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata={_HEADER_KEY: msgspec.json.encode(header).decode()},
    )
    return body + xxhash.xxh64_digest(body)


def unpack(kind: str, fingerprint: str, payload: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The (meta, arrays) that `pack` was given; the arrays may be written to.

    Raises DefinitionChanged when only the fingerprint differs, and SnapshotError for any
    other reason not to trust the payload.
    """
    body, checksum = payload[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
    if xxhash.xxh64_digest(body) != checksum:
        raise SnapshotError("truncated or damaged: the checksum does not fit")
    header = _read_header(body)
    if header.kind != kind:
        raise SnapshotError(f"a {header.kind!r} file where {kind!r} is wanted")
    if header.format > FORMAT:
        raise SnapshotError(f"format {header.format} is newer than this program's {FORMAT}")
    if header.fingerprint != fingerprint:
        raise DefinitionChanged(f"made for definitions {header.fingerprint}, not {fingerprint}")
    arrays = safetensors.numpy.load(body)
    return json.loads(bytes(header.meta)), {name: one.copy() for name, one in arrays.items()}


def _read_header(body: bytes) -> _Header:
    # A safetensors file begins with the length of its JSON header, which holds our own.
    try:
        size = int.from_bytes(body[:8], "little")
        metadata = json.loads(body[8 : 8 + size])["__metadata__"]
        return msgspec.json.decode(metadata[_HEADER_KEY], type=_Header)
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise SnapshotError(f"not a Freshrank file: {error}") from error


class FileSnapshots:
    """Snapshots as files ``<name>.<number>.snapshot`` of one folder; satisfies SnapshotStore.

    Parameters
    ----------
    folder
        Made when it is not there.
    keep
        How many of the newest are kept for each name. More than one, so that a damaged
        newest file costs a longer replay and not the state.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, payload: bytes) -> None:
        """Write, fsync, rename, fsync the folder; then prune older ones.

        Raises SnapshotError when the disk does not take it; what was there stays.
        """
        kept = self._numbered(name)
        number = kept[-1][0] + 1 if kept else 1
        final = self._folder / f"{name}.{number:012d}.snapshot"
        try:
            # One writer a name: a draft that a crash left behind is overwritten by the next.
            self._write(final, self._folder / f".{name}.draft", payload)
            for _, path in kept[: max(0, len(kept) + 1 - self._keep)]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise SnapshotError(f"cannot write {final}: {error}") from error

    def candidates(self, name: str) -> list[bytes]:
        """What is kept under `name`, newest first, unreadable files left out."""
        payloads = []
        for _, path in reversed(self._numbered(name)):
            try:
                payloads.append(path.read_bytes())
            except OSError:
                continue  # an unreadable file is as good as none: an older one may serve
        return payloads

    def _write(self, final: Path, draft: Path, payload: bytes) -> None:
        with draft.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(final)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _numbered(self, name: str) -> list[tuple[int, Path]]:
        pattern = re.compile(re.escape(name) + r"\.(\d+)\.snapshot")
        found = []
        for path in self._folder.iterdir():
            match = pattern.fullmatch(path.name)
            if match:
                found.append((int(match[1]), path))
        return sorted(found)
