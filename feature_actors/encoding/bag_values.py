"""The ids of a bag as what they stand for, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.hashing import ZERO_INTEGER_ID, hash_ints, hash_text
from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.streams.fields import Field, Kind


class BagValues:
    """Names the values of a field by their ids.

    Integers and bools are their ids. Of texts, rows hold hashes only: a text is known where the
    schema lists the field's values (a Literal); else the answer says that the id is a hash.

    >>> gifts = BagValues(Field("gift", Kind.INTEGER, boolean=True))
    >>> gifts.of([1, ZERO_INTEGER_ID], [1.0, 1.0])[0]
    {'id': 1, 'weight': 1.0, 'value': True}
    >>> BagValues(Field("genre", Kind.TEXT)).of([5], [0.5])
    [{'id': 5, 'weight': 0.5, 'hash_of': 'genre'}]
    """

    def __init__(self, field: Field) -> None:
        self._field = field
        self._choices: dict[int, str | int] = {
            hash_text(one) if isinstance(one, str) else int(hash_ints(np.array([one]))[0]): one
            for one in field.choices
        }

    def of(self, ids: Ints | Sequence[int], weights: Doubles | Sequence[float]) -> list[JsonValue]:
        """An object for each id that is not absent: id, weight, and value or ``hash_of``."""
        return [
            {"id": int(id_), "weight": float(weight), **self._named(int(id_))}
            for id_, weight in zip(ids, weights, strict=True)
            if id_ != 0
        ]

    def _named(self, id_: int) -> dict[str, JsonValue]:
        if id_ in self._choices:
            return {"value": self._choices[id_]}
        if self._field.kind is Kind.TEXT:
            return {"hash_of": self._field.name}
        value = 0 if id_ == ZERO_INTEGER_ID else id_
        return {"value": bool(value) if self._field.boolean else value}
