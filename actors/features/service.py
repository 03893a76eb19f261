"""The protocol of the features of entities, as a replica reads, checks and serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.protocols import JsonValue

Column: TypeAlias = Sequence[str | None] | Sequence[float | None]
"""One value for each candidate; None where an optional field has none."""

Candidates: TypeAlias = Mapping[str, Column]
"""The ``n`` candidates of a request: by context field, a column of ``n`` values."""


@dataclass(frozen=True, slots=True)
class RequestTypes:
    """The types that the parts of a request are decoded to, with the rules that events have."""

    key: Any
    """The key of the entity of requests in JSON. Of an integer key also any text, which
    `canonical_key` checks."""
    key_text: Any
    """The same key in a path."""
    any_key_text: Any
    """The key of any entity that has rows, in a path."""
    candidate: type[msgspec.Struct]
    """A field for each name of `FeatureService.context`."""


@dataclass(frozen=True, slots=True)
class RowLookup:
    """The rows of one table of entities that a request needs."""

    entity: str
    """The kind of entity that the table is about."""
    table: str
    """The topic that fills the table, with the entity before it where it is compound and the topic
    that of its owner: ``user_category/clicks``."""
    keys: Sequence[bytes]
    """The online store's keys of ``m`` rows, each once."""
    which: Ints
    """int64[n]: for each candidate, the index of its row in `keys`."""
    leads: bool = False
    """Whether its rows hold parts of the keys of further rows (`FeatureService.following`)."""
    shared: bool = True
    """Whether requests of other entities need the same rows."""
    unkeyed: Sequence[int] = ()
    """The candidates of which a part of the key is not known, so that no row is theirs."""


class FeatureService(Protocol):
    """The features of entities as a replica reads and serves them.

    The loop of a request::

        lookups = features.lookups(key, candidates)
        leading = [lookup for lookup in lookups if lookup.leads]
        if leading:
            first = await store.read([row for lookup in leading for row in lookup.keys])
            lookups = [*lookups, *features.following(leading, first, key, candidates)]
        rows = await store.read([row for lookup in lookups for row in lookup.keys])
        inputs = features.inputs(lookups, rows, key, candidates, at_ms)
    """

    @property
    def context(self) -> Mapping[str, type]:
        """The fields that a candidate carries, with their types (str, int or float).

        The key of the request's entity is not among them: a request names it once.
        """
        ...

    @property
    def request_types(self) -> RequestTypes:
        """The types of the keys of entities and of a candidate."""
        ...

    def canonical_key(self, entity: str, key: str | int) -> str:
        """The one text that stands for the key of an entity: in records, rows and logs.

        An integer is written without a plus sign, leading zeros or blanks. Raises BadRecord.
        """
        ...

    @property
    def entities(self) -> Sequence[str]:
        """The kinds of entity that have rows, the one that a request names first."""
        ...

    def keys(self, entity: str, key: str) -> Sequence[bytes]:
        """The online store's keys of an entity's rows, in the order of the tables of its kind."""
        ...

    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        """The rows from which the inputs of a request are made: those of the entity `key` first.

        Each table has a lookup, but for those of compound entities where some `leads`. Raises
        RequestError when a candidate lacks a key.
        """
        ...

    def following(
        self,
        leading: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
    ) -> Sequence[RowLookup]:
        """The rows of compound entities, parts of whose keys lie in rows of the `leading` lookups.

        `rows` are those of all keys of `leading`, in order.
        """
        ...

    def owned(self, key: str) -> Callable[[bytes], bool]:
        """Tell whether a key of the online store is of a compound entity of the entity `key`."""
        ...

    def freshness(self, entity: str, rows: Sequence[bytes | None]) -> tuple[int, Mapping[str, int]]:
        """The newest event time, in ms, in the rows of `keys`, and the last offset in each.

        The offsets are by topic, in the order of the rows. 0 and -1 stand for a missing row.
        """
        ...

    def describe(
        self, entity: str, rows: Sequence[bytes | None], at_ms: int
    ) -> Mapping[str, JsonValue]:
        """The named features in the rows of `keys` as of `at_ms`; defaults without a row."""
        ...

    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        """An input row for each candidate; `rows` are those of all keys of `lookups`, in order."""
        ...

    def input_values(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Iterator[Mapping[str, JsonValue]]:
        """For each candidate in turn, by name, the value of each of its inputs, for people.

        Takes the arguments of `inputs`, and raises as it does.
        """
        ...

    def shown(self, inputs: Inputs, which: Ints, before: int = 0) -> Inputs:
        """The inputs of those of ``n`` rows that are shown, `which` int64[m], the first first.

        So many items were shown `before` them, on earlier pages of the list. As a model is to learn
        them: the same as were scored, but for the place in the list where that is an input.
        """
        ...

    def join_keys(self, candidates: Candidates) -> Ints:
        """int64[n]: the join key of each candidate, for the impression log."""
        ...
