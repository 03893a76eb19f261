"""Numbers calculated from the fields of an event, evaluated on whole columns."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Bools, Doubles
from freshrank.feature_actors.streams.expressions.conditions import ORDER, Expression, no_condition
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns

_Binary: TypeAlias = Callable[[Any, Any], Any]

_CALCULATIONS: dict[str, _Binary] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}

_FUNCTIONS: dict[str, Callable[[Doubles], Doubles]] = {"log1p": np.log1p, "abs": np.abs}

_COMPARISONS: dict[str, _Binary] = ORDER | {"==": operator.eq, "!=": operator.ne}


class Arithmetic(ABC):
    """What can be calculated with: a field of numbers, or a number made of some."""

    @abstractmethod
    def to_number(self) -> NumberExpression:
        """The number that it stands for."""

    def log1p(self) -> NumberExpression:
        """``log(1 + x)``; missing where that is not finite."""
        return Function(self.to_number(), "log1p")

    def __abs__(self) -> NumberExpression:
        return Function(self.to_number(), "abs")

    def __add__(self, other: object) -> NumberExpression:
        return Calculation("+", self.to_number(), _operand(other))

    def __radd__(self, other: object) -> NumberExpression:
        return Calculation("+", _operand(other), self.to_number())

    def __sub__(self, other: object) -> NumberExpression:
        return Calculation("-", self.to_number(), _operand(other))

    def __rsub__(self, other: object) -> NumberExpression:
        return Calculation("-", _operand(other), self.to_number())

    def __mul__(self, other: object) -> NumberExpression:
        return Calculation("*", self.to_number(), _operand(other))

    def __rmul__(self, other: object) -> NumberExpression:
        return Calculation("*", _operand(other), self.to_number())

    def __truediv__(self, other: object) -> NumberExpression:
        return Calculation("/", self.to_number(), _operand(other))

    def __rtruediv__(self, other: object) -> NumberExpression:
        return Calculation("/", _operand(other), self.to_number())

    def __and__(self, other: object) -> NoReturn:
        raise no_condition(self)

    __or__ = __rand__ = __ror__ = __and__

    def __invert__(self) -> NoReturn:
        raise no_condition(self)

    def __neg__(self) -> NumberExpression:
        return Calculation("-", Constant(0), self.to_number())


class NumberExpression(Arithmetic):
    """A number an event: columns in, float64 out, NaN where it is missing.

    It is missing where a field that it is made of is None, and where it is not finite (a division
    by 0). Compare it with a number to get a condition, which is false where it is missing, and
    true for ``!=``.
    """

    @abstractmethod
    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""

    @abstractmethod
    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError when it does not fit the schema."""

    @abstractmethod
    def fields_read(self) -> frozenset[str]:
        """The names of the fields that it reads."""

    def to_number(self) -> NumberExpression:
        """Itself."""
        return self

    # Python wants bool of these two; Any is what both the language and a condition agree with.
    def __eq__(self, other: object) -> Any:
        return NumberComparison("==", self, _operand(other))

    def __ne__(self, other: object) -> Any:
        return NumberComparison("!=", self, _operand(other))

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: object) -> Expression:
        return NumberComparison("<", self, _operand(other))

    def __le__(self, other: object) -> Expression:
        return NumberComparison("<=", self, _operand(other))

    def __gt__(self, other: object) -> Expression:
        return NumberComparison(">", self, _operand(other))

    def __ge__(self, other: object) -> Expression:
        return NumberComparison(">=", self, _operand(other))


@dataclass(frozen=True, eq=False)
class FieldNumber(NumberExpression):
    """The values of an integer or float field."""

    name: str

    def __str__(self) -> str:
        return self.name

    def fields_read(self) -> frozenset[str]:
        """The field."""
        return frozenset([self.name])

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        return columns.number(self.name)

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown field, or one of text."""
        fields.require(self.name, place, Kind.INTEGER, Kind.NUMBER)


@dataclass(frozen=True, eq=False)
class Constant(NumberExpression):
    """The same number for every event."""

    value: float

    def __str__(self) -> str:
        return repr(self.value)

    def fields_read(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        return np.full(len(columns), self.value, dtype=np.float64)

    def check(self, fields: Fields, place: str) -> None:
        """It fits every schema."""


@dataclass(frozen=True, eq=False)
class _TwoNumbers:
    """What is made from two numbers by an operator."""

    symbol: str
    left: NumberExpression
    right: NumberExpression

    def __str__(self) -> str:
        return f"({self.left} {self.symbol} {self.right})"

    def fields_read(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.fields_read() | self.right.fields_read()

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown field, or one of text."""
        self.left.check(fields, f"{place} {self}")
        self.right.check(fields, f"{place} {self}")


@dataclass(frozen=True, eq=False)
class Calculation(_TwoNumbers, NumberExpression):
    """The sum, difference, product or quotient of two numbers."""

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        with np.errstate(all="ignore"):
            calculate = _CALCULATIONS[self.symbol]
            return _finite(calculate(self.left.evaluate(columns), self.right.evaluate(columns)))


@dataclass(frozen=True, eq=False)
class OfNumber(NumberExpression):
    """What is made from one other number."""

    inner: NumberExpression

    def fields_read(self) -> frozenset[str]:
        """Those of the number."""
        return self.inner.fields_read()

    def check(self, fields: Fields, place: str) -> None:
        """Check the number."""
        self.inner.check(fields, f"{place} {self}")


@dataclass(frozen=True, eq=False)
class Function(OfNumber):
    """``log(1 + x)`` or the absolute value of a number."""

    name: str

    def __str__(self) -> str:
        return f"{self.name}({self.inner})"

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        with np.errstate(all="ignore"):
            return _finite(_FUNCTIONS[self.name](self.inner.evaluate(columns)))


@dataclass(frozen=True, eq=False)
class Indicator(NumberExpression):
    """1 where a condition holds, else 0."""

    condition: Expression

    def __str__(self) -> str:
        return str(self.condition)

    def fields_read(self) -> frozenset[str]:
        """Those of the condition."""
        return self.condition.fields_read()

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        return self.condition.evaluate(columns).astype(np.float64)

    def check(self, fields: Fields, place: str) -> None:
        """Check the condition."""
        self.condition.check(fields, place)


@dataclass(frozen=True, eq=False)
class NumberComparison(_TwoNumbers, Expression):
    """``left op right`` for two numbers; where either is missing, only ``!=`` holds."""

    def evaluate(self, columns: FieldColumns) -> Bools:
        """bool[n]."""
        compare = _COMPARISONS[self.symbol]
        found: Bools = compare(self.left.evaluate(columns), self.right.evaluate(columns))
        return found


Numeric: TypeAlias = str | Arithmetic | Expression
"""What a definition may name as a number: a field, a calculation, a condition."""


def number_of(value: Numeric) -> NumberExpression:
    """The number that a definition names; that of a condition is 1 where it holds, else 0.

    >>> str(number_of("price") * 2)
    '(price * 2)'
    """
    if isinstance(value, str):
        return FieldNumber(value)
    return Indicator(value) if isinstance(value, Expression) else _operand(value)


def _operand(value: object) -> NumberExpression:
    if isinstance(value, Arithmetic):
        return value.to_number()
    if isinstance(value, int | float):
        return Constant(value)
    raise ConfigError(
        repr(value),
        "it cannot be calculated with",
        "Take fields of numbers, such as col.price, and constants.",
    )


def _finite(numbers: Doubles) -> Doubles:
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers
