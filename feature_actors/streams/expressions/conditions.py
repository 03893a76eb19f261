"""Conditions on the fields of an event, evaluated on whole columns."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Bools
from freshrank.feature_actors.streams.expressions.constants import check_constant, equal_to
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns

ORDER: dict[str, Callable[[Any, Any], Bools]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Expression(ABC):
    """A condition: columns in, one truth value an event out. Combine with ``&``, ``|``, ``~``."""

    @abstractmethod
    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]: for which events it holds."""

    @abstractmethod
    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError when it does not fit the schema."""

    @abstractmethod
    def fields_read(self) -> frozenset[str]:
        """The names of the fields that it reads."""

    def __and__(self, other: Expression) -> Expression:
        return Combination("&", self, _condition(other))

    def __or__(self, other: Expression) -> Expression:
        return Combination("|", self, _condition(other))

    def __rand__(self, other: object) -> NoReturn:
        raise no_condition(other)

    def __ror__(self, other: object) -> NoReturn:
        raise no_condition(other)

    def __invert__(self) -> Expression:
        return Negation(self)

    def __bool__(self) -> NoReturn:
        raise ConfigError(
            str(self),
            "a condition has no truth value before there are events",
            "Combine conditions with &, |, ~ and brackets (not and, or, not, in, a < b < c).",
        )


@dataclass(frozen=True, eq=False)
class Comparison(Expression):
    """``field op constant``; text is compared by its hash. None differs from every constant."""

    name: str
    symbol: str
    constant: str | int | float

    def __str__(self) -> str:
        return f"({self.name} {self.symbol} {self.constant!r})"

    def fields_read(self) -> frozenset[str]:
        """The field."""
        return frozenset([self.name])

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        if self.symbol in ORDER:
            return ORDER[self.symbol](columns.number(self.name), self.constant)
        equal = equal_to(columns, self.name, self.constant)
        return ~equal if self.symbol == "!=" else equal

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown field or a constant of another type."""
        where = f"{place} {self}"
        if self.symbol in ORDER:
            fields.require(self.name, where, Kind.INTEGER, Kind.NUMBER)
        check_constant(fields, self.name, self.constant, where)


@dataclass(frozen=True, eq=False)
class Membership(Expression):
    """``field`` is one of some constants."""

    name: str
    constants: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"({self.name} in {list(self.constants)!r})"

    def fields_read(self) -> frozenset[str]:
        """The field."""
        return frozenset([self.name])

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        found = np.zeros(len(columns), dtype=np.bool_)
        for constant in self.constants:
            found |= equal_to(columns, self.name, constant)
        return found

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown field, no constants or one of another type."""
        where = f"{place} {self}"
        if len(self.constants) == 0:
            raise ConfigError(where, "nothing is in an empty list", "Name at least one value.")
        for constant in self.constants:
            check_constant(fields, self.name, constant, where)


@dataclass(frozen=True, eq=False)
class NullTest(Expression):
    """``field`` is None: it is missing, or null in the record."""

    name: str

    def __str__(self) -> str:
        return f"({self.name} is null)"

    def fields_read(self) -> frozenset[str]:
        """The field."""
        return frozenset([self.name])

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        return ~columns.present(self.name)

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown field, or one that is never None."""
        where = f"{place} {self}"
        if not fields.require(self.name, where).optional:
            raise ConfigError(
                where,
                f"the field {self.name!r} is never None",
                "Declare it as one that may be, as in `str | None = None`. A condition that holds "
                'for every event is that an id is not empty: `col.id != ""`.',
            )


@dataclass(frozen=True, eq=False)
class Combination(Expression):
    """Two conditions joined by ``&`` or ``|``."""

    symbol: str
    left: Expression
    right: Expression

    def __str__(self) -> str:
        return f"({self.left} {self.symbol} {self.right})"

    def fields_read(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.fields_read() | self.right.fields_read()

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        left, right = self.left.evaluate(columns), self.right.evaluate(columns)
        return left & right if self.symbol == "&" else left | right

    def check(self, fields: Fields, place: str) -> None:
        """Check both sides."""
        self.left.check(fields, place)
        self.right.check(fields, place)
        wanted: dict[str, object] = {}
        for name, value in _wanted(self):
            if wanted.setdefault(name, value) != value:
                raise ConfigError(
                    f"{place} {self}",
                    f"the field {name!r} is never {wanted[name]!r} and {value!r}",
                    "Combine them with |, or use isin.",
                )


@dataclass(frozen=True, eq=False)
class Negation(Expression):
    """The opposite of a condition."""

    inner: Expression

    def __str__(self) -> str:
        return f"(~{self.inner})"

    def fields_read(self) -> frozenset[str]:
        """Those of the inner condition."""
        return self.inner.fields_read()

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        return ~self.inner.evaluate(columns)

    def check(self, fields: Fields, place: str) -> None:
        """Check what is negated."""
        self.inner.check(fields, place)


def no_condition(value: object) -> ConfigError:
    """The error about `value` beside ``&`` or ``|``, which Python takes before a comparison."""
    return ConfigError(
        repr(value) if isinstance(value, str) else str(value),
        "it is not a condition, and is combined with & or |",
        "Put brackets round each comparison, as in (col.price > 5) & (col.gift == True).",
    )


def _condition(value: object) -> Expression:
    if not isinstance(value, Expression):
        raise no_condition(value)
    return value


def _wanted(condition: Expression) -> Iterator[tuple[str, object]]:
    """The fields that have to be one value for `condition` to hold, each with the value."""
    if isinstance(condition, Combination) and condition.symbol == "&":
        yield from _wanted(condition.left)
        yield from _wanted(condition.right)
    elif isinstance(condition, Comparison) and condition.symbol == "==":
        yield condition.name, condition.constant
    elif isinstance(condition, NullTest):
        yield condition.name, None
