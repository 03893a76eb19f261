"""The constants that conditions compare fields with."""

from __future__ import annotations

import datetime
from typing import cast

import numpy as np

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.actors.kernels.hashing import hash_ints, hash_text
from freshrank.actors.messages import Bools
from freshrank.feature_actors.streams.fields import Field, Fields, Kind
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns


def equal_to(columns: FieldColumns, name: str, constant: str | int | float) -> Bools:
    """bool[n]: where the field `name` is `constant`."""
    if isinstance(constant, str):
        return np.equal(columns.hashed(name), hash_text(constant))
    if columns.fields[name].kind is Kind.INTEGER and constant == int(constant):
        return np.equal(columns.hashed(name), hash_ints(np.array([int(constant)])))
    return np.equal(columns.number(name), constant)


def check_constant(fields: Fields, name: str, constant: object, place: str) -> None:
    """Raise ConfigError for an unknown field, or a constant that it can never be."""
    kind = fields.require(name, place).kind
    if isinstance(constant, str) != (kind is Kind.TEXT):
        raise ConfigError(
            place,
            f"the field {name!r} is {kind.value.__name__}, the constant is "
            f"{type(constant).__name__}",
            "Compare with a constant of the field's type.",
        )
    _check_choice(fields[name], constant, place)
    if not isinstance(constant, str) and not -(2**63) <= cast(float, constant) < 2**63:
        raise ConfigError(place, f"{constant!r} is no 64-bit value", "Take a smaller constant.")


def constant_fix(name: str, other: object) -> str:
    """How to write a comparison with a value that is no constant."""
    if other is None:
        return f"None differs from every constant: write col.{name}.is_null()."
    if isinstance(other, datetime.date | datetime.timedelta):
        return (
            "Write a time as an integer, milliseconds since the Unix epoch: "
            "int(moment.timestamp() * 1000)."
        )
    return "Write a str, int, float or bool on the right."


def _check_choice(field: Field, constant: object, place: str) -> None:
    """Raise ConfigError when a field can never be `constant`."""
    if field.choices and constant not in field.choices:
        fix = did_you_mean(constant, field.choices, "It is one of:")
        raise ConfigError(place, f"the field {field.name!r} is never {constant!r}", fix)
