"""Conditions of a request on the fields of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Comparison, Filter
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.streams.fields import Kind

_ORDERED: Mapping[str, Callable[[Doubles, float], Bools]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}

# Comparisons with each of several values.
_LISTED = ("in", "not_in")

_Slots: TypeAlias = Ints | slice

Bits: TypeAlias = NDArray[np.uint8]
"""Of `np.packbits`: eight slots a byte."""

_Mask = TypeVar("_Mask", Bools, Bits)

ALL = slice(None)
"""All slots."""


class Check(NamedTuple):
    """A comparison of a column of the catalogue with one number: what filters are made of.

    For a list it holds where it does for one of its values.
    """

    field: str
    comparison: Literal["present", "eq"] | Comparison
    """``present``, ``eq``, or a comparison by size."""
    value: float = 0.0
    """Of texts and integers an id, for ``eq``."""


def checked(catalogue: ItemCatalogue, slots: _Slots, check: Check) -> Bools:
    """bool[m]: for which of `slots` int64[m] a check holds, whether or not they have an item."""
    if check.field in catalogue.lists:
        listed = catalogue.listed_ids(check.field)[:, slots]
        there = check.comparison == "present"
        each = np.not_equal(listed, ABSENT) if there else np.equal(listed, check.value)
        found: Bools = np.logical_or.reduce(each, axis=0)
        return found
    numeric = catalogue.table.fields[check.field].kind is Kind.NUMBER
    if check.comparison in _ORDERED or numeric:
        numbers = catalogue.numbers(check.field)[slots]
        if check.comparison == "present":
            return ~np.isnan(numbers)
        if check.comparison == "eq":
            return np.equal(numbers, check.value)
        # A NaN compares as false.
        return _ORDERED[check.comparison](numbers, check.value)
    ids = catalogue.ids(check.field)[slots]
    if check.comparison == "present":
        return np.not_equal(ids, ABSENT)
    return np.equal(ids, check.value)


def passing(catalogue: ItemCatalogue, filters: Sequence[Filter], slots: _Slots = ALL) -> Bools:
    """bool[m]: which of `slots` int64[m], all by default, have an item that passes every filter.

    Raises RequestError for a field that the catalogue does not have, and for a comparison that its
    type does not allow.
    """
    found = catalogue.alive[slots].copy()
    for one in filters:
        found &= holds(catalogue, one, partial(checked, catalogue, slots))
    return found


def holds(catalogue: ItemCatalogue, one: Filter, look: Callable[[Check], _Mask]) -> _Mask:
    """For which slots a filter holds, whether or not they have an item.

    `look` gives what `checked` does, or the same as bits; it is not written to. Raises as `passing`
    does.
    """
    field = catalogue.table.fields.get(one.field)
    if field is None or (field.each and one.field not in catalogue.lists):
        known = ", ".join([*catalogue.table.fields, *catalogue.lists])
        raise RequestError(f"filters.{one.field}", f"the catalogue has no such field, only {known}")
    if one.comparison in _ORDERED:
        if field.kind is Kind.TEXT or field.each:
            place, what = f"filters.{one.field}.{one.comparison}", "list" if field.each else "text"
            raise RequestError(place, f"a {what} is not compared by size: use eq, ne, in or not_in")
        return look(Check(one.field, one.comparison, _number(one.value)))
    if one.comparison in ("eq", "in"):
        return _any(one, field.kind, look)
    present = look(Check(one.field, "present"))
    if one.comparison == "is_null":
        return present if one.value is False else ~present
    return present & ~_any(one, field.kind, look)


def _any(one: Filter, kind: Kind, look: Callable[[Check], _Mask]) -> _Mask:
    """Where a field has one of a filter's values."""
    values: Any = one.value if one.comparison in _LISTED else [one.value]
    wanted = [look(Check(one.field, "eq", value)) for value in _compared(kind, values)]
    if not wanted:
        return np.zeros_like(look(Check(one.field, "present")))
    found = wanted[0].copy()
    for more in wanted[1:]:
        found |= more
    return found


def _compared(kind: Kind, values: Sequence[Any]) -> list[Any]:
    """What columns of fields of a kind have for `values`, each once."""
    if kind is Kind.NUMBER:
        return list(dict.fromkeys(map(_number, values)))
    if kind is Kind.TEXT:
        return list(dict.fromkeys(hash_texts([str(value) for value in values]).tolist()))
    ids = hash_ints(np.array([int(value) for value in values], dtype=np.int64))
    return list(dict.fromkeys(ids.tolist()))


def _number(value: Any) -> float:
    return float(value)
