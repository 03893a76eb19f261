"""The layout of the rows of an entity, as far as tables of rows and the online store need it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Protocol

from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.messages import Doubles
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.stream import Entity

WORD_BYTES = 8

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
    def placed_by(self) -> Partitioner:
        """How the records of `log_topic` lie."""
        ...

    @property
    def fields(self) -> Fields:
        """The fields of its schema."""
        ...


class RowPlan(ABC):
    """The layout of a row: 8-byte words, of which the first two are the header."""

    entity: Entity
    """The kind of entity that has such rows."""
    source: RowSource
    """What fills them."""
    fingerprint: str
    """16 hex digits: equal for definitions whose rows mean the same."""
    row_words: int
    """The number of words."""
    empty_row: Doubles
    """float64[words]: the row of an entity of which nothing is known."""

    @property
    def name(self) -> str:
        """Tells the tables of a partition apart, in snapshots: entity and topic."""
        return f"{self.entity.name}/{self.source.topic}"

    @property
    def bytes_per_entity(self) -> int:
        """The size of a row."""
        return self.row_words * WORD_BYTES

    @property
    @abstractmethod
    def horizon_ms(self) -> int | None:
        """For how long a record can change a row, ms; None: for ever."""

    def row_key(self, entity: str) -> bytes:
        """The key of an entity's row in the online store: writers and replicas agree on it."""
        return (self._key_prefix + entity).encode()

    @cached_property
    def _key_prefix(self) -> str:
        return f"{self.entity.name}:{self.fingerprint[:_KEY_DIGITS]}:"

    @abstractmethod
    def describe(self) -> str:
        """For people: the bytes of a row."""
