"""Conditions of a request on the fields of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Comparison, Filter
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.streams.fields import Kind

_ORDERED: Mapping[Comparison, Callable[[Doubles, float], Bools]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


_Slots: TypeAlias = Ints | slice

_ALL = slice(None)


def passing(catalogue: ItemCatalogue, filters: Sequence[Filter], slots: _Slots = _ALL) -> Bools:
    """bool[m]: which of `slots` int64[m], all by default, have an item that passes every filter.

    Raises RequestError for a field that the catalogue does not have, and for a comparison that its
    type does not allow.
    """
    found = catalogue.alive[slots].copy()
    for one in filters:
        found &= _holds(catalogue, one, slots)
    return found


def _holds(catalogue: ItemCatalogue, one: Filter, slots: _Slots) -> Bools:
    field = catalogue.table.fields.get(one.field)
    if field is None:
        known = ", ".join(catalogue.table.fields)
        raise RequestError(f"filters.{one.field}", f"the catalogue has no such field, only {known}")
    present = _present(catalogue, one.field, field.kind, slots)
    if one.comparison == "is_null":
        return present if one.value is False else ~present
    if one.comparison in _ORDERED:
        if field.kind is Kind.TEXT:
            place = f"filters.{one.field}.{one.comparison}"
            raise RequestError(place, "a text is not compared by size: use eq, ne, in or not_in")
        # A NaN compares as false.
        return _ORDERED[one.comparison](catalogue.numbers(one.field)[slots], _number(one.value))
    several = one.comparison in ("in", "not_in")
    values: Any = one.value if several else [one.value]
    if field.kind is Kind.NUMBER:
        equal = np.isin(catalogue.numbers(one.field)[slots], np.array(list(map(_number, values))))
    else:
        equal = np.isin(catalogue.ids(one.field)[slots], _ids(field.kind, values))
    return equal if one.comparison in ("eq", "in") else present & ~equal


def _present(catalogue: ItemCatalogue, name: str, kind: Kind, slots: _Slots) -> Bools:
    if kind is Kind.NUMBER:
        return ~np.isnan(catalogue.numbers(name)[slots])
    return np.not_equal(catalogue.ids(name)[slots], ABSENT)


def _ids(kind: Kind, values: Sequence[Any]) -> Ints:
    if kind is Kind.TEXT:
        return hash_texts([str(value) for value in values])
    return hash_ints(np.array([int(value) for value in values], dtype=np.int64))


def _number(value: Any) -> float:
    return float(value)
