"""Which items a request wants, and how many: what requests for items have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, Literal, cast

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Boost, Filter, Retriever
from freshrank.serve.api.known_names import unknown_name, with_known_names
from freshrank.serve.recommendation.conditions import Conditions
from freshrank.serve.recommendation.diversity import Diversity, Mmr
from freshrank.serve.scoring.served_pipeline import ServedPipeline

MOST_ITEMS = 100
"""Items of one answer: a page of a shop has a few dozen."""
MOST_EXCLUDED = 1_000
"""Items that one request excludes."""
MOST_BOOSTS, MOST_FACTOR = 20, 1_000.0
"""Boosts of one request, each of which is compared with every candidate; and the greatest factor,
one through which is the least."""
_USUAL_ITEMS = 20
_USUAL_LAMBDA = 0.7
_MOST_NAMES = 100

_BOOST = re.compile(r"^boosts\[\d+\]")
# By place in a request: the names that may stand there, where they do not depend on the catalogue.
_NAMES: Mapping[str, Sequence[str]] = {
    "boosts": ("filters", "factor"),
    "diversify": ("most_per", "mmr"),
    "diversify.mmr": ("fields", "lambda"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What all items of an answer have to be."""

    k: int
    """Items wanted."""
    filters: Sequence[Filter]
    exclude: frozenset[str]
    """Canonical keys."""
    diversity: Diversity


class SelectionTypes:
    """The types of what requests for items have in common, made from the catalogue."""

    def __init__(self, pipeline: ServedPipeline, retriever: Retriever) -> None:
        self._pipeline = pipeline
        self._retriever = retriever
        self._lists = retriever.lists
        self._conditions = Conditions(retriever.fields, retriever.lists, retriever.choices)
        attributes = self._conditions.attributes
        self._attributes = {name: attributes[name] for name in retriever.fields}
        few = Annotated[int, msgspec.Meta(ge=1, le=MOST_ITEMS)]
        diversify = self._diversify_type(few)
        filters = self._conditions.type
        self.fields: Sequence[tuple[str, Any, Any]] = (
            ("k", few, _USUAL_ITEMS),
            ("filters", filters, msgspec.field(default_factory=filters)),
            ("exclude", self.keys(0, MOST_EXCLUDED), msgspec.field(default_factory=list)),
            ("diversify", diversify, msgspec.field(default_factory=diversify)),
        )
        """As `msgspec.defstruct` takes them."""
        factor = Annotated[float, msgspec.Meta(ge=1 / MOST_FACTOR, le=MOST_FACTOR)]
        boost = msgspec.defstruct(
            "Boost",
            [("filters", filters), ("factor", factor)],
            forbid_unknown_fields=True,
            frozen=True,
        )
        listed = GenericAlias(list, (boost,))
        boosts: Any = Annotated[listed, msgspec.Meta(max_length=MOST_BOOSTS)]
        self.boosts_field: tuple[str, Any, Any] = (
            "boosts",
            boosts,
            msgspec.field(default_factory=list),
        )
        """As `msgspec.defstruct` takes it."""

    def _diversify_type(self, few: Any) -> type[msgspec.Struct]:
        most_per = msgspec.defstruct(
            "MostPer",
            [
                (attribute, few | None, msgspec.field(name=name, default=None))
                for name, attribute in self._attributes.items()
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )
        share = Annotated[float, msgspec.Meta(ge=0, le=1)]
        mmr = msgspec.defstruct(
            "Mmr",
            [
                ("fields", names_type(list(self._attributes), 1)),
                ("weight", share, msgspec.field(name="lambda", default=_USUAL_LAMBDA)),
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )
        return msgspec.defstruct(
            "Diversify",
            [
                ("most_per", most_per, msgspec.field(default_factory=most_per)),
                ("mmr", mmr | None, None),
            ],
            forbid_unknown_fields=True,
            frozen=True,
        )

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
        return Selection(
            request.k,
            self._conditions.filters(request.filters),
            frozenset(self.canonical(request.exclude, "exclude")),
            self._diversity(request.diversify),
        )

    def boosts(self, request: Any) -> list[Boost]:
        """What a decoded request with `boosts_field` asks for."""
        return [Boost(self._conditions.filters(one.filters), one.factor) for one in request.boosts]

    def _diversity(self, diversify: Any) -> Diversity:
        most_per, mmr = diversify.most_per, diversify.mmr
        limits = {name: getattr(most_per, one) for name, one in self._attributes.items()}
        return Diversity(
            {name: most for name, most in limits.items() if most is not None},
            None if mmr is None else Mmr(mmr.weight, list(dict.fromkeys(mmr.fields))),
        )

    def known(self, place: str) -> Sequence[str]:
        """The names that may stand at `place` of a request, below its own fields."""
        place = _BOOST.sub("boosts", place)
        if place in _NAMES:
            return _NAMES[place]
        if place == "diversify.most_per":
            return list(self._attributes)
        return self._conditions.known(_of_filters(place))

    def values(self, place: str) -> Sequence[str | int]:
        """The values that may stand at `place` of a request, where a type lists them."""
        if place.startswith("diversify.mmr.fields"):
            return list(self._attributes)
        return self._conditions.values(_of_filters(_BOOST.sub("boosts", place)))

    def explained(
        self,
        error: RequestError,
        known: Callable[[str], Sequence[str]],
        values: Callable[[str], Sequence[str | int]],
    ) -> RequestError:
        """`error` as `with_known_names` gives it; of a list that items should differ by, why not.

        `known` and `values` are of the whole request.
        """
        name = unknown_name(error.reason)
        if name not in self._lists or not error.field.startswith("diversify."):
            return with_known_names(error, known, values)
        fields = ", ".join(f"`{one}`" for one in self._attributes)
        reason = f"`{name}` is a list of values, and items differ by fields of one value: {fields}"
        return RequestError(error.field, reason, error.status)


def _of_filters(place: str) -> str:
    return place.removeprefix("boosts.").removeprefix("filters").removeprefix(".")


def names_type(known: Sequence[str], fewest: int) -> Any:
    """The type of a list of at least `fewest` names, all of them known."""
    one = cast(Any, Literal)[tuple(known)] if known else str
    bounds = msgspec.Meta(min_length=fewest, max_length=_MOST_NAMES if known else fewest)
    return Annotated[GenericAlias(list, (one,)), bounds]
