"""The calls of the gRPC service: one for each route of REST that answers with a struct."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freshrank.serve.api.responses import ErrorAnswer
from freshrank.serve.grpc.proto_text import proto_text
from freshrank.serve.grpc.shapes import Message, Shapes
from freshrank.serve.http.route_spec import REQUIRED, Answer, JsonSchema, RouteSpec

TIMEOUT = "timeout_ms"
"""The field of requests that says how long they wait."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """A call of the service, and the route that answers it."""

    name: str
    spec: RouteSpec
    request: Message
    """The route's parameters and the fields of its body; a body that a schema describes is a list
    with the name of the operation."""
    answer: Message

    @property
    def waits(self) -> bool:
        """Whether a request may say how long it waits."""
        return any(field.name == TIMEOUT for field in self.request.fields)


class RpcTable:
    """All calls of a table of routes, with their messages."""

    def __init__(self, specs: Iterable[RouteSpec]) -> None:
        self._shapes = Shapes()
        self.error = self._shapes.of(ErrorAnswer)
        """The message that an error's trailer has."""
        self.all: Sequence[Rpc] = [
            self._call(spec, kind)
            for spec in specs
            for kind in [answer_type(spec)]
            if kind is not None
        ]

    @property
    def messages(self) -> Iterable[Message]:
        """All messages, those inside others too."""
        return self._shapes.messages.values()

    def text(self, pipeline: str) -> str:
        """The ``.proto`` file."""
        rows = [
            (call.name, call.spec.summary, call.request.name, call.answer.name) for call in self.all
        ]
        return proto_text(pipeline, self.messages, rows)

    def _call(self, spec: RouteSpec, kind: type[msgspec.Struct]) -> Rpc:
        name = "".join(word.capitalize() for word in spec.operation.split("_"))
        return Rpc(name, spec, self._request(name, spec), self._shapes.of(kind))

    def _request(self, name: str, spec: RouteSpec) -> Message:
        if not spec.parameters and spec.body is not None and not isinstance(spec.body, JsonSchema):
            return self._shapes.of(spec.body)
        fields: dict[str, tuple[Any, bool]] = {
            one.name: (one.type, one.default is REQUIRED) for one in spec.parameters
        }
        if spec.body is not None:
            fields[spec.operation] = (list[Any], True)
        return self._shapes.named(f"{name}Request", f"What {name} takes.", fields)


def answer_type(spec: RouteSpec) -> type[msgspec.Struct] | None:
    """The struct that a route for clients answers with; None of others.

    Those are the page, probes, documents and tables of metrics, which are for browsers and tools.
    """
    answers: list[Answer] = [one for status, one in spec.answers.items() if status < 300]
    kind = answers[0].type
    if spec.scope is None or not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
        return None
    return kind
