"""A batch of decoded events as columns, each computed when it is first wanted.

What an event has once are the `Columns` of the events; what it has any number of times, in a list,
are the `Elements` of the list, with a line for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.kernels.hashing import hash_ints, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Fields, Kind
from freshrank.feature_actors.streams.keys.compound_key import PartFaults, part_faults
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns, Lines, reader


class Columns(FieldColumns):
    """``n`` events of one stream in log order.

    They are some of the events of `source`, which computes each column once for all parts of it
    that want the column.
    """

    def __init__(
        self, source: FieldColumns, offsets: Ints, which: Ints | slice = slice(None)
    ) -> None:
        super().__init__(source.fields, source.event_times_ms[which])
        self.offsets = offsets
        """int64[n]."""
        self.log_ms = self.event_times_ms
        """int64[n]: when each record reached the log (`state.log_clock`), once that is known."""
        self.clock_ms = self.event_times_ms
        """int64[n]: the log's clock just after each record, once that is known."""
        self._source, self._which = source, which

    @classmethod
    def of_events(
        cls,
        fields: Fields,
        events: list[msgspec.Struct],
        offsets: Ints,
        event_times_ms: Ints,
    ) -> Columns:
        """The columns of decoded events."""
        return cls(Lines(fields, events, event_times_ms), offsets)

    def hashed(self, name: str) -> Ints:
        """int64[n]: see `FieldColumns`."""
        found = self._hashed.get(name)
        if found is None:
            found = self._hashed[name] = self._source.hashed(name)[self._which]
        return found

    def number(self, name: str) -> Doubles:
        """float64[n]: see `FieldColumns`."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = self._source.number(name)[self._which]
        return found

    def integers(self, name: str) -> Ints:
        """int64[n]: see `FieldColumns`."""
        return self._source.integers(name)[self._which]

    def present(self, name: str) -> Bools:
        """bool[n]: see `FieldColumns`."""
        return self._source.present(name)[self._which]

    def part_faults(self, key: str) -> PartFaults:
        """Which events name no entity of this key."""
        return part_faults(self.part_texts(key))

    def elements(self, each: str) -> Elements:
        """The elements of the list `each` of all events."""
        return Elements(self, each, [one or _NOTHING for one in self.read(each, optional=True)])

    def take(self, indices: Ints) -> Columns:
        """The events at `indices` int64[m]."""
        return self._part(indices)

    def between(self, begin: int, end: int) -> Columns:
        """The events with ``begin <= index < end``; all share memory with these columns."""
        if begin == 0 and end >= len(self):
            return self
        return self._part(slice(begin, min(end, len(self))))

    def at(self, offsets: Ints) -> Columns:
        """The same events at other offsets int64[n], with the times that they have themselves."""
        return Columns(self._source, offsets, self._which)

    def _part(self, which: Ints | slice) -> Columns:
        part = Columns(self._source, self.offsets[which], _within(self._which, which))
        part.event_times_ms = self.event_times_ms[which]
        part.log_ms, part.clock_ms = self.log_ms[which], self.clock_ms[which]
        return part

    def _read(self, path: str, *, optional: bool) -> list[Any]:
        return self._some(self._source.read(path, optional=optional))

    def _text(self, name: str) -> list[str]:
        return self._some(self._source.text(name))

    def _some(self, values: list[Any]) -> list[Any]:
        """Those of the source's `values` that belong to these events."""
        if isinstance(self._which, slice):
            return values[self._which]
        return [values[place] for place in self._which.tolist()]


def _within(outer: Ints | slice, inner: Ints | slice) -> Ints | slice:
    """The places that `inner` has in what lies at `outer`.

    >>> _within(slice(3, 9), slice(1, 4)), _within(slice(3, 9), np.array([0, 5]))
    (slice(4, 7, None), array([3, 8]))
    """
    if not isinstance(outer, slice):
        return outer[inner]
    begin = outer.start or 0
    if isinstance(inner, slice):
        return slice(begin + inner.start, begin + inner.stop)
    return inner + begin


def joined(parts: Sequence[Columns]) -> Columns:
    """The events of all `parts`, at least one, one part after the other."""
    offsets = np.concatenate([one.offsets for one in parts])
    return Columns(_Joined(parts), offsets)


class _Joined(FieldColumns):
    """Columns of several parts, each of which is computed in its own way."""

    def __init__(self, parts: Sequence[Columns]) -> None:
        times = np.concatenate([one.event_times_ms for one in parts])
        super().__init__(parts[0].fields, times)
        self._parts = parts

    def integers(self, name: str) -> Ints:
        return np.concatenate([one.integers(name) for one in self._parts])

    def present(self, name: str) -> Bools:
        return np.concatenate([one.present(name) for one in self._parts])

    def _read(self, path: str, *, optional: bool) -> list[Any]:
        return list(chain(*(one.read(path, optional=optional) for one in self._parts)))

    def _number(self, field: Field) -> Doubles:
        return np.concatenate([one.number(field.name) for one in self._parts])

    def _text(self, name: str) -> list[str]:
        return list(chain(*(one.text(name) for one in self._parts)))

    def _hash(self, field: Field) -> Ints:
        return np.concatenate([one.hashed(field.name) for one in self._parts])


class Elements(Lines):
    """The elements of the list `each` of some events, in order: a line for each.

    An event without an element, or without the list, has a line of nothing. What an event has once
    is the same on all lines of its elements.

    >>> Item = msgspec.defstruct("Item", [("price", float)])
    >>> Order = msgspec.defstruct("Order", [("shop", str), ("items", list[Item])])
    >>> fields = Fields(Order, "orders")
    >>> orders = [Order("a", [Item(2.0), Item(3.0)]), Order("b", [])]
    >>> items = Columns.of_events(fields, orders, np.arange(2), np.arange(2)).elements("items")
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
        return list(map(reader(path, optional=field.optional), self._lines))

    def _field(self, name: str) -> Field:
        """A line of nothing has no value."""
        field = super()._field(name)
        return replace(field, optional=True) if field.each and len(self.blank) else field


_NOTHING: Sequence[Any] = (None,)
"""The elements of an event that has none: one line."""


def entity_ids(field: Field, names: Sequence[str]) -> Ints:
    """int64[n]: the ids of entities by their names, as `Columns.hashed` gives them for `field`.

    Raises ValueError or OverflowError where an integer field has a name that is none.
    """
    if field.kind is Kind.TEXT:
        return hash_texts(names)
    return hash_ints(np.array([int(name) for name in names], dtype=np.int64))
