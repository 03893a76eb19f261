"""Fields of the candidates of a request as columns of ids and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from freshrank.actors.errors import RequestError
from freshrank.actors.features.service import Candidates
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Kind


def count_of(candidates: Candidates) -> int:
    """The number of candidates."""
    return len(next(iter(candidates.values()), ()))


def names_of(field: Field, candidates: Candidates) -> list[str]:
    """The name of the entity that each candidate belongs to, as an event's text gives it.

    Raises RequestError for a candidate without one.
    """
    column_of(field.name, field.kind, candidates)  # or a RequestError
    values: Sequence[Any] = candidates[field.name]
    if None in values:
        raise RequestError(f"candidates.{field.name}", "every candidate needs it")
    return list(map(str, values if field.kind is Kind.TEXT else map(int, values)))


def column_of(name: str, kind: Kind, candidates: Candidates) -> Ints | Doubles:
    """The ids int64[n] or numbers float64[n] of a field. Raises RequestError for wrong ones."""
    place = f"candidates.{name}"
    if name not in candidates:
        raise RequestError(place, "every candidate needs it")
    values = candidates[name]
    try:
        if None not in values:
            return _present_column(kind, values)
        if kind is Kind.NUMBER:
            return np.array([np.nan if value is None else value for value in values])
        absent = np.array([value is None for value in values], dtype=np.bool_)
        blank = "" if kind is Kind.TEXT else 0
        filled = [blank if value is None else value for value in values]
        ids = _present_column(kind, filled).astype(np.int64)
        return np.where(absent, np.int64(ABSENT), ids)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(place, f"not all values are {kind.value.__name__}") from error


def _present_column(kind: Kind, values: Sequence[Any]) -> Ints | Doubles:
    """Ids or numbers of values none of which is None."""
    if kind is Kind.TEXT:
        return hash_texts([str(value) for value in values])
    if kind is Kind.INTEGER:
        return hash_ints(np.array(values, dtype=np.int64))
    return np.array(values, dtype=np.float64)
