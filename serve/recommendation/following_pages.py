"""The pages after the one that is answered, as a text which the client keeps.

So they stay as they were ranked while they are read, whichever replica answers the next one, and no
replica keeps anything. The text is not signed: it makes a replica look up, score and log at most a
page of items for an entity, which POST /v1/score does for whoever may ask for recommendations.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.serve.recommendation.request_context import ContextValue, RequestContext
from freshrank.serve.recommendation.selection import MOST_ITEMS

MOST_PAGES = 10
"""Pages that one ranking is read in."""

_KEY_CHARACTERS = 1_024
_NONE: Mapping[str, ContextValue] = MappingProxyType({})

_Key = Annotated[str, msgspec.Meta(max_length=_KEY_CHARACTERS)]
_Page = Annotated[list[_Key], msgspec.Meta(min_length=1, max_length=MOST_ITEMS)]


class FollowingPages(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is still to be read of the recommendations of an entity."""

    key: _Key
    """Of the entity."""
    pages: Annotated[list[_Page], msgspec.Meta(min_length=1, max_length=MOST_PAGES - 1)]
    """Keys of items, page by page."""
    before: Annotated[int, msgspec.Meta(ge=0, le=MOST_ITEMS * MOST_PAGES)] = 0
    """Items on the pages before these."""
    context: Mapping[str, ContextValue] = {}
    """What the request said of itself, by field."""

    def after(self, key: str) -> str | None:
        """The text for what follows the first of these, for the entity of the canonical `key`."""
        before = self.before + len(self.pages[0])
        return text_of(key, self.pages[1:], before, self.context)


_decode = msgspec.msgpack.Decoder(FollowingPages).decode


def text_of(
    key: str, pages: list[list[str]], before: int = 0, context: Mapping[str, ContextValue] = _NONE
) -> str | None:
    """The text for these pages, which follow so many items; None: there are none.

    >>> pages_of(text_of("u1", [["7", "12"], ["3"]]), "next").pages
    [['7', '12'], ['3']]
    """
    if not pages:
        return None
    following = FollowingPages(key, pages, before, dict(context))
    return urlsafe_b64encode(msgspec.msgpack.encode(following)).decode()


def pages_of(text: str, place: str, context: RequestContext | None = None) -> FollowingPages:
    """The pages that `text` stands for, of a request with such a context.

    Raises RequestError (404) that names `place`.
    """
    try:
        found = _decode(urlsafe_b64decode(text.encode("ascii")))
        if context is not None:
            context.check(found.context)
        return found
    except (ValueError, RecursionError) as error:
        reason = "not what an answer gave as `next`; ask for the first page again"
        raise RequestError(place, reason, status=404) from error
