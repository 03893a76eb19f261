"""A partition's state at one moment, on its way to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from freshrank.actors.messages import SourceOffsets
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import Array, MadeFor, pack
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.partition.spec import PartitionSpec

SNAPSHOT_KIND = "partition"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Whole once `copy_rows` has returned True; from then on independent of the state."""

    offsets: SourceOffsets
    made_for: MadeFor
    """The definitions."""
    meta: Mapping[str, JsonValue]
    parts: Mapping[str, StateView]
    copy_rows: Callable[[int | None], bool]
    """Copies up to so many more bytes of rows (None: all the rest); gives whether it is whole."""

    def pieces(self) -> Iterator[Piece]:
        """The file, when it is whole. This may run in another thread."""
        return pack(SNAPSHOT_KIND, self.made_for, self.meta, self._arrays())

    def _arrays(self) -> dict[str, Array]:
        made = {part: frozen() for part, frozen in self.parts.items()}
        return {f"{part}/{name}": array for part in made for name, array in made[part].items()}


def part_of(arrays: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The arrays of the frozen state called `part`."""
    prefix = f"{part}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def layouts_of(meta: Mapping[str, Any]) -> dict[str, KeptLayout]:
    """By fingerprint: the input layouts that a file's header names, that of its rows first."""
    return msgspec.convert(meta.get("inputs", {}), dict[str, KeptLayout])


def with_topics(meta: dict[str, Any], spec: PartitionSpec) -> dict[str, Any]:
    """Return the header of a file of format 3, which has a single stream, in today's form."""
    if "offsets" in meta:
        return meta
    return {
        **meta,
        "topics": spec.topics,
        "offsets": SourceOffsets.from_json(meta["cut"], spec.topics),
        "newest_event_ms": {spec.stream.topic: meta["newest_event_ms"]},
    }
