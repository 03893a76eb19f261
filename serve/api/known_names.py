"""Errors about a name that is not known, with the names that are and the nearest of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from freshrank.actors.errors import RequestError

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
    nearest = get_close_matches(found["name"], names, n=1)
    asked = f"; did you mean `{nearest[0]}`?" if nearest else "."
    listed = ", ".join(f"`{name}`" for name in names) or "nothing"
    return RequestError(error.field, f"{error.reason}{asked} It takes: {listed}", error.status)
