"""Requests to score: their types, their bounds, and candidates that are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.features.service import Column, RequestTypes
from freshrank.serve.api.consistency import (
    ANY,
    CONSISTENCY_FIELDS,
    Consistency,
    consistency_of,
)
from freshrank.serve.api.explain_answers import ExplainAnswer
from freshrank.serve.api.known_names import (
    names_at,
    unknown_name,
    values_at,
    with_known_names,
)
from freshrank.serve.api.requests import (
    RequestLimits,
    decoded,
    request_type,
)
from freshrank.serve.api.responses import ScoreAnswer, SkippedCandidate

T = TypeVar("T")

_ON_BAD = ("on_bad_candidate", Literal["fail", "skip"], "fail")


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """A checked request to score."""

    key: str | int
    """Of the entity, as the request gives it."""
    count: int
    """``n``: the number of candidates that are scored."""
    columns: Mapping[str, Column]
    """By context field: a column of length ``n``."""
    show: int | None
    wanted: Consistency = ANY
    skipped: Sequence[SkippedCandidate] = ()
    """The candidates that the request wants left out because they are wrong."""
    places: Sequence[int] = ()
    """Where some are skipped: for each candidate that is scored, its index in the request."""

    def spread(self, values: Sequence[T | None]) -> list[T | None]:
        """`values` of the ``n`` candidates, in the order of the request; None for the skipped.

        >>> bad = SkippedCandidate(1, "candidates[1].price", "Expected `float`, got `str`")
        >>> ScoreCall("u1", 2, {}, None, ANY, [bad], [0, 2]).spread([0.5, 0.25])
        [0.5, None, 0.25]
        """
        found: list[T | None] = [None] * (len(values) + len(self.skipped))
        for place, value in zip(self.places, values, strict=True):
            found[place] = value
        return found

    def describe_skipped(self, answer: ScoreAnswer | ExplainAnswer) -> None:
        """Make `answer`, of the ``n`` candidates, one of all those of the request."""
        places = self.places
        if isinstance(answer, ScoreAnswer):
            answer.scores = self.spread(answer.scores)
            if answer.probabilities is not msgspec.UNSET:
                answer.probabilities = self.spread(answer.probabilities)
            answer.ranking = [places[index] for index in answer.ranking]
        else:
            answer.candidates = self.spread(answer.candidates)
        answer.skipped = list(self.skipped)
        if answer.candidate_rows is not msgspec.UNSET:
            for rows in answer.candidate_rows.values():
                rows.missing = [places[index] for index in rows.missing]


class ScoreDecoder:
    """Decodes the bytes of a request to a `ScoreCall`.

    The request's type is made from the pipeline: the name of its entity, and the types of the
    entity's key and of a candidate. An unknown field is an error that lists the known ones: a
    misspelt field would be ignored otherwise.

    Parameters
    ----------
    most
        Candidates of one request; `limits.candidates` unless it is given.
    name
        Of the request's type, in the OpenAPI document.
    """

    def __init__(
        self,
        entity: str,
        types: RequestTypes,
        limits: RequestLimits,
        *,
        most: int | None = None,
        name: str = "ScoreRequest",
    ) -> None:
        self.candidate_type = types.candidate
        bounds = msgspec.Meta(min_length=1, max_length=limits.candidates if most is None else most)
        fields = [
            ("show", Annotated[int, msgspec.Meta(ge=0, le=limits.candidates)] | None, None),
            _ON_BAD,
            *CONSISTENCY_FIELDS,
        ]

        def with_candidates(kind: Any) -> type[msgspec.Struct]:
            listed: Any = Annotated[GenericAlias(list, (kind,)), bounds]
            return request_type(name, (entity, types.key), [("candidates", listed), *fields])

        self.request_type = with_candidates(self.candidate_type)
        self._decode = msgspec.json.Decoder(self.request_type).decode
        self._decode_unread = msgspec.json.Decoder(with_candidates(msgspec.Raw)).decode
        self._decode_candidate = msgspec.json.Decoder(self.candidate_type).decode
        self._key_of = attrgetter(entity)
        self._fields = [(name, attrgetter(name)) for name in types.candidate.__struct_fields__]

    def decode(self, body: bytes) -> ScoreCall:
        """Decode and check a body; raises RequestError that names the field."""
        try:
            return self._call(cast(Any, decoded(self._decode, body)))
        except RequestError as error:
            found = self._without_bad(body)
            if found is None:
                raise self._explained(error) from error
            return found

    def _call(
        self,
        request: Any,
        skipped: Sequence[SkippedCandidate] = (),
        places: Sequence[int] = (),
    ) -> ScoreCall:
        candidates = request.candidates
        return ScoreCall(
            self._key_of(request),
            len(candidates),
            {name: list(map(read, candidates)) for name, read in self._fields},
            request.show,
            consistency_of(request),
            skipped,
            places,
        )

    def _without_bad(self, body: bytes) -> ScoreCall | None:
        """The request without its wrong candidates.

        None where it does not want them skipped, where no candidate is left, and where something
        else is wrong.
        """
        try:
            request = cast(Any, decoded(self._decode_unread, body))
        except RequestError:
            return None
        if request.on_bad_candidate != "skip":
            return None
        good, places, skipped = list[object](), list[int](), list[SkippedCandidate]()
        for number, candidate in enumerate(request.candidates):
            try:
                good.append(decoded(self._decode_candidate, bytes(candidate)))
                places.append(number)
            except RequestError as error:
                skipped.append(self._skipped(number, error))
        if not good:
            return None
        request.candidates = good
        return self._call(request, skipped, places)

    def _skipped(self, number: int, error: RequestError) -> SkippedCandidate:
        inside = "" if error.field == "body" else f".{error.field}"
        placed = RequestError(f"candidates[{number}]{inside}", error.reason)
        named = self._explained(placed)
        return SkippedCandidate(number, named.field, named.reason)

    def _explained(self, error: RequestError) -> RequestError:
        """`error` with the fields, or the values, that may stand in its place."""
        name, fields = unknown_name(error.reason), self.candidate_type.__struct_encode_fields__
        if error.field == "body" and name in ("context", *fields):
            listed = ", ".join(f"`{one}`" for one in fields)
            reason = f"{error.reason}; each of `candidates` has its own context: {listed}"
            return RequestError("body", reason)
        schema = self._schema
        return with_known_names(
            error, lambda place: names_at(schema, place), lambda place: values_at(schema, place)
        )

    @cached_property
    def _schema(self) -> Mapping[str, Any]:
        return msgspec.json.schema(self.request_type)
