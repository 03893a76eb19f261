"""The fields of a schema as columns, each computed when it is first wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.hashing import ABSENT, hash_ints, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Fields, Kind
from freshrank.feature_actors.streams.keys.compound_key import (
    compound_ids,
    is_compound,
    key_parts,
)


class FieldColumns(ABC):
    """``n`` lines of values: what conditions and numbers are evaluated on.

    Text and integers come out as ids (see `freshrank.actors.kernels.hashing`) or numbers; a numeric
    column is float64, whose 53 bits hold integers exactly up to 9.0e15; ids and equality use
    all 64 bits.

    What is returned belongs to the columns: it is not to be changed.
    """

    def __init__(self, fields: Fields, event_times_ms: Ints) -> None:
        self.fields = fields
        self.event_times_ms = event_times_ms
        """int64[n]."""
        self._hashed: dict[str, Ints] = {}
        self._numbers: dict[str, Doubles] = {}
        self._texts: dict[str, list[str]] = {}
        self._values: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self.event_times_ms)

    def hashed(self, name: str) -> Ints:
        """int64[n]: the ids of a text or integer field; 0 where it is None."""
        found = self._hashed.get(name)
        if found is None:
            found = self._hashed[name] = self._hash(self._field(name))
        return found

    def number(self, name: str) -> Doubles:
        """float64[n]: the values of an integer or float field; NaN where it is None."""
        found = self._numbers.get(name)
        if found is None:
            field = self._field(name)
            if field.kind is Kind.TEXT:
                raise ConfigError(name, "text is not a number", "Name a field of int or float.")
            found = self._numbers[name] = self._number(field)
        return found

    def integers(self, name: str) -> Ints:
        """int64[n]: the values of an integer field; 0 where it is None."""
        values = self.values(name)
        if self._field(name).optional:
            values = [0 if value is None else value for value in values]
        return np.array(values, dtype=np.int64)

    def text(self, name: str) -> list[str]:
        """The values of a text or integer field as strings; "" where it is None.

        Of a compound key the ids (`compound_ids`).
        """
        found = self._texts.get(name)
        if found is None:
            found = self._texts[name] = self._text(name)
        return found

    def part_texts(self, key: str) -> list[list[str]]:
        """The texts of each part of a key, which is one field or several."""
        return [self.text(part) for part in key_parts(key)]

    def values(self, name: str) -> list[Any]:
        """The values of a field as records hold them; None where there is none."""
        field = self._field(name)
        return self.read(name, optional=field.optional and "." in name)

    def read(self, path: str, *, optional: bool) -> list[Any]:
        """What lies at a path of each line; if `optional`, None where it lies in what is None."""
        found = self._values.get(path)
        if found is None:
            found = self._values[path] = self._read(path, optional=optional)
        return found

    def present(self, name: str) -> Bools:
        """bool[n]: where the field is not None."""
        if not self._field(name).optional:
            return np.ones(len(self), dtype=np.bool_)
        return np.array([value is not None for value in self.values(name)], dtype=np.bool_)

    @abstractmethod
    def _read(self, path: str, *, optional: bool) -> list[Any]:
        """See `read`."""

    def _field(self, name: str) -> Field:
        return self.fields.require(name, f"columns.{name}")

    def _number(self, field: Field) -> Doubles:
        values = self.values(field.name)
        if field.optional:
            values = [np.nan if value is None else value for value in values]
        return np.array(values, dtype=np.float64)

    def _text(self, name: str) -> list[str]:
        if is_compound(name):
            return compound_ids(self.part_texts(name))
        field, values = self._field(name), self.values(name)
        if field.optional:
            values = ["" if value is None else value for value in values]
        return values if field.kind is Kind.TEXT else [str(value) for value in values]

    def _text_ids(self, name: str) -> Ints:
        """int64[n]: the ids of texts; where there is none, of an empty one."""
        return hash_texts(self.text(name))

    def _hash(self, field: Field) -> Ints:
        if field.kind is Kind.NUMBER:
            raise ConfigError(field.name, "a float is not an id", "Name a field of str or int.")
        text = field.kind is Kind.TEXT
        ids = self._text_ids(field.name) if text else hash_ints(self.integers(field.name))
        if field.optional and not is_compound(field.name):
            ids[~self.present(field.name)] = ABSENT
        return ids


class Lines(FieldColumns):
    """The columns of structs, which are read for each."""

    def __init__(self, fields: Fields, lines: list[Any], event_times_ms: Ints) -> None:
        super().__init__(fields, event_times_ms)
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def _read(self, path: str, *, optional: bool) -> list[Any]:
        return list(map(reader(path, optional=optional), self._lines))


def reader(path: str, *, optional: bool) -> Callable[[Any], Any]:
    """Return what reads a path of a struct; None where it lies in a struct that is None, or None.

    >>> from types import SimpleNamespace as Device
    >>> reader("device.os", optional=True)(Device(device=None)) is None
    True
    """
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
