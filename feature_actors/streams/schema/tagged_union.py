"""Streams whose events are of several kinds: a union of tagged structs, read as one struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import inspect

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.schema.described import without_none

_NO_DEFAULT = msgspec.NODEFAULT


class _KindRules(NamedTuple):
    """What distinguishes the events of one kind, in a struct that has the fields of all kinds."""

    needed: Sequence[tuple[str, str]]
    """The fields without which there is no such event, in Python and in JSON."""
    own: Sequence[str]
    """The fields of this kind, in JSON."""
    foreign: Sequence[tuple[str, str]]
    """The fields of other kinds, in Python and in JSON."""
    defaults: Sequence[tuple[str, Callable[[], object]]]
    """The fields that have another value than None where a record has none."""


def one_struct(schema: Any, place: str) -> type[msgspec.Struct]:
    """The struct that has the fields of all kinds of a union, and the tag; no union stays as it is.

    A field that some kind lacks may be None, and is None in the events of that kind, whatever their
    records hold; a subclass that forbids unknown fields refuses it there, too. An event is refused
    where it lacks a field that its own kind has to have. Raises ConfigError for kinds without a
    tag, and for a field that has two types.

    >>> Click = msgspec.defstruct("Click", [("user", str)], tag="click")
    >>> Order = msgspec.defstruct("Order", [("user", str), ("price", float)], tag="order")
    >>> both = one_struct(Click | Order, "Stream('events')")
    >>> msgspec.json.decode(b'{"type": "click", "user": "ann"}', type=both)
    ClickOrOrder(type='click', user='ann', price=None)
    >>> msgspec.json.decode(b'{"type": "order", "user": "ann"}', type=both)
    Traceback (most recent call last):
    ...
    msgspec.ValidationError: Object missing required field `price`
    """
    if not isinstance(schema, UnionType):
        struct: type[msgspec.Struct] = schema
        return struct
    kinds = _kinds(schema, place)
    tag = str(kinds[0].tag_field)
    members: dict[str, list[tuple[inspect.StructType, inspect.Field]]] = {}
    for kind in kinds:
        for field in kind.fields:
            members.setdefault(field.name, []).append((kind, field))
    tags = Literal.__getitem__(tuple(kind.tag for kind in kinds))
    fields: list[tuple[str, Any, Any]] = [(tag, tags, msgspec.field(name=tag))]
    for name, having in members.items():
        _check_alike(name, having, place)
        fields.append(_of_all_kinds(name, having, everywhere=len(having) == len(kinds)))
    names = {name: field.encode_name for name, ((_, field), *_) in members.items()}
    rules = {kind.tag: _rules(kind, names) for kind in kinds}
    return msgspec.defstruct(
        "Or".join(kind.cls.__name__ for kind in kinds),
        fields,
        namespace={"__post_init__": _check_of(tag, rules)},
        kw_only=True,
    )


def _kinds(schema: Any, place: str) -> Sequence[inspect.StructType]:
    """The structs of a union. Raises ConfigError where a member is none, or has no tag."""
    fix = 'Declare each kind as in `class Click(msgspec.Struct, tag="click")`.'
    try:
        described = inspect.type_info(schema)
    except TypeError as error:
        raise ConfigError(place, f"{schema!r} is no schema: {error}", fix) from error
    kinds = described.types if isinstance(described, inspect.UnionType) else ()
    found = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    if len(found) < len(kinds) or not found:
        raise ConfigError(place, f"{schema!r} is not a union of structs", fix)
    return found


def _check_alike(
    name: str, having: Sequence[tuple[inspect.StructType, inspect.Field]], place: str
) -> None:
    """Raise ConfigError where two kinds differ in a field's type, or in its name in JSON."""
    (first, field), *others = having
    for kind, other in others:
        same = without_none(other.type)[0] == without_none(field.type)[0]
        if not same or other.encode_name != field.encode_name:
            raise ConfigError(
                place,
                f"the field {name!r} of {kind.cls.__name__} differs from that of "
                f"{first.cls.__name__}",
                "Give it one type and one name in JSON, or two names.",
            )


def _of_all_kinds(
    name: str, having: Sequence[tuple[inspect.StructType, inspect.Field]], *, everywhere: bool
) -> tuple[str, Any, Any]:
    """The field of the one struct: mandatory where it is so in each kind, else None by default."""
    kind, described = having[0]
    annotation = next(one.type for one in msgspec.structs.fields(kind.cls) if one.name == name)
    mandatory = everywhere and all(one.required for _, one in having)
    if not mandatory or any(without_none(one.type)[1] for _, one in having):
        annotation = annotation | None
    if mandatory:
        return name, annotation, msgspec.field(name=described.encode_name)
    return name, annotation, msgspec.field(default=None, name=described.encode_name)


def _rules(kind: inspect.StructType, names: Mapping[str, str]) -> _KindRules:
    """The rules of a kind; `names` are those of all fields in Python, with those in JSON."""
    own = {field.name: field.encode_name for field in kind.fields}
    never_none = [field for field in kind.fields if not without_none(field.type)[1]]
    needed = [(field.name, field.encode_name) for field in never_none if field.required]
    defaults: list[tuple[str, Callable[[], object]]] = []
    for field in kind.fields:
        if field.default_factory is not _NO_DEFAULT:
            defaults.append((field.name, field.default_factory))
        elif field.default is not _NO_DEFAULT and field.default is not None:
            defaults.append((field.name, _giving(field.default)))
    foreign = [both for both in names.items() if both[0] not in own]
    return _KindRules(needed, list(own.values()), foreign, defaults)


def _giving(value: object) -> Callable[[], object]:
    return lambda: value


def _check_of(tag: str, rules: Mapping[Any, _KindRules]) -> Callable[[Any], None]:
    """The ``__post_init__`` that makes an event what its kind says. Raises ValueError."""

    def check(event: Any) -> None:
        kind = getattr(event, tag)
        needed, own, foreign, defaults = rules[kind]
        for name, in_json in needed:
            if getattr(event, name) is None:
                raise ValueError(f"Object missing required field `{in_json}`")
        for name, in_json in foreign:
            if getattr(event, name) is None:
                continue
            if type(event).__struct_config__.forbid_unknown_fields:
                known = ", ".join(f"`{one}`" for one in (tag, *own))
                raise ValueError(f"{kind!r} has no such field, only {known} - at `$.{in_json}`")
            setattr(event, name, None)
        for name, value in defaults:
            if getattr(event, name) is None:
                setattr(event, name, value())

    return check
