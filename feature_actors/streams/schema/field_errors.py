"""The errors of fields that cannot be what a definition wants of them."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError

_INSTEAD = "What features need of it has to be a field of the event itself."
# What to do about some types that features cannot use.
_UNUSABLE_FIX = {
    "datetime": "A time is an int: milliseconds since the Unix epoch.",
    "dict": _INSTEAD,
    "list": _INSTEAD,
    "struct": _INSTEAD,
}


def unusable(
    name: str, kind: str, inner: Sequence[str], place: str, *, lists: bool = False
) -> ConfigError:
    """Features cannot use a field of the type `kind`, but the fields `inner` in it, if any.

    With `lists` they can use lists of what they can use.
    """
    fix, listed = _UNUSABLE_FIX.get(kind, ""), ", or a list of them" if lists else ""
    if inner:
        fix = f"Its fields are {', '.join(map(repr, inner))}."
    return ConfigError(
        place,
        f"features cannot use the type of the field {name!r} ({kind})",
        f"Use a field of str, int, float or bool, or one of them | None{listed}. {fix}".rstrip(),
    )


def may_be_none(name: str, place: str) -> ConfigError:
    """A field that each event has to have may be None."""
    return ConfigError(place, f"the field {name!r} may be None", "Make id, time and key mandatory.")


def has_default(name: str, place: str) -> ConfigError:
    """A field that each event has to have is optional: it has a default."""
    return ConfigError(
        place,
        f"the field {name!r} has a default, which each event without it would get",
        "Make id, time and key mandatory: leave the default out.",
    )


def many_values(name: str, each: str, place: str) -> ConfigError:
    """A field of the elements of the list `each` is named where an event has to have one value."""
    what = "one of the values" if each == name else "a field of the elements"
    return ConfigError(
        place,
        f"{name!r} is {what} of the list {each!r}, of which an event may have several",
        "Only the aggregates of a view can take it: each is updated once for every element. "
        "Name a field of the event itself.",
    )


def two_lists(names: Sequence[str], place: str) -> ConfigError:
    """Fields of the elements of several lists, one of each, are named together."""
    return ConfigError(
        place,
        f"{' and '.join(map(repr, names))} are of several lists, whose elements do not go together",
        "Take the fields of one list, beside those of the event itself.",
    )


def check_name(given: object, place: str) -> None:
    """Raise ConfigError for what is no name of a field: a list of names, or ``col.price``."""
    if not isinstance(given, str):
        fix = 'Write one name as a text, as in "price".'
        raise ConfigError(place, f"{given!r} is no name of a field", fix)
