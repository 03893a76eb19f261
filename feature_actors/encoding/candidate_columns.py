"""Fields of the candidates of a request as columns of ids and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.errors import RequestError
from freshrank.actors.features.service import Candidates
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.streams.event_type import default_of, without_none
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.stream import Stream


def count_of(candidates: Candidates) -> int:
    """The number of candidates."""
    return len(next(iter(candidates.values()), ()))


def names_of(field: Field, candidates: Candidates) -> list[str]:
    """The name of the entity that each candidate names, as an event's text gives it.

    "" for a candidate that names none: no row is of that name. Raises RequestError for wrong ones.
    """
    column_of(field.name, field.kind, candidates)  # or a RequestError
    values: Sequence[Any] = candidates[field.name]
    if None in values:
        return ["" if value is None else str(value) for value in values]
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


def each_once(names: Sequence[str]) -> tuple[list[str], Ints]:
    """The different ones of `names`, and int64[n]: for each name, which of them it is.

    >>> lines, which = each_once(["b", "a", "b"])
    >>> lines, which.tolist()
    (['b', 'a'], [0, 1, 0])
    """
    different = list(dict.fromkeys(names))
    if len(different) == len(names):  # as mostly
        return different, np.arange(len(names))
    lines = dict(zip(different, range(len(different)), strict=True))
    return different, np.array([lines[name] for name in names], dtype=np.int64)


def candidate_type(
    stream: Stream, carried: Sequence[str], join_on: str | None
) -> type[msgspec.Struct]:
    """The fields `carried` of an event, as an event has them, in that order.

    But the item that impressions are joined on, `join_on`, has to be named.
    """
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(stream.event_type):
        if field.name not in carried:
            continue
        if field.name == join_on:
            required = msgspec.field(name=field.encode_name)
            fields.append((field.name, without_none(field.type), required))
        else:
            fields.append((field.name, field.type, default_of(field)))
    fields.sort(key=lambda field: carried.index(field[0]))
    return msgspec.defstruct(
        "Candidate", fields, forbid_unknown_fields=True, kw_only=True, gc=False
    )
