"""The layout of the rows of an entity, as far as tables of rows and the online store need it."""

from __future__ import annotations

from typing import Protocol

from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.messages import Doubles
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.stream import Entity


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


class RowPlan(Protocol):
    """The layout of a row: 8-byte words, of which the first two are the header."""

    @property
    def entity(self) -> Entity:
        """The kind of entity that has such rows."""
        ...

    @property
    def source(self) -> RowSource:
        """What fills them."""
        ...

    @property
    def name(self) -> str:
        """Tells the tables of a partition apart, in snapshots: entity and topic."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits: equal for definitions whose rows mean the same."""
        ...

    @property
    def row_words(self) -> int:
        """The number of words."""
        ...

    @property
    def empty_row(self) -> Doubles:
        """float64[words]: the row of an entity of which nothing is known."""
        ...

    @property
    def bytes_per_entity(self) -> int:
        """The size of a row."""
        ...

    @property
    def horizon_ms(self) -> int | None:
        """For how long a record can change a row, ms; None: for ever."""
        ...

    def row_key(self, entity: str) -> bytes:
        """The key of an entity's row in the online store."""
        ...

    def describe(self) -> str:
        """For people: the bytes of a row."""
        ...
