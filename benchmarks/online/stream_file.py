"""Streams of labelled rows as files, which learners of any project can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from freshrank.actors.messages import Doubles, Floats

Kind: TypeAlias = Literal["binary", "class", "number"]
"""Of labels: 0 or 1, the place of one of several classes, or a number."""
RawInputs: TypeAlias = Mapping[str, float | str]
"""The raw inputs of a row by name: numbers, and texts that stand for a category."""


@dataclass(frozen=True, slots=True)
class LabelledStream:
    """Rows in the order in which they are learned."""

    name: str
    kind: Kind
    classes: Sequence[str]
    """The names of the classes, where labels are their places."""
    rows: Sequence[RawInputs]
    """What is missing in a row is left out of it."""
    labels: Floats
    """float32[n]."""
    times_s: Doubles | None = None
    """float64[n]: ascending, in seconds since the Unix epoch, if they are known; not in files."""

    def first(self, rows: int) -> LabelledStream:
        """The same with at most so many rows."""
        times_s = None if self.times_s is None else self.times_s[:rows]
        return replace(self, rows=self.rows[:rows], labels=self.labels[:rows], times_s=times_s)


class _Head(msgspec.Struct):
    kind: Kind
    classes: list[str]


_ROW = msgspec.json.Decoder(tuple[dict[str, float | str], float])


def write_stream(stream: LabelledStream, folder: Path) -> Path:
    """Write ``NAME.jsonl`` in `folder`: a line on the stream, then ``[inputs, label]`` a row."""
    lines = [msgspec.json.encode(_Head(stream.kind, list(stream.classes)))]
    lines += map(msgspec.json.encode, zip(stream.rows, stream.labels.tolist(), strict=True))
    path = folder / f"{stream.name}.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read_stream(path: Path) -> LabelledStream:
    """Read a file of `write_stream`. Raises msgspec.ValidationError for another one."""
    first, *lines = path.read_bytes().splitlines()
    head = msgspec.json.decode(first, type=_Head)
    rows, labels = zip(*map(_ROW.decode, lines), strict=True) if lines else ((), ())
    return LabelledStream(path.stem, head.kind, head.classes, rows, np.array(labels, np.float32))
