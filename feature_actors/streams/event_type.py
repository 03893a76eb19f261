"""The type that events are decoded to: a stream's schema, with the rules that every stream has."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from freshrank.actors.records import LONGEST_KEY
from freshrank.feature_actors.streams.schema.described import LISTS, within_itself
from freshrank.feature_actors.streams.schema.described import (
    without_none as described_without_none,
)


def event_type(
    schema: type[msgspec.Struct], time: str, names: Collection[str], *, closed: bool = False
) -> type[msgspec.Struct]:
    """A subclass of `schema` that checks the rules, and without garbage collection.

    An integer has at most 64 bits, also in structs and lists that the event holds; the field `time`
    is not negative; and the text fields `names` (event id and key) have 1 to `LONGEST_KEY`
    characters.
    Stricter rules of the schema stay. A `closed` type has no fields but the schema's: others are an
    error, also in structs.

    Decoded events have no cycles, and the collector would walk the ten thousand of a batch again
    and again.

    >>> class Play(msgspec.Struct):
    ...     listener: str
    ...     at: int
    >>> msgspec.json.decode(b'{"listener": "", "at": 5}', type=event_type(Play, "at", ["listener"]))
    Traceback (most recent call last):
    ...
    msgspec.ValidationError: Expected `str` of length >= 1 - at `$.listener`
    """
    return _Rules(time, names, closed).struct(schema)


# The least integer of 64 bits.
_LEAST = -(2**63)


class _Rules:
    """Makes structs with the rules, one for each struct that a schema holds."""

    def __init__(self, time: str, names: Collection[str], closed: bool) -> None:
        self._time = time
        self._names = names
        self._closed = closed
        self._made: dict[type, type[msgspec.Struct]] = {}
        self._taken: set[str] = set()

    def struct(self, schema: type[msgspec.Struct], *, inner: bool = False) -> type[msgspec.Struct]:
        """The subclass of `schema` with the rules on its fields, and on the structs in it."""
        if schema not in self._made:
            described = inspect.type_info(schema)
            assert isinstance(described, inspect.StructType)
            name = self._name(schema.__name__)
            fields: list[tuple[str, Any, Any]] = []
            both = zip(msgspec.structs.fields(schema), described.fields, strict=True)
            for field, known in both:
                ruled = self._field(field, known.type, inner=inner)
                if ruled is not None:
                    fields.append((field.name, ruled, default_of(field)))
            self._made[schema] = msgspec.defstruct(
                name,
                fields,
                bases=(schema,),
                gc=False,
                kw_only=True,
                forbid_unknown_fields=self._closed
                or schema.__struct_config__.forbid_unknown_fields,
            )
        return self._made[schema]

    def _name(self, name: str) -> str:
        """A name that no other struct has: a schema in JSON tells structs apart by their names."""
        number = 1
        numbered = name
        while numbered in self._taken:
            number += 1
            numbered = f"{name}{number}"
        self._taken.add(numbered)
        return numbered

    def _field(
        self, field: msgspec.structs.FieldInfo, described: inspect.Type, *, inner: bool
    ) -> Any:
        """The type of a field with its rules; None where there are none."""
        least = 0 if field.name == self._time and not inner else _LEAST
        return self._type(
            field.type, described, least, named=field.name in self._names and not inner
        )

    def _type(self, annotation: Any, described: inspect.Type, least: int, *, named: bool) -> Any:
        """The type that `annotation` is with the rules; None where there are none."""
        plain, optional = described_without_none(described)
        if isinstance(plain, LISTS):
            made = self._list(_first_argument(annotation), plain)
            return made | None if optional and made is not None else made
        if isinstance(plain, inspect.StructType):
            if within_itself(plain):  # features cannot use its fields
                return None
            struct = self.struct(plain.cls, inner=True)
            return struct | None if optional else struct
        rules = _rules(plain, least, named=named)
        return None if rules is None else _ruled(annotation, rules)

    def _list(self, inner: Any, described: inspect.ListType | inspect.VarTupleType) -> Any:
        """The type of a list of `inner`, with the rules on its elements."""
        element = self._type(inner, described.item_type, _LEAST, named=False)
        if element is None:
            return None
        of: Any = list if isinstance(described, inspect.ListType) else tuple
        made = of[element] if of is list else of[element, ...]
        bounds = msgspec.Meta(min_length=described.min_length, max_length=described.max_length)
        return Annotated[made, bounds]


def _rules(described: inspect.Type, least: int, *, named: bool) -> msgspec.Meta | None:
    """The rules of a field in addition to its type, where that is not stricter itself."""
    if isinstance(described, inspect.IntType):
        unbounded_below = described.ge is None and described.gt is None
        unbounded_above = described.le is None and described.lt is None
        return msgspec.Meta(
            ge=least if unbounded_below else None, le=2**63 - 1 if unbounded_above else None
        )
    if isinstance(described, inspect.StrType) and named:
        return msgspec.Meta(
            min_length=described.min_length or 1, max_length=described.max_length or LONGEST_KEY
        )
    return None


def _ruled(annotation: Any, rules: msgspec.Meta) -> Any:
    """The type with the rules on it, or on the integer of an optional one."""
    if get_origin(annotation) not in (Union, UnionType):
        return Annotated[annotation, rules]
    members = [
        member if member is NoneType else Annotated[member, rules]
        for member in get_args(annotation)
    ]
    return reduce(or_, members)


def without_none(annotation: Any) -> Any:
    """The type without its None.

    >>> without_none(int | None)
    <class 'int'>
    """
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return reduce(or_, [one for one in get_args(annotation) if one is not NoneType])


def _first_argument(annotation: Any) -> Any:
    """What a list is of, by its annotation."""
    plain = without_none(annotation)
    if get_origin(plain) is Annotated:
        plain, *_ = get_args(plain)
    return get_args(plain)[0] if get_args(plain) else Any


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """The name in JSON and the default of a field, as `msgspec.defstruct` takes them."""
    name = field.encode_name
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default=field.default, name=name)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory, name=name)
    return msgspec.field(name=name)
