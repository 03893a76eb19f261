"""POST /v1/score/batch: requests to score for several entities at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import GenericAlias
from typing import Annotated, Any, cast

import msgspec

from freshrank.actors.errors import FreshrankError, RequestError, StaleParameters, Unavailable
from freshrank.serve.api.errors import answer_of, status_of
from freshrank.serve.api.known_names import with_known_names
from freshrank.serve.api.requests import decoded
from freshrank.serve.api.responses import BatchAnswer, BatchEntry
from freshrank.serve.api.score_requests import ScoreCall
from freshrank.serve.scoring.service import ScoringService


class ScoreBatch:
    """Answers or refuses each request of a batch on its own; their rows are read together."""

    def __init__(self, service: ScoringService) -> None:
        self._service = service
        self._most_candidates = service.pipeline.limits.batch_candidates
        most = service.pipeline.limits.batch
        self.request_type = _batch_of(service.decoder.request_type, most)
        self._decode = msgspec.json.Decoder(_batch_of(msgspec.Raw, most)).decode

    async def score(self, body: bytes, request_id: str | None = None) -> BatchAnswer:
        """Answer a batch; `request_id` where it is repeated under the same one.

        Raises RequestError where it is wrong as a whole.
        """
        try:
            requests = cast(Any, decoded(self._decode, body)).requests
        except RequestError as error:
            names = self.request_type.__struct_encode_fields__
            raise with_known_names(error, lambda _: names) from error
        calls = [self._checked(bytes(one)) for one in requests]
        self._check_size(calls)
        # All begin before the first read does, which so has the keys of all.
        ids = [request_id and f"{request_id}-{number}" for number in range(len(calls))]
        return BatchAnswer(list(await asyncio.gather(*map(self._answer, calls, ids))))

    def _checked(self, request: bytes) -> ScoreCall | RequestError:
        try:
            return self._service.decoder.decode(request)
        except RequestError as error:
            return error

    def _check_size(self, calls: Sequence[ScoreCall | RequestError]) -> None:
        count = sum(call.count for call in calls if isinstance(call, ScoreCall))
        if count > self._most_candidates:
            reason = f"{count} candidates together, at most {self._most_candidates}: send less"
            raise RequestError("requests", reason)

    async def _answer(self, call: ScoreCall | RequestError, request_id: str | None) -> BatchEntry:
        if isinstance(call, RequestError):
            return _refused(call)
        try:
            return BatchEntry(200, await self._service.answer(call, request_id), None)
        except (RequestError, StaleParameters, Unavailable) as error:
            return _refused(error)


def _refused(error: FreshrankError) -> BatchEntry:
    return BatchEntry(status_of(error), None, answer_of(error).error)


def _batch_of(request: Any, most: int) -> type[msgspec.Struct]:
    listed: Any = Annotated[
        GenericAlias(list, (request,)), msgspec.Meta(min_length=1, max_length=most)
    ]
    return msgspec.defstruct(
        "ScoreBatchRequest", [("requests", listed)], forbid_unknown_fields=True
    )
