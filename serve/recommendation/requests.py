"""Requests for recommendations and similar items: their types, and errors that name the place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, cast

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Boost, Retriever
from freshrank.serve.api.consistency import CONSISTENCY_FIELDS, Consistency, consistency_of
from freshrank.serve.api.known_names import with_known_names
from freshrank.serve.api.requests import decoded, request_type
from freshrank.serve.recommendation.following_pages import (
    MOST_PAGES,
    FollowingPages,
    pages_of,
)
from freshrank.serve.recommendation.request_context import ContextValue, RequestContext
from freshrank.serve.recommendation.selection import (
    MOST_ITEMS,
    Selection,
    SelectionTypes,
    names_type,
)
from freshrank.serve.scoring.served_pipeline import ServedPipeline

MOST_GIVEN = 20
"""Items that one request wants others for."""
# Candidates that are ranked where the request does not say: a usual number of a ranking stage.
_USUAL_CANDIDATES = 200
# Contributions of an item: a reader looks at a few.
_MOST_EXPLAINED = 20

_PAGE_FIELDS: Sequence[tuple[str, Any, Any]] = (
    ("show", Annotated[int, msgspec.Meta(ge=0, le=MOST_ITEMS)] | None, None),
    ("explain", Annotated[int, msgspec.Meta(ge=0, le=_MOST_EXPLAINED)], 0),
    *CONSISTENCY_FIELDS,
)
# What all requests for a page say, as `msgspec.defstruct` takes it.


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCall:
    """What checked requests for a page of recommendations have in common."""

    key: str | int
    """Of the entity, as the request gives it."""
    show: int | None
    explain: int
    """How many contributions of each item are wanted, of as many items as are explained at once."""
    wanted: Consistency
    context: Mapping[str, ContextValue]
    """By field of a candidate that no item has: what the request says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendCall(PageCall):
    """A checked request for recommendations."""

    selection: Selection
    boosts: Sequence[Boost]
    exclude_seen: Sequence[str]
    sources: Sequence[str]
    """Empty: all."""
    candidates: int
    """How many are ranked, at most."""
    pages: int
    """How many there may be, this one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPageCall(PageCall):
    """A checked request for the page after another one."""

    following: FollowingPages


@dataclass(frozen=True, slots=True)
class SimilarCall:
    """A checked request for similar items."""

    items: Sequence[str]
    """Canonical keys, each once, in the order of the request."""
    selection: Selection


class RecommendDecoder:
    """Decodes the bytes of a request to a `RecommendCall`."""

    def __init__(
        self, pipeline: ServedPipeline, retriever: Retriever, types: SelectionTypes
    ) -> None:
        self._types = types
        self._seen, self._sources = tuple(retriever.seen), tuple(retriever.sources)
        self._context = RequestContext(pipeline, retriever)
        most = pipeline.limits.candidates
        several = Annotated[int, msgspec.Meta(ge=1, le=most)]
        self.request_type = request_type(
            "RecommendRequest",
            (pipeline.entity, pipeline.features.request_types.key),
            [
                *self._context.fields,
                *types.fields,
                types.boosts_field,
                ("exclude_seen", bool | names_type(self._seen, 0), True),
                ("sources", names_type(self._sources, 1) | None, None),
                ("candidates", several, min(_USUAL_CANDIDATES, most)),
                ("pages", Annotated[int, msgspec.Meta(ge=1, le=MOST_PAGES)], 1),
                *_PAGE_FIELDS,
            ],
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode
        self._key_of = attrgetter(pipeline.entity)

    def decode(self, body: bytes) -> RecommendCall:
        """Decode and check a body; raises RequestError that names the place."""
        try:
            request = cast(Any, decoded(self._decode, body))
        except RequestError as error:
            named = self._context.explained(error)
            raise self._types.explained(named, self._known, self._values) from error
        seen = request.exclude_seen
        if isinstance(seen, bool):
            seen = self._seen if seen else ()
        return RecommendCall(
            key=self._key_of(request),
            selection=self._types.selection(request),
            boosts=self._types.boosts(request),
            exclude_seen=tuple(dict.fromkeys(seen)),
            sources=tuple(dict.fromkeys(request.sources or ())),
            candidates=request.candidates,
            pages=request.pages,
            show=request.show,
            explain=request.explain,
            wanted=consistency_of(request),
            context=self._context.of(request),
        )

    def _known(self, place: str) -> Sequence[str]:
        if place == "body":
            return self.request_type.__struct_encode_fields__
        return self._context.names if place == "context" else self._types.known(place)

    def _values(self, place: str) -> Sequence[str | int]:
        if place.startswith("sources"):
            return self._sources
        return self._seen if place.startswith("exclude_seen") else self._types.values(place)


class NextPageDecoder:
    """Decodes the bytes of a request to a `NextPageCall`."""

    def __init__(self, pipeline: ServedPipeline, retriever: Retriever) -> None:
        self._context = RequestContext(pipeline, retriever)
        self.request_type = msgspec.defstruct(
            "NextPageRequest", [("next", str), *_PAGE_FIELDS], forbid_unknown_fields=True
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode

    def decode(self, body: bytes) -> NextPageCall:
        """Decode and check a body; raises RequestError that names the place."""
        try:
            request = cast(Any, decoded(self._decode, body))
        except RequestError as error:
            raise with_known_names(error, self._known) from error
        following = pages_of(request.next, "next", self._context)
        return NextPageCall(
            key=following.key,
            following=following,
            show=request.show,
            explain=request.explain,
            wanted=consistency_of(request),
            context=following.context,
        )

    def _known(self, place: str) -> Sequence[str]:
        return self.request_type.__struct_encode_fields__


class SimilarDecoder:
    """Decodes the bytes of a request to a `SimilarCall`."""

    def __init__(self, types: SelectionTypes) -> None:
        self._types = types
        self.request_type = msgspec.defstruct(
            "SimilarRequest",
            [("items", types.keys(1, MOST_GIVEN)), *types.fields],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode

    def decode(self, body: bytes) -> SimilarCall:
        """Decode and check a body; raises RequestError that names the place."""
        try:
            request = cast(Any, decoded(self._decode, body))
        except RequestError as error:
            raise self._types.explained(error, self._known, self._types.values) from error
        items = dict.fromkeys(self._types.canonical(request.items, "items"))
        return SimilarCall(tuple(items), self._types.selection(request))

    def _known(self, place: str) -> Sequence[str]:
        if place == "body":
            return self.request_type.__struct_encode_fields__
        return self._types.known(place)
