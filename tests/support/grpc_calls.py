"""Calls of gRPC that a replica under test answers in the process of the test, without a network."""

from __future__ import annotations

from typing import Any

from serving import ReplicaUnderTest

from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.app import routes_of
from freshrank.serve.grpc.codec import MessageCodec
from freshrank.serve.grpc.rpc_handlers import Metadata, RpcAnswer, RpcHandlers
from freshrank.serve.grpc.rpc_table import RpcTable
from freshrank.serve.scoring.service import ScoringService


class LocalCalls:
    """Takes requests, and gives answers, as what their JSON would be decoded to."""

    def __init__(self, service: ScoringService) -> None:
        specs, handlers = routes_of(service, RequestGuard(service.settings))
        self.calls = RpcTable(specs)
        self.codec = MessageCodec(self.calls.messages)
        self._handlers = RpcHandlers(self.calls, handlers)
        self._by_name = {call.name: call for call in self.calls.all}

    def encoded(self, name: str, request: Any) -> bytes:
        """The message of a request of the call `name`."""
        return self.codec.encoder(self._by_name[name].request)(request)

    async def sent(
        self,
        name: str,
        message: bytes,
        metadata: Metadata = (),
        remaining_s: float | None = None,
    ) -> RpcAnswer:
        """The answer to a message of the call `name`."""
        return await self._handlers.answer(name, message, metadata, remaining_s)

    async def ask(
        self,
        name: str,
        request: Any,
        metadata: Metadata = (),
        remaining_s: float | None = None,
    ) -> tuple[RpcAnswer, Any]:
        """The answer to a call, as it is sent and decoded."""
        answer = await self.sent(name, self.encoded(name, request), metadata, remaining_s)
        shape = self.calls.error if answer.problem else self._by_name[name].answer
        return answer, self.codec.decoder(shape)(answer.message)


def local_calls(replica: ReplicaUnderTest) -> LocalCalls:
    """Calls of a replica under test, which is not started."""
    return LocalCalls(replica.service)
