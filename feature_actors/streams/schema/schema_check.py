"""A schema by which no record could be read is refused when it is declared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec
from msgspec import inspect

from freshrank.actors.errors import ConfigError, did_you_mean


def check_schema(struct: inspect.StructType, place: str) -> None:
    """Raise ConfigError for a field of a type that no format has, or with a default of another.

    So for one that may be `msgspec.UNSET`, at any depth.

    A default is not checked when a record is decoded: it would be a value that no event may have.

    >>> Play = msgspec.defstruct("Play", [("song", str), ("seconds", int, "none")])
    >>> check_schema(inspect.type_info(Play), "Stream('plays')")
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.ConfigError: Stream('plays').schema: the default of the field \
'seconds' is 'none': Expected `int`, got `str`. Give one of its type; where a record may lack it, \
write `| None = None`.
    """
    seen: set[object] = set()
    open_structs = [(struct, "")]
    while open_structs:
        one, within = open_structs.pop()
        if one.cls in seen:
            continue
        seen.add(one.cls)
        if not isinstance(one.cls, type):  # as `Page[int]`
            raise ConfigError(
                f"{place}.schema",
                f"{within.rstrip('.') or 'it'} is a {one.cls!r}, which is generic",
                "Declare a class without type parameters.",
            )
        annotations = {field.name: field.type for field in msgspec.structs.fields(one.cls)}
        for field in one.fields:
            name = f"{within}{field.name}"
            if _may_be_unset(annotations[field.name]):
                raise ConfigError(
                    f"{place}.schema",
                    f"the field {name!r} may be UNSET, which is no value that features know",
                    "Where a record may lack it, write `| None = None` in place of `| UnsetType`.",
                )
            for plain in _plain(field.type):
                if isinstance(plain, inspect.StructType):
                    open_structs.append((plain, f"{name}."))
                if isinstance(plain, inspect.CustomType):
                    raise ConfigError(
                        f"{place}.schema",
                        f"the field {name!r} is of {plain.cls!r}, which no format of records has",
                        "Leave it out, or take str, int, float, bool, a list or a msgspec.Struct.",
                    )
            _check_default(name, field, annotations[field.name], place)


def _check_default(name: str, field: inspect.Field, annotation: object, place: str) -> None:
    if field.required:
        return
    made = field.default_factory is not msgspec.NODEFAULT
    default: object = field.default_factory() if made else field.default
    try:
        msgspec.convert(default, annotation)
    except msgspec.ValidationError as error:
        choices = [
            value
            for plain in _plain(field.type)
            if isinstance(plain, inspect.LiteralType)
            for value in plain.values
        ]
        raise ConfigError(
            f"{place}.schema",
            f"the default of the field {name!r} is {default!r}: {error}",
            did_you_mean(default, choices, "It has:")
            if choices
            else "Give one of its type; where a record may lack it, write `| None = None`.",
        ) from error


def _may_be_unset(annotation: object) -> bool:
    return annotation is msgspec.UnsetType or any(map(_may_be_unset, get_args(annotation)))


def _plain(described: inspect.Type) -> Iterator[inspect.Type]:
    """A type, or those that it is a union, a list or a dict of."""
    if isinstance(described, inspect.UnionType):
        inner = list(described.types)
    elif isinstance(described, inspect.CollectionType):
        inner = [described.item_type]
    elif isinstance(described, inspect.TupleType):
        inner = list(described.item_types)
    elif isinstance(described, inspect.DictType):
        inner = [described.value_type]
    else:
        yield described
        return
    for one in inner:
        yield from _plain(one)
