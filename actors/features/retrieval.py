"""The protocol of retrieval: the candidates that a recommendation is chosen from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from freshrank.actors.features.service import Candidates
from freshrank.actors.protocols import JsonValue

Comparison: TypeAlias = Literal["eq", "ne", "in", "not_in", "lt", "le", "gt", "ge", "is_null"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a field of the catalogue. An item whose field is None passes `is_null` alone.

    `value` has the field's type; a list of them for ``in`` and ``not_in``; a bool for ``is_null``.
    """

    field: str
    comparison: Comparison
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Boost:
    """Items that are to rank better, or worse, than the model says."""

    filters: Sequence[Filter]
    """All have to hold."""
    factor: float
    """Above 1: better; between 0 and 1: worse."""


@dataclass(frozen=True, slots=True)
class Query:
    """What candidates are wanted for."""

    most: int
    """Candidates wanted, at most."""
    at_ms: int
    """The time that features are read as of."""
    rows: Sequence[bytes | None] = ()
    """The rows of the request's entity, in the order of `FeatureService.keys`; empty: of nobody."""
    items: Sequence[str] = ()
    """Keys of items to find others for, the most important first. Empty: those that the rows say
    the entity touched last."""
    filters: Sequence[Filter] = ()
    """All have to hold."""
    exclude: Collection[str] = ()
    """Keys of items that are not wanted."""
    exclude_seen: Sequence[str] = ()
    """Names of features, of `Retriever.seen`, whose items are not wanted."""
    sources: Sequence[str] = ()
    """Names of the sources to ask; empty: all."""
    boosts: Sequence[Boost] = ()
    """They change `Retrieved.factors`, not which candidates there are."""
    entity: str = ""
    """The key of the request's entity, by which it is known again; empty: nobody's."""


@dataclass(frozen=True, slots=True)
class CandidateOrigin:
    """Why an item is among the candidates."""

    source: str
    because: Sequence[str] = ()
    """Keys of the items that led to it, the strongest first; empty where none did."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """``n`` different candidates, those first that are the likeliest to be touched next."""

    items: Sequence[str]
    """The key of each item."""
    columns: Candidates
    """What the candidates of a request to score would carry, but for `Retriever.request_context`.
    """
    rows: Sequence[Mapping[str, JsonValue]]
    """By field, what the catalogue says of each item."""
    weights: Sequence[float]
    """How much the source that found it first speaks for each, comparable within a source only."""
    origins: Sequence[Sequence[CandidateOrigin]]
    """The sources that found each item, in the order of the pipeline's sources."""
    allowed: int | None = None
    """How many items of the catalogue pass filters and exclusions; None: they were not asked for by
    a query."""
    found: Mapping[str, int] = field(default_factory=dict)
    """By source asked: how many items it gave that passed."""
    factors: Sequence[float] = ()
    """The product of the factors of all boosts whose filters an item passes; empty: no boosts."""
    learned: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What `Retriever.weigh` would give, of a query for an entity."""


class Retriever(Protocol):
    """Finds candidates in a catalogue that it follows. All but `run` work without waiting."""

    @property
    def entity(self) -> str:
        """The kind of entity that items are, as `FeatureService.canonical_key` takes it."""
        ...

    @property
    def key_type(self) -> Any:
        """The type of an item's key in the JSON of a request, as `RequestTypes.key` has it."""
        ...

    @property
    def integer_keys(self) -> bool:
        """Whether the keys of items are integers, so that answers give them as such."""
        ...

    @property
    def size(self) -> int:
        """How many items the catalogue has."""
        ...

    @property
    def fields(self) -> Mapping[str, type]:
        """The fields of the catalogue, with their types (str, int, float, bool), for filters."""
        ...

    @property
    def lists(self) -> Mapping[str, type]:
        """Fields that are lists of texts, integers or bools, with these types, for filters."""
        ...

    @property
    def choices(self) -> Mapping[str, Sequence[str | int]]:
        """The possible values of those of `fields` and `lists` whose types list them."""
        ...

    @property
    def seen(self) -> Sequence[str]:
        """Names of the features that list items which the request's entity touched."""
        ...

    @property
    def sources(self) -> Sequence[str]:
        """The names of the pipeline's sources, in its order."""
        ...

    @property
    def request_context(self) -> Sequence[str]:
        """The fields of a candidate that the catalogue lacks: a request gives them, for all."""
        ...

    @property
    def similar(self) -> Sequence[str]:
        """The names of those sources that find items for others; empty: there is none."""
        ...

    def knows(self, item: str) -> bool:
        """Whether the catalogue has the item of this key."""
        ...

    def retrieve(self, query: Query) -> Retrieved:
        """The candidates for a query; empty where the catalogue has none that passes."""
        ...

    def look_up(self, items: Sequence[str]) -> Retrieved:
        """Those of `items`, by their keys, that the catalogue has, in their order.

        Their weights are 0, and they have no origins.
        """
        ...

    def texts_of(self, ids: Collection[int]) -> Mapping[int, str]:
        """Those of `ids` that are hashes of texts in the catalogue, with the texts.

        It passes over all items, and so may be called in a thread of its own.
        """
        ...

    def weigh(
        self, rows: Sequence[bytes | None], candidates: Candidates, at_ms: int
    ) -> Mapping[str, Sequence[float]]:
        """By source whose weights are inputs of the model, the weight of each of ``n`` candidates.

        `rows` are those of the request's entity. 0 for an item that the source would not give.
        """
        ...

    def not_ready(self) -> str | None:
        """What the retriever still lacks to answer well; None: nothing."""
        ...

    def status(self) -> Mapping[str, JsonValue]:
        """The metrics of catalogue and sources."""
        ...

    async def run(self) -> None:
        """Follow the catalogue until cancelled. What makes it impossible for good is raised."""
        ...
