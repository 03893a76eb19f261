"""The format of a file of state: named arrays and a header, read whole or refused.

A file is a safetensors file: any reader of that format opens it. Its header carries what is
needed to refuse a file that is foreign, of a newer format or made for other definitions; its last
tensor, `CHECKSUM`, is the xxHash64 of all that comes before and tells a file that is truncated or
damaged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Piece

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

# The format that is written. The number grows when readers of the format before cannot read the
# new one. In every format the last eight bytes are the checksum and the header names the format,
# so that a reader tells another format from damage.
FORMAT = 4
# The oldest format that is still read. Its offsets are lists in the order of the pipeline's topics.
OLDEST_FORMAT = 3
CHECKSUM = "checksum"
"""The name of the last tensor."""

_HEADER_KEY = "freshrank"
_CHECKSUM_BYTES = 8
# A safetensors file begins with the length of its header, a number of so many bytes.
_LENGTH_BYTES = 8
# Bytes hashed and written at once: few enough to be in the processor's cache for the second of the
# two, and enough that Python's interpreter takes little of the time.
_CHUNK_BYTES = 1 << 22
# Of an array that is copied: a checkpoint of a learner has hundreds of some hundred bytes, each of
# which would be a piece, with a call of its own to hash and to write it.
_SMALL_BYTES = 1 << 12

# The types of arrays by their names in safetensors, which stores them in little-endian order.
_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"), "U64": np.dtype("<u8"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
_TYPE_NAMES = {kind: name for name, kind in _TYPES.items()}


class MadeFor(NamedTuple):
    """The definitions that a file was made for."""

    fingerprint: str
    """Differs where anything differs that the file depends on."""
    basis: str = ""
    """Of what has to be equal for the file to be carried over to other definitions: columns may
    come and go, for instance, and a partitioner may not. "": it is never carried over."""
    former: str = ""
    """The fingerprint in files of earlier versions, which have no basis; no file has it beside."""

    def carries_over(self, now: MadeFor) -> bool:
        """Whether the file can be used where the definitions are those of `now`.

        >>> MadeFor("a1", "b1").carries_over(MadeFor("a2", "b1"))
        True
        >>> MadeFor("a1").carries_over(MadeFor("a1")), MadeFor("a1").carries_over(MadeFor("a2"))
        (True, False)
        >>> MadeFor("a0").carries_over(MadeFor("a1", "b1", former="a0"))
        True
        """
        same_basis = bool(self.basis) and self.basis == now.basis
        return same_basis or self.fingerprint in (now.fingerprint, now.former)


class _Mark(msgspec.Struct, frozen=True):
    """The part of the header that Freshrank writes: kind, format and definitions of the file."""

    kind: str
    format: int
    fingerprint: str
    meta: msgspec.Raw
    basis: str = ""

    @property
    def made_for(self) -> MadeFor:
        return MadeFor(self.fingerprint, self.basis)


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Contents:
    """The header and the arrays of an undamaged file."""

    kind: str
    format: int
    made_for: MadeFor
    meta: dict[str, Any]
    arrays: dict[str, Array]
    """Writable views of a single buffer, which lives as long as any of them."""


def pack(
    kind: str, made_for: MadeFor, meta: Mapping[str, JsonValue], arrays: Arrays
) -> Iterator[Piece]:
    """The contents of a file, piece by piece; no large array is copied.

    Parameters
    ----------
    kind
        The kind of state: ``"partition"`` or ``"learner"``.
    made_for
        The definitions: a reader refuses the file where it does not carry over to its own.
    meta
        Counts, offsets and the like, as plain JSON.
    arrays
        Of any shape and of the types in `_TYPES`; they must not change until all pieces are taken.
    """
    # Wide types first: then each array begins at a multiple of its width.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    mark = _Mark(
        kind,
        FORMAT,
        made_for.fingerprint,
        msgspec.Raw(json.dumps(meta).encode()),
        made_for.basis,
    )
    header: dict[str, Any] = {"__metadata__": {_HEADER_KEY: msgspec.json.encode(mark).decode()}}
    begin = 0
    for name in names:
        array = arrays[name]
        end = begin + array.nbytes
        header[name] = _Tensor(_TYPE_NAMES[array.dtype], list(array.shape), (begin, end))
        begin = end
    header[CHECKSUM] = _Tensor("U8", [_CHECKSUM_BYTES], (begin, begin + _CHECKSUM_BYTES))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    sum_so_far = xxhash.xxh64()
    start = len(text).to_bytes(_LENGTH_BYTES, "little") + text
    for piece in _pieces(start, (arrays[name] for name in names)):
        sum_so_far.update(piece)
        yield piece
    yield sum_so_far.digest()


def unpack(payload: bytes | bytearray) -> Contents:
    """Read the file that `pack` wrote.

    Raises SnapshotError if it is truncated, damaged, foreign or of a format that is not read.
    """
    data = payload if isinstance(payload, bytearray) else bytearray(payload)
    whole = len(data) > _CHECKSUM_BYTES and (
        xxhash.xxh64_digest(memoryview(data)[:-_CHECKSUM_BYTES]) == data[-_CHECKSUM_BYTES:]
    )
    mark, tensors, begin = _read_header(data)
    expected = begin + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if not whole:
        size = f"{len(data)} of {expected} bytes" if len(data) != expected else "the checksum"
        raise SnapshotError(f"truncated or damaged: {size} does not fit")
    _check_format(mark)
    try:
        arrays = {
            name: np.frombuffer(
                data,
                _TYPES[tensor.dtype],
                count=int(np.prod(tensor.shape, dtype=np.int64)),
                offset=begin + tensor.data_offsets[0],
            ).reshape(tensor.shape)
            for name, tensor in tensors.items()
            if name != CHECKSUM
        }
        meta = json.loads(bytes(mark.meta))
    except (ValueError, KeyError) as error:
        raise SnapshotError(f"not a Freshrank file: {error}") from error
    return Contents(mark.kind, mark.format, mark.made_for, meta, arrays)


def contents_for(kind: str, made_for: MadeFor, payload: bytes | bytearray) -> Contents:
    """The contents of a file of this kind that carries over to these definitions.

    Raises DefinitionChanged when it does not, and SnapshotError as `unpack`, or if the file is of
    another kind.
    """
    found = unpack(payload)
    _check_kind(found.kind, kind)
    if not found.made_for.carries_over(made_for):
        was, now = found.made_for.fingerprint, made_for.fingerprint
        raise DefinitionChanged(f"made for definitions {was}, not {now}")
    return found


def unpack_for(
    kind: str, made_for: MadeFor, payload: bytes | bytearray
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The (meta, arrays) of such a file. Raises as `contents_for`."""
    found = contents_for(kind, made_for, payload)
    return found.meta, found.arrays


