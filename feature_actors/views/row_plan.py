"""The layout of the rows of an entity, as far as tables of rows and the online store need it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.messages import Doubles
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.keys.compound_key import parts_of
from freshrank.feature_actors.streams.stream import Entity

WORD_BYTES = 8

_64_BITS = (1 << 64) - 1

# Digits of the fingerprint in a row's key, of 16: enough to keep the rows of two definitions apart.
_KEY_DIGITS = 8


class RowSource(Protocol):
    """The topic whose records fill rows: a `Stream` or a `Table`."""

    @property
    def topic(self) -> str:
        """Its name, as declared."""
        ...

    @property
    def log_topic(self) -> str:
        """The topic that shards read."""
        ...

    @property
    def log_key(self) -> Entity:
        """The entity that keys the records of `log_topic`."""
        ...

    @property
    def placed_by(self) -> Partitioner:
        """How the records of `log_topic` lie."""
        ...

    @property
    def fields(self) -> Fields:
        """The fields of its schema."""
        ...


@dataclass(frozen=True, slots=True)
class RowColumn:
    """What a row says of one feature or field."""

    name: str
    definition: str
    """What its words follow from, in one spelling: columns of equal definitions hold the same."""
    words: int


class RowPlan(ABC):
    """The layout of a row: 8-byte words, of which the first two are the header."""

    entity: Entity
    """The kind of entity that has such rows."""
    source: RowSource
    """What fills them."""
    fingerprint: str
    """16 hex digits: equal for definitions whose rows mean the same."""
    former_fingerprint: str
    """That of earlier versions, which may not have told the types of fields."""
    columns_of_rows: Sequence[RowColumn]
    """What the words behind the header hold, in order."""
    row_words: int
    """The number of words."""
    empty_row: Doubles
    """float64[words]: the row of an entity of which nothing is known."""

    @property
    def name(self) -> str:
        """Tells the tables of a partition apart, in snapshots: entity and topic."""
        return f"{self.entity.name}/{self.source.topic}"

    @property
    @abstractmethod
    def basis(self) -> str:
        """What must be equal for rows to be carried over, for people, too."""
        return f"entity {self.entity.name} (key {self.entity.key}), topic {self.source.topic}"

    @property
    def bytes_per_entity(self) -> int:
        """The size of a row."""
        return self.row_words * WORD_BYTES

    @property
    def owner_part(self) -> int | None:
        """Which part of a compound entity's id keys its records; None where another key does."""
        key = self.source.log_key.key
        parts = self.entity.parts
        return parts.index(key) if self.entity.compound and key in parts else None

    @property
    @abstractmethod
    def horizon_ms(self) -> int | None:
        """For how long a record can change a row, ms; None: for ever."""

    def row_key(self, entity: str) -> bytes:
        """The key of an entity's row in the online store: writers and replicas agree on it.

        That of a compound entity is made of the ids of its parts (`compound_row_key`).
        """
        if not self.entity.compound:
            return (self._key_prefix + entity).encode()
        parts, fields = self.entity.parts, self.source.fields
        texts = zip(parts, parts_of(entity, len(parts)), strict=True)
        return self.compound_row_key(
            [int(entity_ids(fields[one], [text])[0]) for one, text in texts]
        )

    def row_keys(self, entities: Iterable[str]) -> list[bytes]:
        """The key of each entity's row, as of `row_key`."""
        if self.entity.compound:
            return [self.row_key(entity) for entity in entities]
        names, prefix = list(entities), self._key_prefix
        # Joined, encoded and split at once: half the time that one after the other takes.
        keys = (prefix + f"\0{prefix}".join(names)).encode().split(b"\0")
        if len(keys) == len(names):
            return keys
        return [(prefix + name).encode() for name in names]

    def compound_row_key(self, ids: Sequence[int]) -> bytes:
        """The key of the row of a compound entity whose parts have these ids.

        Of ids, since the rows of tables, which a part may come from, have no texts. With an id that
        is absent it is the key of no row.
        """
        return (self._key_prefix + "".join(f"{one & _64_BITS:016x}" for one in ids)).encode()

    def has_part(self, row_key: bytes, part: str, id_: int) -> bool:
        """Whether `row_key` is that of a compound entity whose part `part` has this id."""
        begin = len(self._key_prefix) + 16 * self.entity.parts.index(part)
        wanted = f"{id_ & _64_BITS:016x}".encode()
        is_own = row_key.startswith(self._key_prefix.encode())
        return is_own and row_key[begin : begin + 16] == wanted

    @cached_property
    def _key_prefix(self) -> str:
        return f"{self.entity.name}:{self.fingerprint[:_KEY_DIGITS]}:"

    @abstractmethod
    def describe(self) -> str:
        """For people: the bytes of a row."""
