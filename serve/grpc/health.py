"""The standard health service of gRPC (``grpc.health.v1.Health``): ready means SERVING.

Its two messages have a single field each. They are made here: the package with them
(`grpcio-health-checking`) needs the newest protobuf, and answers from a table that its caller has
to keep up to date. As `GET /readyz`, it needs no key.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage
from google.protobuf.message_factory import GetMessageClass

from freshrank.actors.clock import Clock
from freshrank.actors.errors import RequestError
from freshrank.serve.grpc.message_types import PACKAGE
from freshrank.serve.grpc.proto_text import SERVICE

HEALTH_SERVICE = "grpc.health.v1.Health"
"""The name of the service that answers."""

SERVICES = ("", f"{PACKAGE}.{SERVICE}")
"""The names of services that have a health; the empty name is the server as a whole."""

EVERY_S = 1.0
"""Seconds for which an answer counts: however many ask, readiness is looked at once in them."""


class Health(IntEnum):
    """How a service is, by the numbers of the standard."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3
    """The answer to a `Watch` of an unknown service; a `Check` of it is refused."""


class HealthCalls:
    """Answers the calls ``Check`` and ``Watch``, from bytes to bytes.

    Parameters
    ----------
    missing
        Gives what the replica lacks, as `ScoringService.readiness`; empty: it is ready.
    clock
        By which an answer is as old as it may be.
    """

    def __init__(self, missing: Callable[[], Awaitable[Mapping[str, str]]], clock: Clock) -> None:
        self._missing = missing
        self._clock = clock
        self._turn = asyncio.Lock()
        self._looked_s = -math.inf
        self._found = Health.NOT_SERVING
        self._drained = asyncio.Event()

    async def check(self, message: bytes) -> bytes:
        """Answer ``Check``. Raises RequestError: 404 for a service that is not here, or 400."""
        service = _service_of(message)
        if service not in SERVICES:
            known = ", ".join(map(repr, SERVICES))
            raise RequestError("service", f"there is no {service!r} here, only {known}", status=404)
        return _answer(await self._health())

    async def watch(self, message: bytes) -> AsyncIterator[bytes]:
        """Answer ``Watch``: how it is now, and again whenever that changes. Raises RequestError."""
        known, told = _service_of(message) in SERVICES, None
        while True:
            leaving = self._drained.is_set()
            found = await self._health() if known else Health.SERVICE_UNKNOWN
            if found is not told:
                told = found
                yield _answer(found)
            if leaving:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._drained.wait()

    def drain(self) -> None:
        """Be out of service from now on: send that to each `Watch`, then end it."""
        self._drained.set()

    async def _health(self) -> Health:
        async with self._turn:
            now_s = self._clock.monotonic()
            if now_s - self._looked_s >= EVERY_S and not self._drained.is_set():
                self._found = Health.NOT_SERVING if await self._missing() else Health.SERVING
                self._looked_s = now_s
        return Health.NOT_SERVING if self._drained.is_set() else self._found


def _message_types() -> tuple[type[ProtobufMessage], type[ProtobufMessage]]:
    file = FileDescriptorProto(
        name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest").field
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    request.add(name="service", number=1, label=optional).type = FieldDescriptorProto.TYPE_STRING
    answer = file.message_type.add(name="HealthCheckResponse").field
    # On the wire an enum is an integer.
    answer.add(name="status", number=1, label=optional).type = FieldDescriptorProto.TYPE_INT64
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    names = ("HealthCheckRequest", "HealthCheckResponse")
    found = [pool.FindMessageTypeByName(f"{file.package}.{name}") for name in names]
    return GetMessageClass(found[0]), GetMessageClass(found[1])


_Request, _Answer = _message_types()


def _service_of(message: bytes) -> str:
    try:
        request: Any = _Request.FromString(message)
    except DecodeError as error:
        raise RequestError("body", "not a HealthCheckRequest in protobuf", status=400) from error
    return str(request.service)


def _answer(found: Health) -> bytes:
    return _Answer(status=int(found)).SerializeToString()
