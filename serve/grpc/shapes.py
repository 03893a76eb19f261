"""The shapes of protobuf messages, made from the types that REST decodes and encodes.

===========================================  ===================================================
in JSON                                      in protobuf
===========================================  ===================================================
an object with known fields                  a message; each of its fields knows whether it is set
a text, integer, number, bool                ``string``, ``int64``, ``double``, ``bool``
a list, an object with any names             ``repeated``, ``map<string, ...>``
null, and a field that is not there          a field that is not set
null in a list of numbers                    NaN, which JSON does not have
null, a list or a map inside those           a message around it (``OptionalDouble``, ``IntList``)
what may be of several types                 ``Value``, in which integers stay integers
===========================================  ===================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, TypeGuard

import msgspec
from msgspec import inspect

from freshrank.serve.grpc.field_names import field_numbers, identifiers_of


class Scalar(Enum):
    """A type of protobuf, as its language writes it."""

    BOOL = "bool"
    INT = "int64"
    DOUBLE = "double"
    STRING = "string"

    @property
    def label(self) -> str:
        """As a part of the name of a message."""
        return self.name.capitalize()


@dataclass(slots=True, eq=False)
class Message:
    """A message; `fields` are added after it is known by its name, as it may contain itself."""

    name: str
    about: str = ""
    fields: list[MessageField] = field(default_factory=list)
    boxed: bool = False
    """Whether it only wraps the value of its single field, which JSON has without it."""

    @property
    def label(self) -> str:
        """As a part of the name of another message."""
        return self.name


Kind: TypeAlias = Scalar | Message


@dataclass(frozen=True, slots=True)
class MessageField:
    """A field of a message."""

    name: str
    """In JSON."""
    identifier: str
    """In protobuf, where not every name is allowed."""
    number: int
    kind: Kind
    many: Literal["one", "list", "map"] = "one"
    nulls: bool = False
    """Whether a NaN among its numbers stands for null."""
    always: bool = False
    """Whether JSON has an empty list or map, or null, where the message has nothing."""


def _value() -> Message:
    """The message of anything that JSON may be."""
    value = Message("Value", "Anything that JSON may be; integers are those of 64 bits.")
    several = Message("ValueList", boxed=True)
    named = Message("ValueMap", boxed=True)
    several.fields.append(MessageField("values", "values", 1, value, "list"))
    named.fields.append(MessageField("entries", "entries", 1, value, "map"))
    kinds: list[tuple[str, Kind]] = [
        ("null", Scalar.BOOL),
        ("bool", Scalar.BOOL),
        ("int", Scalar.INT),
        ("double", Scalar.DOUBLE),
        ("string", Scalar.STRING),
        ("list", several),
        ("map", named),
    ]
    value.fields += [
        MessageField(name, f"{name}_value", number, kind)
        for number, (name, kind) in enumerate(kinds, 1)
    ]
    return value


VALUE: Final = _value()
"""The message of a value of several types: a single field is set, or none for null."""


class Shapes:
    """Makes the messages of types, each once; messages of the same name are of the same type.

    >>> class Item(msgspec.Struct):
    ...     id: int | str
    ...     price: float | None = None
    ...     tags: list[str] = []
    >>> for one in Shapes().of(Item).fields:
    ...     print(one.name, one.many, one.kind.label)
    id one Value
    price one Double
    tags list String
    """

    def __init__(self) -> None:
        several, named = VALUE.fields[5].kind, VALUE.fields[6].kind
        assert isinstance(several, Message) and isinstance(named, Message)
        self.messages = {one.name: one for one in (VALUE, several, named)}
        """By name, all that were made."""
        self._made: dict[type, Message] = {}

    def of(self, kind: type[msgspec.Struct]) -> Message:
        """The message of a type."""
        found = inspect.type_info(kind)
        assert isinstance(found, inspect.StructType)
        return self._struct(found)

    def named(self, name: str, about: str, fields: Mapping[str, tuple[Any, bool]]) -> Message:
        """A message of its own: by name, the type of each field, and whether it is required."""
        message = self._added(Message(self._free(name), about))
        infos = ((one, inspect.type_info(kind), needed) for one, (kind, needed) in fields.items())
        self._fill(message, [_Given(one, info, needed, needed) for one, info, needed in infos])
        return message

    def _struct(self, info: inspect.StructType) -> Message:
        known = self._made.get(info.cls)
        if known is not None:
            return known
        about = (info.cls.__doc__ or "").partition("\n")[0]
        message = self._added(Message(self._free(info.cls.__name__), about))
        self._made[info.cls] = message
        self._fill(
            message,
            [
                _Given(one.encode_name, one.type, one.required, one.required or one.default is None)
                for one in info.fields
            ],
        )
        return message

    def _fill(self, message: Message, given: Iterable[_Given]) -> None:
        given = list(given)
        numbers = field_numbers([one.name for one in given])
        identifiers = identifiers_of([one.name for one in given])
        message.fields += [
            self._field(one, identifiers[one.name], numbers[one.name]) for one in given
        ]

    def _field(self, given: _Given, identifier: str, number: int) -> MessageField:
        info, nullable = _without_null(given.info)
        place = given.name, identifier, number
        if nullable and not given.null_is_absence:
            return MessageField(*place, VALUE)
        if isinstance(info, inspect.ListType):
            kind, nulls = self._element(info.item_type)
            return MessageField(*place, kind, "list", nulls, given.required)
        if _is_map(info):
            kind, nulls = self._element(info.value_type)
            return MessageField(*place, kind, "map", nulls, given.required)
        return MessageField(*place, self._kind(info), always=given.required and nullable)

    def _element(self, info: inspect.Type) -> tuple[Kind, bool]:
        """The kind of what stands in a list or map, and whether NaN stands for null there."""
        info, nullable = _without_null(info)
        if isinstance(info, inspect.ListType):
            inner, nulls = self._element(info.item_type)
            kind: Kind = self._box("List", "values", inner, nulls, "list")
        elif _is_map(info):
            inner, nulls = self._element(info.value_type)
            kind = self._box("Map", "entries", inner, nulls, "map")
        else:
            kind = self._kind(info)
        if not nullable or kind is VALUE:
            return kind, False
        if kind is Scalar.DOUBLE:
            return kind, True
        return self._box("Optional", "value", kind, False, "one"), False

    def _box(
        self,
        around: str,
        name: str,
        kind: Kind,
        nulls: bool,
        many: Literal["one", "list", "map"],
    ) -> Message:
        label = f"Nullable{kind.label}" if nulls else kind.label
        title = f"Optional{label}" if many == "one" else f"{label}{around}"
        known = self.messages.get(title)
        if known is not None and known.boxed:
            return known
        inside = MessageField(name, name, 1, kind, many, nulls)
        return self._added(Message(self._free(title), fields=[inside], boxed=True))

    def _kind(self, info: inspect.Type) -> Kind:
        if isinstance(info, inspect.StructType):
            return VALUE if info.array_like or info.tag is not None else self._struct(info)
        if isinstance(info, inspect.LiteralType):
            texts = all(isinstance(value, str) for value in info.values)
            return Scalar.STRING if texts else VALUE
        return _SCALARS.get(type(info), VALUE)

    def _added(self, message: Message) -> Message:
        self.messages[message.name] = message
        return message

    def _free(self, name: str) -> str:
        """`name`, or with a number behind it where another message has it."""
        found, number = name, 2
        while found in self.messages:
            found, number = f"{name}{number}", number + 1
        return found


@dataclass(frozen=True, slots=True)
class _Given:
    """A field of a type."""

    name: str
    info: inspect.Type
    required: bool
    null_is_absence: bool
    """Whether null, where it is allowed, says the same as no value."""


_SCALARS: Mapping[type[inspect.Type], Scalar] = {
    inspect.BoolType: Scalar.BOOL,
    inspect.IntType: Scalar.INT,
    inspect.FloatType: Scalar.DOUBLE,
    inspect.StrType: Scalar.STRING,
}


def _without_null(info: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without notes and null, and whether it allows null."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if not isinstance(info, inspect.UnionType):
        return info, False
    others = [one for one in info.types if not isinstance(one, inspect.NoneType)]
    nullable = len(others) < len(info.types)
    if len(others) > 1:
        return inspect.UnionType(tuple(others)), nullable
    return _without_null(others[0])[0], nullable


def _is_map(info: inspect.Type) -> TypeGuard[inspect.DictType]:
    return isinstance(info, inspect.DictType) and isinstance(
        _without_null(info.key_type)[0], inspect.StrType
    )
