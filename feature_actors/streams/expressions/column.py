"""`col`: the fields of an event, as conditions and calculations are written with them.

>>> str((col.type == "order") & (col.price * col.quantity > 10))
"((type == 'order') & ((price * quantity) > 10))"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from freshrank.actors.errors import ConfigError, nearest
from freshrank.feature_actors.streams.expressions.conditions import (
    Comparison,
    Expression,
    Membership,
    NullTest,
)
from freshrank.feature_actors.streams.expressions.constants import constant_fix
from freshrank.feature_actors.streams.expressions.numbers import (
    Arithmetic,
    FieldNumber,
    NumberComparison,
    NumberExpression,
)


class Column(Arithmetic):
    """A field by name: compare it with a constant or another to get a condition.

    Fields of numbers are calculated with, too: ``col.price * col.quantity``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"col.{self._name}"

    # Python wants bool of these two; Any is what both the language and a condition agree with.
    def __eq__(self, other: object) -> Any:
        return self._compare("==", other)

    def __ne__(self, other: object) -> Any:
        return self._compare("!=", other)

    def __hash__(self) -> int:
        return hash(self._name)

    def __lt__(self, other: object) -> Expression:
        return self._compare("<", other)

    def __le__(self, other: object) -> Expression:
        return self._compare("<=", other)

    def __gt__(self, other: object) -> Expression:
        return self._compare(">", other)

    def __ge__(self, other: object) -> Expression:
        return self._compare(">=", other)

    def __getattr__(self, name: str) -> Column:
        """A field of the struct that this field holds: ``col.device.os``."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Column(f"{self._name}.{name}")

    def __call__(self, *_: object) -> NoReturn:
        """No field can be called: this is a method that does not exist."""
        raise ConfigError(
            f"col.{self._name}(...)",
            "there is no such method",
            f"{_nearest(self._name)}There are isin, is_null and log1p; and, of freshrank, "
            "bucket, day_of_week and hour_of_day.",
        )

    def isin(self, constants: Sequence[str] | Sequence[int]) -> Expression:
        """Whether the field is one of `constants`."""
        if isinstance(constants, str):
            raise ConfigError(
                f"col.{self._name}.isin", f"{constants!r} is a string", f'Write ["{constants}"].'
            )
        return Membership(self._name, tuple(constants))

    def is_null(self) -> Expression:
        """Whether the field is None; ``~col.x.is_null()`` is whether it has a value."""
        return NullTest(self._name)

    def to_number(self) -> NumberExpression:
        """The values of the field, which is one of numbers."""
        return FieldNumber(self._name)

    def _compare(self, symbol: str, other: object) -> Expression:
        if isinstance(other, Arithmetic):
            return NumberComparison(symbol, self.to_number(), other.to_number())
        if not isinstance(other, str | int | float):
            raise ConfigError(
                f"col.{self._name} {symbol} {other!r}",
                "a field can be compared with constants and other fields only",
                constant_fix(self._name, other),
            )
        return Comparison(self._name, symbol, other)


def _nearest(name: str) -> str:
    """The method that was meant by the last part of `name`, as a question; "" if none is near."""
    called = name.rpartition(".")[2]
    near = nearest(called, ["isin", "is_null", "log1p"])
    return f"Did you mean {near!r}? " if near else ""


class _Namespace:
    """``col.price`` is the field `price`."""

    def __getattr__(self, name: str) -> Column:
        if name.startswith("__"):
            raise AttributeError(name)
        return Column(name)


col = _Namespace()
