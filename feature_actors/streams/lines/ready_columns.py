"""Columns that were columns before: none is made of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Fields
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns


class ReadyColumn(Protocol):
    """The values of a field of ``n`` events, each of which is as the schema wants it.

    What each method gives is the caller's own.
    """

    def values(self) -> list[Any]:
        """They, as records hold them; None where there is none."""
        ...

    def numbers(self) -> Doubles:
        """float64[n]: of integers and floats; NaN where there is none."""
        ...

    def integers(self) -> Ints:
        """int64[n]: of integers; 0 where there is none."""
        ...

    def text_ids(self) -> Ints:
        """int64[n]: of texts, their ids; where there is none that of an empty text."""
        ...

    def present(self) -> Bools:
        """bool[n]: where there is one."""
        ...


class ReadyColumns(FieldColumns):
    """``n`` events whose fields are columns; `columns` has one for each field of the schema."""

    def __init__(
        self, fields: Fields, columns: Mapping[str, ReadyColumn], event_times_ms: Ints
    ) -> None:
        super().__init__(fields, event_times_ms)
        self._columns = columns

    def integers(self, name: str) -> Ints:
        """int64[n]: see `FieldColumns`."""
        return self._columns[self._field(name).name].integers()

    def present(self, name: str) -> Bools:
        """bool[n]: see `FieldColumns`."""
        if not self._field(name).optional or name not in self._columns:
            return super().present(name)
        return self._columns[name].present()

    def _read(self, path: str, *, optional: bool) -> list[Any]:
        return self._columns[path].values()

    def _number(self, field: Field) -> Doubles:
        return self._columns[field.name].numbers()

    def _text_ids(self, name: str) -> Ints:
        if name not in self._columns:  # a compound key
            return super()._text_ids(name)
        return self._columns[name].text_ids()
