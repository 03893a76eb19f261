"""A batch of decoded events as columns, each computed when it is first wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Fields, Kind
from freshrank.feature_actors.streams.keys.compound_key import (
    PartFaults,
    compound_ids,
    is_compound,
    key_parts,
    part_faults,
)


class Columns:
    """``n`` events of one stream in log order.

    Text and integers come out as ids (see `freshrank.actors.kernels.hashing`) or numbers; a numeric
    column is float64, whose 53 bits hold integers exactly up to 9.0e15; ids and equality use
    all 64 bits.
    """

    def __init__(
        self, fields: Fields, events: list[msgspec.Struct], offsets: Ints, event_times_ms: Ints
    ) -> None:
        self.fields = fields
        self.offsets = offsets
        """int64[n]."""
        self.event_times_ms = event_times_ms
        """int64[n]."""
        self.log_ms = event_times_ms
        """int64[n]: when each record reached the log (`state.log_clock`), once that is known."""
        self.clock_ms = event_times_ms
        """int64[n]: the log's clock just after each record, once that is known."""
        self._events = events
        self._hashed: dict[str, Ints] = {}
        self._numbers: dict[str, Doubles] = {}
        self._texts: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def hashed(self, name: str) -> Ints:
        """int64[n]: the ids of a text or integer field; 0 where it is None."""
        found = self._hashed.get(name)
        if found is None:
            found = self._hashed[name] = self._hash(self._field(name))
        return found

    def number(self, name: str) -> Doubles:
        """float64[n]: the values of an integer or float field; NaN where it is None."""
        if name not in self._numbers:
            field = self._field(name)
            if field.kind is Kind.TEXT:
                raise ConfigError(name, "text is not a number", "Name a field of int or float.")
            values = self.values(name)
            if field.optional:
                values = [np.nan if value is None else value for value in values]
            self._numbers[name] = np.array(values, dtype=np.float64)
        return self._numbers[name]

    def text(self, name: str) -> list[str]:
        """The values of a text or integer field as strings; "" where it is None.

        Of a compound key the ids (`compound_ids`).
        """
        if name not in self._texts and is_compound(name):
            self._texts[name] = compound_ids(self._part_texts(name))
        if name not in self._texts:
            field = self._field(name)
            values = self.values(name)
            if field.optional:
                values = ["" if value is None else value for value in values]
            if field.kind is not Kind.TEXT:
                values = [str(value) for value in values]
            self._texts[name] = values
        return self._texts[name]

    def part_faults(self, key: str) -> PartFaults:
        """Which events name no entity of a compound key."""
        return part_faults(self._part_texts(key))

    def values(self, name: str) -> list[Any]:
        """The values of a field as records hold them; None where there is none."""
        return list(map(_getter(self._field(name)), self._events))

    def present(self, name: str) -> Bools:
        """bool[n]: where the field is not None."""
        if not self._field(name).optional:
            return np.ones(len(self), dtype=np.bool_)
        return np.array([value is not None for value in self.values(name)], dtype=np.bool_)

    def take(self, indices: Ints) -> Columns:
        """The events at `indices` int64[m]; columns computed already are taken along."""
        places = indices.tolist()
        return self._part(indices, lambda values: [values[place] for place in places])

    def between(self, begin: int, end: int) -> Columns:
        """The events with ``begin <= index < end``; all share memory with these columns."""
        if begin == 0 and end >= len(self):
            return self
        part = slice(begin, end)
        return self._part(part, lambda values: values[part])

    def _part(self, which: Ints | slice, of_list: Callable[[list[Any]], list[Any]]) -> Columns:
        """Some events: `which` of each array, and `of_list` of each list."""
        part = Columns(
            self.fields,
            of_list(self._events),
            self.offsets[which],
            self.event_times_ms[which],
        )
        part.log_ms, part.clock_ms = self.log_ms[which], self.clock_ms[which]
        part._hashed = {name: column[which] for name, column in self._hashed.items()}
        part._numbers = {name: column[which] for name, column in self._numbers.items()}
        part._texts = {name: of_list(column) for name, column in self._texts.items()}
        return part

    def _part_texts(self, key: str) -> list[list[str]]:
        return [self.text(part) for part in key_parts(key)]

    def _field(self, name: str) -> Field:
        return self.fields.require(name, f"columns.{name}")

    def _hash(self, field: Field) -> Ints:
        if field.kind is Kind.NUMBER:
            raise ConfigError(field.name, "a float is not an id", "Name a field of str or int.")
        if field.kind is Kind.TEXT:
            ids = hash_texts(self.text(field.name))
        else:
            values = self.values(field.name)
            if field.optional:
                values = [0 if value is None else value for value in values]
            ids = hash_ints(np.array(values, dtype=np.int64))
        if field.optional and not is_compound(field.name):
            ids[~self.present(field.name)] = ABSENT
        return ids


def _getter(field: Field) -> Callable[[msgspec.Struct], Any]:
    """Reads the field of an event; None where it lies in a struct that is None."""
    get: Callable[[msgspec.Struct], Any] = attrgetter(field.name)
    path = field.name.split(".")
    if len(path) == 1 or not field.optional:
        return get

    def get_or_none(event: msgspec.Struct) -> Any:
        value: Any = event
        for part in path:
            if value is None:
                return None
            value = getattr(value, part)
        return value

    return get_or_none


def entity_ids(field: Field, names: Sequence[str]) -> Ints:
    """int64[n]: the ids of entities by their names, as `Columns.hashed` gives them for `field`.

    Raises ValueError or OverflowError where an integer field has a name that is none.
    """
    if field.kind is Kind.TEXT:
        return hash_texts(names)
    return hash_ints(np.array([int(name) for name in names], dtype=np.int64))
