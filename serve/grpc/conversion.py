"""From protobuf's messages to what JSON would be decoded to, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

from freshrank.serve.api.responses import Json
from freshrank.serve.grpc.shapes import VALUE, Kind, Message, MessageField, Scalar

Reader: TypeAlias = Callable[[Any], Json]
"""Takes a message, or a value of one."""
Writer: TypeAlias = Callable[[Any], Any]
"""Gives what the constructors of messages take: dicts for messages inside."""

_INTEGERS = range(-(2**63), 2**63)


class Readers:
    """Makes the functions that read messages, each once."""

    def __init__(self) -> None:
        self._made: dict[str, Reader] = {VALUE.name: _read_value}

    def of(self, shape: Message) -> Reader:
        """The function that reads messages of a shape.

        Fields that the message does not have are not there, but for those that JSON always has.
        Names in maps are in their order, so that the same message gives the same JSON.
        """
        known = self._made.get(shape.name)
        if known is None and _is_flat(shape):
            known = self._made[shape.name] = partial(
                _read_flat,
                {field.name: field for field in shape.fields},
                attrgetter(*(field.identifier for field in shape.fields)),
            )
        if known is None:
            # A message may contain itself: what is made of its fields finds this function.
            fields: dict[int, tuple[str, Reader | None]] = {}
            empty: dict[str, Json] = {}
            read = _read_box if shape.boxed else _read_struct
            known = self._made[shape.name] = partial(read, fields, empty)
            for field in shape.fields:
                fields[field.number] = field.name, self._value_reader(field)
                if field.always or (shape.boxed and field.many != "one"):
                    empty[field.name] = _EMPTY[field.many]
        return known

    def _value_reader(self, field: MessageField) -> Reader | None:
        read = self._kind_reader(field.kind)
        if field.many == "one":
            return read
        if field.nulls:
            read = _null_of_nan
        return partial(_read_list if field.many == "list" else _read_map, read)

    def _kind_reader(self, kind: Kind) -> Reader | None:
        return self.of(kind) if isinstance(kind, Message) else None


class Writers:
    """Makes the functions that write messages, each once; None: a value is written as it is."""

    def __init__(self) -> None:
        self._made: dict[str, Writer] = {VALUE.name: _write_value}

    def of(self, shape: Message) -> Writer:
        """The function that gives the arguments of a message of a shape, by their names."""
        known = self._made.get(shape.name)
        if known is None:
            fields: dict[str, tuple[str, Writer | None]] = {}
            known = partial(_write_box, fields) if shape.boxed else partial(_write_struct, fields)
            self._made[shape.name] = known
            for field in shape.fields:
                fields[field.name] = field.identifier, self._value_writer(field)
        return known

    def _value_writer(self, field: MessageField) -> Writer | None:
        if field.nulls and field.many == "list":
            return _nans_of_nulls
        write = _nan_of_null if field.nulls else self._kind_writer(field.kind)
        if field.many == "one" or write is None:
            return write
        return partial(_write_list if field.many == "list" else _write_map, write)

    def _kind_writer(self, kind: Kind) -> Writer | None:
        return self.of(kind) if isinstance(kind, Message) else None


_EMPTY: Mapping[str, Json] = {"one": None, "list": [], "map": {}}


def _is_flat(shape: Message) -> bool:
    """Whether a message has only scalars, and several of them."""
    return len(shape.fields) > 1 and all(
        field.many == "one" and isinstance(field.kind, Scalar) for field in shape.fields
    )


def _read_flat(
    fields: Mapping[str, MessageField], values_of: Callable[[Any], tuple[Json, ...]], message: Any
) -> Json:
    """Read a message of scalars, of which a request has hundreds, at half the cost of the others.

    What is not set is 0, false or an empty text: only of such values it is asked whether they are.
    """
    values = values_of(message)
    found = dict(zip(fields, values, strict=True))
    if not all(values):
        for name, field in fields.items():
            if not found[name] and not message.HasField(field.identifier):
                if field.always:
                    found[name] = None
                else:
                    del found[name]
    return found


def _read_struct(
    fields: Mapping[int, tuple[str, Reader | None]], empty: Mapping[str, Json], message: Any
) -> Json:
    found = {}
    for descriptor, value in message.ListFields():
        name, read = fields[descriptor.number]
        found[name] = value if read is None else read(value)
    for name, value in empty.items():
        found.setdefault(name, value)
    return found


def _read_box(
    fields: Mapping[int, tuple[str, Reader | None]], empty: Mapping[str, Json], message: Any
) -> Json:
    for value in _read_struct(fields, empty, message).values():
        return value
    return None


def _read_list(read: Reader | None, values: Any) -> list[Json]:
    return list(values) if read is None else [read(value) for value in values]


def _read_map(read: Reader | None, values: Any) -> dict[str, Json]:
    return {name: values[name] if read is None else read(values[name]) for name in sorted(values)}


def _read_value(message: Any) -> Json:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "list_value":
        return _read_list(_read_value, value.values)
    return _read_map(_read_value, value.entries) if kind == "map_value" else value


def _null_of_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan_of_null(value: float | None) -> float:
    return math.nan if value is None else value


def _nans_of_nulls(values: list[float | None]) -> list[Any]:
    return [*map(_nan_of_null, values)] if None in values else values


def _write_struct(
    fields: Mapping[str, tuple[str, Writer | None]], values: Mapping[str, Json]
) -> dict[str, Any]:
    made = {}
    for name, value in values.items():
        identifier, write = fields[name]
        if write is _write_value or value is not None:
            made[identifier] = value if write is None else write(value)
    return made


def _write_box(fields: Mapping[str, tuple[str, Writer | None]], value: Json) -> dict[str, Any]:
    for identifier, write in fields.values():
        if value is not None:
            return {identifier: value if write is None else write(value)}
    return {}


def _write_list(write: Writer, values: list[Json]) -> list[Any]:
    return [write(value) for value in values]


def _write_map(write: Writer, values: Mapping[str, Json]) -> dict[str, Any]:
    return {name: write(value) for name, value in values.items()}


def _write_value(value: Json) -> dict[str, Any]:
    if value is None:
        return {"null_value": True}
    if isinstance(value, list):
        return {"list_value": {"values": _write_list(_write_value, value)}}
    if isinstance(value, dict):
        return {"map_value": {"entries": _write_map(_write_value, value)}}
    if isinstance(value, int) and value not in _INTEGERS:
        return {"double_value": float(value)}
    return {_PLAIN[type(value)]: value}


_PLAIN: Mapping[type, str] = {
    bool: "bool_value",
    int: "int_value",
    float: "double_value",
    str: "string_value",
}
