"""How far partitions have been read, and the records between two such places."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

Ids: TypeAlias = tuple[int, ...]


class SourceOffsets(Mapping[str, int]):
    """How far one partition has been read: the next offset of each source topic, by its name.

    Immutable and hashable. A topic of which no record has been read has the offset 0 and is not
    listed, as in a `collections.Counter`; so those of an unread partition are empty, and false.

    >>> offsets = SourceOffsets({"behaviour": 5, "shop.impressions": 0})
    >>> offsets
    SourceOffsets({'behaviour': 5})
    >>> offsets["behaviour"], offsets["shop.impressions"]
    (5, 0)
    """

    __slots__ = ("_offsets",)

    def __init__(self, offsets: Mapping[str, int] | None = None) -> None:
        given = offsets or {}
        self._offsets = {topic: given[topic] for topic in sorted(given) if given[topic]}

    @classmethod
    def from_json(cls, offsets: Mapping[str, int] | Sequence[int], topics: Sequence[str]) -> Self:
        """The offsets of a file: by topic, or (format 3) as a list in the order of `topics`.

        >>> SourceOffsets.from_json([5, 3], ["behaviour", "shop.impressions"])
        SourceOffsets({'behaviour': 5, 'shop.impressions': 3})
        """
        if not isinstance(offsets, Mapping):
            offsets = dict(zip(topics, offsets, strict=True))
        return cls(offsets)

    def only(self, topics: Collection[str]) -> SourceOffsets:
        """Those of `topics`: none of a topic that is not read any more.

        >>> SourceOffsets({"behaviour": 5, "visits": 3}).only(["behaviour", "orders"])
        SourceOffsets({'behaviour': 5})
        """
        return SourceOffsets({name: at for name, at in self._offsets.items() if name in topics})

    def __getitem__(self, topic: str) -> int:
        return self._offsets.get(topic, 0)

    def __contains__(self, topic: object) -> bool:
        return topic in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __hash__(self) -> int:
        return hash(tuple(self._offsets.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SourceOffsets):
            return self._offsets == other._offsets
        return super().__eq__(other)

    def __repr__(self) -> str:
        return f"SourceOffsets({self._offsets})"

    def __str__(self) -> str:
        return ", ".join(f"{topic} {offset}" for topic, offset in self.items()) or "the beginning"


BEGINNING = SourceOffsets()
"""The offsets of a partition of which no record has been read."""


def dominates(reached: SourceOffsets, wanted: SourceOffsets) -> bool:
    """Whether `reached` lies at or beyond `wanted` in every topic.

    >>> here = SourceOffsets({"views": 5, "orders": 3})
    >>> dominates(here, SourceOffsets({"views": 5})), dominates(SourceOffsets({"views": 9}), here)
    (True, False)
    """
    return all(reached[topic] >= offset for topic, offset in wanted.items())


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The records of a partition from which examples were made: ``begin <= offset < end``."""

    partition: int
    begin: SourceOffsets
    end: SourceOffsets
    first: bool = False
    """Whether the shard keeps no examples before it: a learner without progress begins with it."""
    forgotten: Ids = field(default=(), compare=False)
    """Ids of inputs whose rows begin again from their initial values once it is learned."""
