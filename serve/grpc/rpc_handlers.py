"""A gRPC call is a request of REST: the same handler checks, counts and answers it.

Between them stands JSON, which is decoded in one place for both: so validation, errors, keys, rates
and bounds are the same, and so is what an idempotency key repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import msgspec
from starlette.requests import Request
from starlette.types import Message as AsgiMessage

from freshrank.serve.api.consistency import LONGEST_WAIT_MS
from freshrank.serve.api.responses import ErrorAnswer, Json, Problem
from freshrank.serve.grpc.codec import MessageCodec
from freshrank.serve.grpc.rpc_table import TIMEOUT, Rpc, RpcTable
from freshrank.serve.http.fast_path import Handlers
from freshrank.serve.http.route_spec import JSON, JsonSchema

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""Of a call; names are in lower case."""

_IDEMPOTENCY_KEY = "idempotency-key"
# The share of a call's deadline that it may wait for weights and rows: the rest is for its answer.
_SHARE_TO_WAIT = 0.9
# Headers of an answer that are in a call's trailer, too.
_IN_TRAILER = (b"retry-after", b"idempotent-replayed")
# Bytes of a text in an error. A trailer may have 8 kB in all, where each text stands twice, once
# with three characters for a byte that is not ASCII.
_MOST_BYTES = 500

_error = msgspec.json.Decoder(ErrorAnswer).decode


@dataclass(frozen=True, slots=True)
class RpcAnswer:
    """The answer to a call."""

    status: int
    """That of HTTP."""
    message: bytes
    """In protobuf: the answer of the call, or an ``ErrorAnswer``."""
    trailer: Metadata
    problem: Problem | None = None
    """What is wrong, where it is an error."""


class RpcHandlers:
    """Answers calls by the `handlers` of REST."""

    def __init__(self, calls: RpcTable, handlers: Handlers) -> None:
        codec = MessageCodec(calls.messages)
        self._handlers = {
            call.name: handlers[call.spec.method, call.spec.path] for call in calls.all
        }
        self._calls = {call.name: call for call in calls.all}
        self._decoders = {call.name: codec.decoder(call.request) for call in calls.all}
        self._encoders = {call.name: codec.encoder(call.answer) for call in calls.all}
        self._encode_error = codec.encoder(calls.error)

    @property
    def names(self) -> Sequence[str]:
        """Of the calls."""
        return list(self._calls)

    async def answer(
        self, name: str, message: bytes, metadata: Metadata, remaining_s: float | None
    ) -> RpcAnswer:
        """Answer the call `name`, whose client waits for `remaining_s` more."""
        call = self._calls[name]
        incoming = _Incoming(call, self._decoders[name], message, metadata, remaining_s)
        response = await self._handlers[name](incoming.request())
        trailer: Metadata = tuple(
            (key.decode(), value.decode())
            for key, value in response.raw_headers
            if key.lower() in _IN_TRAILER
        )
        status, body = response.status_code, bytes(response.body)
        if status < 400:
            encoded = self._encoders[name](msgspec.json.decode(body))
            return RpcAnswer(status, encoded, trailer)
        found = _error(body).error
        short = Problem(_shortened(found.field), _shortened(found.reason))
        encoded = self._encode_error(msgspec.to_builtins(ErrorAnswer(short)))
        return RpcAnswer(status, encoded, trailer, short)


class _Incoming(Mapping[str, str]):
    """A call as a request of REST; it is the mapping of that request's parameters, too.

    The message is decoded when its handler asks for it: it has checked the caller's key then.
    """

    def __init__(
        self,
        call: Rpc,
        decode: Callable[[bytes], Json],
        message: bytes,
        metadata: Metadata,
        remaining_s: float | None,
    ) -> None:
        self._call = call
        self._decode = decode
        self._message = message
        self._metadata = metadata
        self._remaining_s = remaining_s

    def request(self) -> Request:
        spec = self._call.spec
        headers = [
            (name.encode(), value.encode() if isinstance(value, str) else value)
            for name, value in self._metadata
        ]
        if spec.body is not None:
            headers.append((b"content-type", JSON.encode()))
        scope = {
            "type": "http",
            "method": spec.method,
            "path": spec.path,
            "query_string": b"",
            "headers": headers,
            "path_params": self,
        }
        return Request(scope, self._receive)

    def __getitem__(self, name: str) -> str:
        return str(self._fields[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @cached_property
    def _fields(self) -> dict[str, Json]:
        fields: dict[str, Json] = self._decode(self._message)
        return fields

    async def _receive(self) -> AsgiMessage:
        body: Json = self._fields
        if isinstance(self._call.spec.body, JsonSchema):
            body = body[self._call.spec.operation]
        elif self._may_wait():
            wait_ms = int(1_000 * _SHARE_TO_WAIT * (self._remaining_s or 0.0))
            body.setdefault(TIMEOUT, min(max(wait_ms, 0), LONGEST_WAIT_MS))
        return {"type": "http.request", "body": msgspec.json.encode(body)}

    def _may_wait(self) -> bool:
        """Whether the call's deadline says how long it waits.

        Not where it may be repeated: it has to be the same request then.
        """
        return (
            self._remaining_s is not None
            and self._call.waits
            and all(name != _IDEMPOTENCY_KEY for name, _ in self._metadata)
        )


def _shortened(text: str) -> str:
    """The beginning of a text that is too long for a trailer."""
    data = text.encode()
    if len(data) <= _MOST_BYTES:
        return text
    return data[:_MOST_BYTES].decode(errors="ignore") + " ..."
