"""Which items a request wants, and how many: what requests for items have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from freshrank.actors.features.retrieval import Filter, Retriever
from freshrank.serve.recommendation.conditions import Conditions
from freshrank.serve.scoring.served_pipeline import ServedPipeline

MOST_ITEMS = 100
"""Items of one answer: a page of a shop has a few dozen."""
MOST_EXCLUDED = 1_000
"""Items that one request excludes."""
_USUAL_ITEMS = 20


@dataclass(frozen=True, slots=True)
class Selection:
    """What all items of an answer have to be."""

    k: int
    """Items wanted."""
    filters: Sequence[Filter]
    exclude: frozenset[str]
    """Canonical keys."""
    most_per: Mapping[str, int]
    """By field of the catalogue: how many items may share a value."""


class SelectionTypes:
    """The types of what requests for items have in common, made from the catalogue."""

    def __init__(self, pipeline: ServedPipeline, retriever: Retriever) -> None:
        self._pipeline = pipeline
        self._retriever = retriever
        self._conditions = Conditions(retriever.fields)
        self._attributes = self._conditions.attributes
        few = Annotated[int, msgspec.Meta(ge=1, le=MOST_ITEMS)]
        most_per = msgspec.defstruct(
            "MostPer",
            [
                (attribute, few | None, msgspec.field(name=name, default=None))
                for name, attribute in self._attributes.items()
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )
        diversify = msgspec.defstruct(
            "Diversify",
            [("most_per", most_per, msgspec.field(default_factory=most_per))],
            forbid_unknown_fields=True,
            frozen=True,
        )
        filters = self._conditions.type
        self.fields: Sequence[tuple[str, Any, Any]] = (
            ("k", few, _USUAL_ITEMS),
            ("filters", filters, msgspec.field(default_factory=filters)),
            ("exclude", self.keys(0, MOST_EXCLUDED), msgspec.field(default_factory=list)),
            ("diversify", diversify, msgspec.field(default_factory=diversify)),
        )
        """As `msgspec.defstruct` takes them."""

    def keys(self, fewest: int, most: int) -> Any:
        """The type of a list of keys of items."""
        listed = GenericAlias(list, (self._retriever.key_type,))
        return Annotated[listed, msgspec.Meta(min_length=fewest, max_length=most)]

    def canonical(self, keys: Sequence[str | int], place: str) -> list[str]:
        """The canonical keys of items. Raises RequestError that names `place` and index."""
        entity = self._retriever.entity
        return [
            self._pipeline.canonical_key(entity, key, f"{place}[{number}]")
            for number, key in enumerate(keys)
        ]

    def selection(self, request: Any) -> Selection:
        """What a decoded request with `fields` asks for. Raises RequestError."""
        most_per = request.diversify.most_per
        limits = {name: getattr(most_per, one) for name, one in self._attributes.items()}
        return Selection(
            request.k,
            self._conditions.filters(request.filters),
            frozenset(self.canonical(request.exclude, "exclude")),
            {name: most for name, most in limits.items() if most is not None},
        )

    def known(self, place: str) -> Sequence[str]:
        """The names that may stand at `place` of a request, below its own fields."""
        if place == "diversify":
            return ["most_per"]
        if place == "diversify.most_per":
            return list(self._attributes)
        return self._conditions.known(place.removeprefix("filters").removeprefix("."))