def read_header(kind: str, path: Path) -> tuple[MadeFor, dict[str, Any]]:
    """Read what a file of this kind was made for, and its meta, without the arrays after them.

    Raises SnapshotError when the header cannot be read, or is of another kind or format.
    """
    try:
        with path.open("rb") as file:
            length = file.read(_LENGTH_BYTES)
            most = os.fstat(file.fileno()).st_size
            header = file.read(min(int.from_bytes(length, "little"), most))
    except OSError as error:
        raise SnapshotError(f"cannot be read: {error}") from error
    mark, _, _ = _read_header(bytearray(length + header))
    _check_format(mark)
    _check_kind(mark.kind, kind)
    return mark.made_for, json.loads(bytes(mark.meta))


def _check_format(mark: _Mark) -> None:
    if mark.format > FORMAT:
        raise SnapshotError(f"format {mark.format} is newer than this program's {FORMAT}")
    if mark.format < OLDEST_FORMAT:
        raise SnapshotError(
            f"format {mark.format} is older than {OLDEST_FORMAT}, the oldest that is still read"
        )


def _check_kind(found: str, wanted: str) -> None:
    if found != wanted:
        raise SnapshotError(f"a {found!r} file where {wanted!r} is wanted")


def _pieces(start: bytes, arrays: Iterable[Array]) -> Iterator[Piece]:
    """`start`, then the bytes of `arrays`: small ones together, the others as they lie."""
    small = [start]
    for array in arrays:
        if array.nbytes <= _SMALL_BYTES:
            small.append(array.tobytes())
            continue
        if small:
            yield b"".join(small)
            small.clear()
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for begin in range(0, len(view), _CHUNK_BYTES):
            yield view[begin : begin + _CHUNK_BYTES]
    if small:
        yield b"".join(small)


def _read_header(data: bytearray) -> tuple[_Mark, dict[str, _Tensor], int]:
    """The mark, the tensors, and where their bytes begin."""
    # A safetensors file begins with the length of its JSON header, which holds our own.
    begin = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if begin > len(data):
        raise SnapshotError("truncated, or not a Freshrank file: it ends within its header")
    try:
        header = msgspec.json.decode(data[_LENGTH_BYTES:begin], type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(header.pop("__metadata__"), type=dict[str, str])
        mark = msgspec.json.decode(metadata[_HEADER_KEY], type=_Mark)
        tensors = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in header.items()}
    except (ValueError, KeyError, msgspec.MsgspecError) as error:
        raise SnapshotError(f"damaged, or not a Freshrank file: {error}") from error
    return mark, tensors, begin
