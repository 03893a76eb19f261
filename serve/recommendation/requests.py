"""Requests for recommendations and similar items: their types, and errors that name the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, Literal, cast

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.messages import Version
from freshrank.serve.api.known_names import with_known_names
from freshrank.serve.api.requests import WEIGHTS_FIELDS, decoded, request_type, version_of
from freshrank.serve.recommendation.selection import MOST_ITEMS, Selection, SelectionTypes
from freshrank.serve.scoring.served_pipeline import ServedPipeline

MOST_GIVEN = 20
"""Items that one request wants others for."""
# Candidates that are ranked where the request does not say: a usual number of a ranking stage.
_USUAL_CANDIDATES = 200
_MOST_NAMES = 100


@dataclass(frozen=True, slots=True)
class RecommendCall:
    """A checked request for recommendations."""

    key: str | int
    """Of the entity, as the request gives it."""
    selection: Selection
    exclude_seen: Sequence[str]
    sources: Sequence[str]
    """Empty: all."""
    candidates: int
    """How many are ranked, at most."""
    show: int | None
    min_version: Version | None
    max_model_age_ms: int | None


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
        most = pipeline.limits.candidates
        several = Annotated[int, msgspec.Meta(ge=1, le=most)]
        self.request_type = request_type(
            "RecommendRequest",
            (pipeline.entity, pipeline.features.request_types.key),
            [
                *types.fields,
                ("exclude_seen", bool | _names(self._seen, 0), True),
                ("sources", _names(self._sources, 1) | None, None),
                ("candidates", several, min(_USUAL_CANDIDATES, most)),
                ("show", Annotated[int, msgspec.Meta(ge=0, le=MOST_ITEMS)] | None, None),
                *WEIGHTS_FIELDS,
            ],
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode
        self._key_of = attrgetter(pipeline.entity)

    def decode(self, body: bytes) -> RecommendCall:
        """Decode and check a body; raises RequestError that names the place."""
        try:
            request = cast(Any, decoded(self._decode, body))
        except RequestError as error:
            raise with_known_names(error, self._known) from error
        seen = request.exclude_seen
        if isinstance(seen, bool):
            seen = self._seen if seen else ()
        return RecommendCall(
            self._key_of(request),
            self._types.selection(request),
            tuple(dict.fromkeys(seen)),
            tuple(dict.fromkeys(request.sources or ())),
            request.candidates,
            request.show,
            version_of(request.min_version),
            request.max_model_age_ms,
        )

    def _known(self, place: str) -> Sequence[str]:
        if place == "body":
            return self.request_type.__struct_encode_fields__
        if place.startswith("sources"):
            return self._sources
        return self._seen if place.startswith("exclude_seen") else self._types.known(place)


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
            raise with_known_names(error, self._known) from error
        items = dict.fromkeys(self._types.canonical(request.items, "items"))
        return SimilarCall(tuple(items), self._types.selection(request))

    def _known(self, place: str) -> Sequence[str]:
        if place == "body":
            return self.request_type.__struct_encode_fields__
        return self._types.known(place)


def _names(known: Sequence[str], fewest: int) -> Any:
    """The type of a list of names, all of them known."""
    one = cast(Any, Literal)[tuple(known)] if known else str
    bounds = msgspec.Meta(min_length=fewest, max_length=_MOST_NAMES if known else fewest)
    return Annotated[GenericAlias(list, (one,)), bounds]
