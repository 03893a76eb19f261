"""A retriever over a catalogue in a dictionary, for replicas under test."""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from freshrank.actors.features.retrieval import Boost, CandidateOrigin, Filter, Query, Retrieved
from freshrank.actors.features.service import Candidates
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.protocols import JsonValue

INTEGER_KEY: Any = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str
TEXT_KEY: Any = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "in": lambda value, listed: value in listed,
    "not_in": lambda value, listed: value not in listed,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}

Row = Mapping[str, JsonValue]


def item(brand: str | None = "a", price: float | None = 1.5, stock: int | None = 1) -> Row:
    return {"brand": brand, "price": price, "stock": stock}


class FakeRetriever:
    """Gives the items of its catalogue in their order; what an item lists is what it was seen by.

    The row of an entity is its favourite item, as in `FakeFeatures`, which the feature ``recent``
    lists; ``bought`` lists item 5.
    """

    entity = "item"
    seen: Sequence[str] = ("recent", "bought")
    sources: Sequence[str] = ("popular", "co_visited")
    fields: Mapping[str, type] = {"brand": str, "price": float, "stock": int}
    lists: Mapping[str, type] = {}
    choices: Mapping[str, Sequence[str | int]] = {}
    request_context: Sequence[str] = ()

    def __init__(self, catalogue: Mapping[str, Row], *, integer_keys: bool = True) -> None:
        self.catalogue = catalogue
        self.integer_keys = integer_keys
        self.key_type = INTEGER_KEY if integer_keys else TEXT_KEY
        self.similar: Sequence[str] = ("co_visited",)
        self.missing: str | None = None
        self.queries: list[Query] = []
        self.ends_with: Exception | None = None
        self.cancelled = False

    @property
    def size(self) -> int:
        return len(self.catalogue)

    def knows(self, item: str) -> bool:
        return item in self.catalogue

    def retrieve(self, query: Query) -> Retrieved:
        self.queries.append(query)
        unwanted = {*query.exclude, *query.items, *self._seen(query)}
        passing = [
            key
            for key, row in self.catalogue.items()
            if key not in unwanted and all(_passes(row, one) for one in query.filters)
        ]
        items = passing[: query.most]
        rows = [self.catalogue[key] for key in items]
        asked = query.sources or self.sources
        origins = [
            CandidateOrigin(name, query.items if name in self.similar else ()) for name in asked
        ]
        return replace(
            self.look_up(items),
            weights=[1.0 / (1 + place) for place in range(len(items))],
            origins=[origins] * len(items),
            allowed=len(passing),
            found={name: len(items) for name in asked},
            factors=[_factor(row, query.boosts) for row in rows] if query.boosts else [],
        )

    def look_up(self, items: Sequence[str]) -> Retrieved:
        known = [key for key in items if key in self.catalogue]
        columns: dict[str, list[Any]] = {
            "item_id": [int(key) for key in known],
            "note": ["n"] * len(known),
            "price": [0.0] * len(known),
        }
        return Retrieved(
            items=known,
            columns={k: v for k, v in columns.items() if k not in self.request_context},
            rows=[self.catalogue[key] for key in known],
            weights=[0.0] * len(known),
            origins=[()] * len(known),
        )

    def texts_of(self, ids: Collection[int]) -> Mapping[int, str]:
        held = [value for row in self.catalogue.values() for value in row.values()]
        texts = [*self.catalogue, *(value for value in held if isinstance(value, str))]
        return {hash_text(text): text for text in texts if hash_text(text) in ids}

    def _seen(self, query: Query) -> list[str]:
        listed = {"recent": [row.decode() for row in query.rows if row], "bought": ["5"]}
        return [key for name in query.exclude_seen for key in listed[name]]

    def weigh(
        self, rows: Sequence[bytes | None], candidates: Candidates, at_ms: int
    ) -> Mapping[str, Sequence[float]]:
        return {}

    def not_ready(self) -> str | None:
        return self.missing

    def status(self) -> Mapping[str, JsonValue]:
        return {"items": self.size, "topic_error": None}

    async def run(self) -> None:
        if self.ends_with is not None:
            raise self.ends_with
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


def _factor(row: Row, boosts: Sequence[Boost]) -> float:
    return math.prod(
        one.factor for one in boosts if all(_passes(row, each) for each in one.filters)
    )


def _passes(row: Row, one: Filter) -> bool:
    value = row[one.field]
    if one.comparison == "is_null":
        return (value is None) is one.value
    return value is not None and _HOLDS[one.comparison](value, one.value)
