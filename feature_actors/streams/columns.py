"""A batch of decoded events as columns, each computed when it is first wanted.

What an event has once are the `Columns` of the events; what it has any number of times, in a list,
are the `Elements` of the list, with a line for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
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


class FieldColumns:
    """``n`` lines of values: what conditions and numbers are evaluated on.

    Text and integers come out as ids (see `freshrank.actors.kernels.hashing`) or numbers; a numeric
    column is float64, whose 53 bits hold integers exactly up to 9.0e15; ids and equality use
    all 64 bits.
    """

    def __init__(self, fields: Fields, lines: list[Any], event_times_ms: Ints) -> None:
        self.fields = fields
        self.event_times_ms = event_times_ms
        """int64[n]."""
        self._lines = lines
        self._hashed: dict[str, Ints] = {}
        self._numbers: dict[str, Doubles] = {}
        self._texts: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._lines)

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

    def values(self, name: str) -> list[Any]:
        """The values of a field as records hold them; None where there is none."""
        field = self._field(name)
        nested = field.optional and "." in name
        return list(map(_reader(name, optional=nested), self._lines))

    def present(self, name: str) -> Bools:
        """bool[n]: where the field is not None."""
        if not self._field(name).optional:
            return np.ones(len(self), dtype=np.bool_)
        return np.array([value is not None for value in self.values(name)], dtype=np.bool_)

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


class Columns(FieldColumns):
    """``n`` events of one stream in log order."""

    def __init__(
        self, fields: Fields, events: list[msgspec.Struct], offsets: Ints, event_times_ms: Ints
    ) -> None:
        super().__init__(fields, events, event_times_ms)
        self.offsets = offsets
        """int64[n]."""
        self.log_ms = event_times_ms
        """int64[n]: when each record reached the log (`state.log_clock`), once that is known."""
        self.clock_ms = event_times_ms
        """int64[n]: the log's clock just after each record, once that is known."""

    @property
    def events(self) -> list[msgspec.Struct]:
        """They, in their order."""
        return self._lines

    def part_faults(self, key: str) -> PartFaults:
        """Which events name no entity of a compound key."""
        return part_faults(self._part_texts(key))

    def elements(self, each: str) -> Elements:
        """The elements of the list `each` of all events."""
        read = _reader(each, optional=True)
        return Elements(self, each, [read(event) or _NOTHING for event in self._lines])

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
            of_list(self._lines),
            self.offsets[which],
            self.event_times_ms[which],
        )
        part.log_ms, part.clock_ms = self.log_ms[which], self.clock_ms[which]
        part._hashed = {name: column[which] for name, column in self._hashed.items()}
        part._numbers = {name: column[which] for name, column in self._numbers.items()}
        part._texts = {name: of_list(column) for name, column in self._texts.items()}
        return part


class Elements(FieldColumns):
    """The elements of the list `each` of some events, in order: a line for each.

    An event without an element, or without the list, has a line of nothing. What an event has once
    is the same on all lines of its elements.

    >>> Item = msgspec.defstruct("Item", [("price", float)])
    >>> Order = msgspec.defstruct("Order", [("shop", str), ("items", list[Item])])
    >>> fields = Fields(Order, "orders")
    >>> orders = [Order("a", [Item(2.0), Item(3.0)]), Order("b", [])]
    >>> items = Columns(fields, orders, np.arange(2), np.arange(2)).elements("items")
    >>> items.number("items.price"), items.text("shop"), items.owners
    (array([ 2.,  3., nan]), ['a', 'a', 'b'], array([0, 0, 1]))
    """

    def __init__(self, events: Columns, each: str, lists: Sequence[Sequence[Any]]) -> None:
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        self.owners = np.repeat(np.arange(len(lists)), counts)
        """int64[n]: the event of each line."""
        self.firsts = np.cumsum(counts) - counts
        """int64[events]: the first line of each event."""
        self.blank = self.firsts[[one is _NOTHING for one in lists]]
        """int64[.]: the lines of nothing."""
        lines = list(chain.from_iterable(lists))
        super().__init__(events.fields.with_elements, lines, events.event_times_ms[self.owners])
        self._events = events
        self._each = each

    def hashed(self, name: str) -> Ints:
        """int64[n]: ids, as of `Columns`."""
        own = self._field(name).each
        return super().hashed(name) if own else self._events.hashed(name)[self.owners]

    def number(self, name: str) -> Doubles:
        """float64[n]: numbers, as of `Columns`."""
        own = self._field(name).each
        return super().number(name) if own else self._events.number(name)[self.owners]

    def values(self, name: str) -> list[Any]:
        """As records hold them; None where there is none."""
        field = self._field(name)
        if not field.each:
            values = self._events.values(name)
            return [values[owner] for owner in self.owners.tolist()]
        path = name.removeprefix(self._each).removeprefix(".")
        if not path:  # a list of values, not of structs
            return self._lines
        return list(map(_reader(path, optional=field.optional), self._lines))

    def _field(self, name: str) -> Field:
        """A line of nothing has no value."""
        field = super()._field(name)
        return replace(field, optional=True) if field.each and len(self.blank) else field


_NOTHING: Sequence[Any] = (None,)
"""The elements of an event that has none: one line."""


def _reader(path: str, *, optional: bool) -> Callable[[Any], Any]:
    """Reads what lies at a path; None where it lies in a struct that is None, or in None."""
    if not optional:
        return attrgetter(path)
    parts = path.split(".")

    def read(line: Any) -> Any:
        value = line
        for part in parts:
            if value is None:
                return None
            value = getattr(value, part)
        return value

    return read


def entity_ids(field: Field, names: Sequence[str]) -> Ints:
    """int64[n]: the ids of entities by their names, as `Columns.hashed` gives them for `field`.

    Raises ValueError or OverflowError where an integer field has a name that is none.
    """
    if field.kind is Kind.TEXT:
        return hash_texts(names)
    return hash_ints(np.array([int(name) for name in names], dtype=np.int64))
