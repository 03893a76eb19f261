"""Errors about a name that is not known, with the names that are and the nearest of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from freshrank.actors.errors import RequestError, nearest

# The form of msgspec's messages about a name that a type does not have.
_NOT_KNOWN = re.compile(
    r"(?:Object contains unknown field `|Invalid enum value ')(?P<name>.*)[`']", re.DOTALL
)


def with_known_names(error: RequestError, known: Callable[[str], Sequence[str]]) -> RequestError:
    """`error`, or where it is about a name that is not known, one that lists those that are.

    `known` gives them for the place of the error.

    >>> error = RequestError("filters", "Object contains unknown field `prise`")
    >>> with_known_names(error, lambda place: ["price", "brand"]).reason
    'Object contains unknown field `prise`; did you mean `price`? It takes: `price`, `brand`'
    """
    found = _NOT_KNOWN.fullmatch(error.reason)
    if found is None:
        return error
    names = known(error.field)
    reason = f"{error.reason}{listed(found['name'], names)}"
    return RequestError(error.field, reason, error.status)


def listed(name: str, known: Sequence[str]) -> str:
    """The end of an error about `name`: which known one was meant, and all of them.

    >>> listed("color", ["price"])
    '. It takes: `price`'
    """
    near = nearest(name, known)
    asked = f"; did you mean `{near}`?" if near else "."
    return f"{asked} It takes: {', '.join(f'`{one}`' for one in known) or 'nothing'}"
