"""Errors about a name that is not known, with the names that are and the nearest of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freshrank.actors.errors import RequestError, nearest

# The forms of msgspec's messages about a name, or a value, that a type does not have.
_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_VALUE = re.compile(r"Invalid enum value (?P<quote>'?)(?P<name>.*)(?P=quote)", re.DOTALL)

# A field, or an element of a list, in the place of an error.
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def is_unknown_field(reason: str) -> bool:
    """Whether an error is about a field that is not known, rather than about a value."""
    return _FIELD.fullmatch(reason) is not None


def unknown_name(reason: str) -> str | None:
    """The field or value that an error says is not known; None: it is about something else.

    >>> unknown_name("Object contains unknown field `prise`"), unknown_name("Invalid enum value 7")
    ('prise', '7')
    """
    found = _FIELD.fullmatch(reason) or _VALUE.fullmatch(reason)
    return found and found["name"]


def with_known_names(
    error: RequestError,
    fields: Callable[[str], Sequence[str]],
    values: Callable[[str], Sequence[str | int]] = lambda _: (),
) -> RequestError:
    """`error`, or where it is about a name that is not known, one that lists those that are.

    `fields` and `values` give, for the place of the error, the fields and the values that may stand
    there.

    >>> error = RequestError("filters", "Object contains unknown field `prise`")
    >>> with_known_names(error, lambda place: ["price", "brand"]).reason
    'Object contains unknown field `prise`; did you mean `price`? It takes: `price`, `brand`'
    """
    name = unknown_name(error.reason)
    if name is None:
        return error
    known = (fields if is_unknown_field(error.reason) else values)(error.field)
    reason = f"{error.reason}{listed(name, [str(one) for one in known])}"
    return RequestError(error.field, reason, error.status)


def listed(name: str, known: Sequence[str]) -> str:
    """The end of an error about `name`: which known one was meant, and all of them.

    >>> listed("color", ["price"])
    '. It takes: `price`'
    """
    near = nearest(name, known)
    asked = f"; did you mean `{near}`?" if near else "."
    return f"{asked} It takes: {', '.join(f'`{one}`' for one in known) or 'nothing'}"


def names_at(schema: Mapping[str, Any], place: str) -> Sequence[str]:
    """The fields of the object at a place of what has a JSON schema; empty: they are not known.

    >>> size = {"properties": {"width": {"type": "number"}}}
    >>> listed = {"type": "array", "items": {"$ref": "#/$defs/Size"}}
    >>> sizes = {"anyOf": [listed, {"type": "null"}]}
    >>> schema = {"properties": {"sizes": sizes}, "$defs": {"Size": size}}
    >>> names_at(schema, ""), names_at(schema, "sizes[3]")
    (['sizes'], ['width'])
    """
    return list(_at(schema, place).get("properties", ()))


def values_at(schema: Mapping[str, Any], place: str) -> Sequence[str | int]:
    """The values that may stand at a place of what has a JSON schema; empty: any of its type.

    >>> values_at({"properties": {"kind": {"enum": ["cart", "view"]}}}, "kind")
    ['cart', 'view']
    """
    return list(_at(schema, place).get("enum", ()))


def _at(schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The schema of what stands at a place; that of all of it is ``body``."""
    definitions = schema.get("$defs", {})
    at = _inside(schema, definitions)
    for step in _STEP.findall(place) if place != "body" else ():
        inner = at.get("items", {}) if step[0] == "[" else at.get("properties", {}).get(step, {})
        at = _inside(inner, definitions)
    return at


def _inside(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object, a list or values, which `schema` may refer to, or have beside null."""
    found = schema
    for one in schema.get("anyOf", [schema]):
        found = definitions[one["$ref"].removeprefix("#/$defs/")] if "$ref" in one else one
        if {"properties", "items", "enum"} & found.keys():
            break
    return found
