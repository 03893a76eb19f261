"""The fields whose columns can be checked as a whole, and what is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from freshrank.feature_actors.streams.formats import Json
from freshrank.feature_actors.streams.schema.described import without_none
from freshrank.feature_actors.streams.stream import Stream

PlainType: TypeAlias = type[str] | type[int] | type[float] | type[bool]


@dataclass(frozen=True, slots=True)
class PlainField:
    """A field of an event that is a value of one of four types, within bounds."""

    name: str
    json_name: str
    type: PlainType
    optional: bool
    """Whether it may be None."""
    least: float | None = None
    """Of a number; of a text, of its length. None: there is no such bound."""
    most: float | None = None
    choices: tuple[Any, ...] = ()
    """Its possible values; (): it has no list of them."""
    default: Any = msgspec.NODEFAULT
    """What an event has that lacks it."""


def plain_fields(stream: Stream) -> list[PlainField] | None:
    """Return the fields of a stream's events; None where a column does not tell of each.

    A record is then what its fields are: it is JSON, its time an integer, its schema flat and
    without rules of its own but bounds and choices.

    >>> from freshrank.feature_actors.streams.stream import Entity
    >>> Play = msgspec.defstruct("Play", [("id", str), ("listener", str), ("at", int)])
    >>> listener = Entity("listener", key="listener")
    >>> plays = Stream("plays", id="id", time="at", key=listener, schema=Play)
    >>> [(one.name, one.least, one.most) for one in plain_fields(plays)][:2]
    [('id', 1, 256), ('listener', 1, 256)]
    """
    described = inspect.type_info(stream.event_type)
    assert isinstance(described, inspect.StructType)
    rules = described.tag is not None or described.array_like or described.forbid_unknown_fields
    own_check = hasattr(stream.event_type, "__post_init__")
    if type(stream.format) is not Json or stream.time_field.kind is not int or rules or own_check:
        return None
    known = {one.name: one for one in msgspec.structs.fields(stream.event_type)}
    found = [_plain(field, known[field.name].default) for field in described.fields]
    plain = [one for one in found if one is not None]
    return plain if len(plain) == len(found) else None


def _plain(field: inspect.Field, default: Any) -> PlainField | None:
    type_, optional = without_none(field.type)
    made = field.default_factory is not msgspec.NODEFAULT
    found = _of_type(field, type_, optional=optional, default=default)
    if found is None or made or (default is None and not optional):
        return None
    right = default is msgspec.NODEFAULT or default is None or type(default) is found.type
    return found if right else None


def _of_type(
    field: inspect.Field, described: inspect.Type, *, optional: bool, default: Any
) -> PlainField | None:
    """The field, where values of its type are plain."""

    def plain(
        type_: PlainType,
        least: float | None = None,
        most: float | None = None,
        choices: tuple[Any, ...] = (),
    ) -> PlainField:
        name, in_json = field.name, field.encode_name
        return PlainField(name, in_json, type_, optional, least, most, choices, default)

    if isinstance(described, inspect.StrType):
        length = described.min_length, described.max_length
        return None if described.pattern is not None else plain(str, *length)
    if isinstance(described, inspect.IntType | inspect.FloatType):
        others = described.gt, described.lt, described.multiple_of
        if any(one is not None for one in others):
            return None
        integer = isinstance(described, inspect.IntType)
        return plain(int if integer else float, described.ge, described.le)
    if isinstance(described, inspect.BoolType):
        return plain(bool)
    if isinstance(described, inspect.LiteralType):
        choices = tuple(described.values)
        discrete: tuple[PlainType, ...] = (str, int)
        for type_ in discrete:
            if all(type(one) is type_ for one in choices):
                return plain(type_, choices=choices)
    return None
