"""Idempotency keys: a request that is sent again gets the answer of the first one.

A replica keeps answers for a while, in bounded memory. Whatever replica answers, the id of the
request is made of key and request, so that the joiner takes one impression of a request only.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from freshrank.actors.clock import Clock
from freshrank.actors.errors import RequestError
from freshrank.serve.access.request_guard import RawHeaders
from freshrank.serve.http.json_response import EncodedResponse, JsonResponse, encoded
from freshrank.serve.monitoring.metrics import ServeMetrics

KEPT_S = 60.0
"""Seconds for which an answer is kept: longer than the retries of a request go on."""
KEY_PATTERN = "^[!-~]{1,255}$"
"""Of a key: visible ASCII."""
MOST_KEPT, MOST_KEPT_BYTES = 10_000, 64_000_000
"""Answers that are kept, and the bytes of all."""

_HEADER = b"idempotency-key"
_FIELD = "Idempotency-Key"
_key = re.compile(KEY_PATTERN.replace("$", r"\Z").encode())

Make = Callable[[bytes, str | None], Awaitable[object]]
"""Answers a body; with an id of the request where it may be repeated."""


@dataclass(slots=True)
class _KeptAnswer:
    request_id: str
    making: asyncio.Task[bytes]
    until_s: float
    size: int = 0
    """Bytes of the answer, once it is made."""


class KeptAnswers:
    """Makes answers, and gives those again whose requests have an idempotency key."""

    def __init__(self, clock: Clock, metrics: ServeMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._kept: OrderedDict[tuple[str, bytes], _KeptAnswer] = OrderedDict()
        """By path and key, in the order in which they end."""
        self._bytes = 0

    async def answer(self, request: Request, body: bytes, make: Make) -> Response:
        """The answer of `make`, or that of the same request from before.

        Raises RequestError for a wrong key, and one (409) for a key of another request; and
        whatever `make` raises, which is not kept.
        """
        self._forget_old()
        key = _key_of(request.scope["headers"])
        if key is None:
            return JsonResponse(await make(body, None))
        path = request.scope["path"]
        kept = self._found((path, key), _request_id(path, key, body))
        repeated = kept is not None
        if kept is None:
            kept = self._begin((path, key), body, make)
        self._metrics.repeatable("repeated" if repeated else "first")
        # The task goes on if this request's client has gone: the next try gets its answer.
        response = EncodedResponse(await asyncio.shield(kept.making))
        if repeated:
            response.raw_headers.append((b"idempotent-replayed", b"true"))
        return response

    def _found(self, name: tuple[str, bytes], request_id: str) -> _KeptAnswer | None:
        kept = self._kept.get(name)
        if kept is not None and kept.request_id != request_id:
            self._metrics.repeatable("conflict")
            reason = f"was used for another request in the last {KEPT_S:.0f} s: take a new one"
            raise RequestError(_FIELD, reason, status=409)
        return kept

    def _begin(self, name: tuple[str, bytes], body: bytes, make: Make) -> _KeptAnswer:
        request_id = _request_id(*name, body)

        async def made() -> bytes:
            return encoded(await make(body, request_id))

        task = asyncio.get_running_loop().create_task(made())
        kept = _KeptAnswer(request_id, task, self._clock.monotonic() + KEPT_S)
        self._kept[name] = kept
        task.add_done_callback(lambda task: self._made(name, kept))
        return kept

    def _made(self, name: tuple[str, bytes], kept: _KeptAnswer) -> None:
        if self._kept.get(name) is not kept:
            return
        if kept.making.cancelled() or kept.making.exception() is not None:
            del self._kept[name]
            return
        kept.size = len(kept.making.result())
        self._bytes += kept.size
        while len(self._kept) > MOST_KEPT or self._bytes > MOST_KEPT_BYTES:
            self._forget_first()
            self._metrics.repeatable("forgotten")

    def _forget_old(self) -> None:
        now_s = self._clock.monotonic()
        while self._kept and next(iter(self._kept.values())).until_s <= now_s:
            self._forget_first()

    def _forget_first(self) -> None:
        self._bytes -= self._kept.popitem(last=False)[1].size


def _key_of(headers: RawHeaders) -> bytes | None:
    for name, value in headers:
        if name == _HEADER:
            if _key.match(value) is None:
                raise RequestError(_FIELD, "from 1 to 255 visible ASCII characters, no blanks")
            return value
    return None


def _request_id(path: str, key: bytes, body: bytes) -> str:
    """The same for the same request, in any replica."""
    digest = blake2b(digest_size=16)
    for part in (path.encode(), key, body):
        digest.update(len(part).to_bytes(8, "little") + part)
    return f"once-{digest.hexdigest()}"
