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

# Values that are compared with each of several.
_LISTED = ("in", "not_in")

_Slots: TypeAlias = Ints | slice

_ALL = slice(None)


def passing(catalogue: ItemCatalogue, filters: Sequence[Filter], slots: _Slots = _ALL) -> Bools:
    """bool[m]: which of `slots` int64[m], all by default, have an item that passes every filter.

    Raises RequestError for a field that the catalogue does not have, and for a comparison that its
    type does not allow.
    """
    found = catalogue.alive[slots].copy()
    # Those that cost least first: what they leave out is not looked up in lists.
    for one in sorted(filters, key=lambda one: one.comparison in _LISTED):
        _narrow(found, catalogue, one, slots)
    return found


def _narrow(found: Bools, catalogue: ItemCatalogue, one: Filter, slots: _Slots) -> None:
    """Leave those of `found` bool[m] for which a filter holds."""
    field = catalogue.table.fields.get(one.field)
    if field is None:
        known = ", ".join(catalogue.table.fields)
        raise RequestError(f"filters.{one.field}", f"the catalogue has no such field, only {known}")
    if one.comparison == "is_null":
        found &= _present(catalogue, one.field, field.kind, slots) == (one.value is False)
        return
    if one.comparison in _ORDERED:
        if field.kind is Kind.TEXT:
            place = f"filters.{one.field}.{one.comparison}"
            raise RequestError(place, "a text is not compared by size: use eq, ne, in or not_in")
        # A NaN compares as false.
        found &= _ORDERED[one.comparison](catalogue.numbers(one.field)[slots], _number(one.value))
        return
    several = one.comparison in _LISTED
    values: Any = one.value if several else [one.value]
    wanted = one.comparison in ("eq", "in")
    if not wanted:
        found &= _present(catalogue, one.field, field.kind, slots)
    left = np.flatnonzero(found)
    if field.kind is Kind.NUMBER:
        numbers = catalogue.numbers(one.field)[slots][left]
        equal = np.isin(numbers, np.array(list(map(_number, values)), dtype=np.float64))
    else:
        equal = np.isin(catalogue.ids(one.field)[slots][left], _ids(field.kind, values))
    found[left[equal != wanted]] = False


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
