"""The gRPC server of a replica, in the replica's process and on its event loop.

Serve has a gRPC ingress of its own, which is not used: it needs code that protobuf's compiler has
generated, handles each call in Python before the replica does, has no TLS, and binds the ports of
replicas and of its proxy to every address. Here nothing stands between client and replica. Several
replicas of one machine share the port, among which the kernel deals out connections; a replica
that stops answers its calls, and has its clients connect again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import grpc
from grpc import aio

from freshrank.actors.errors import ConfigError, RequestError
from freshrank.serve.access.certificate import Certificate, read_certificate
from freshrank.serve.grpc.health import HEALTH_SERVICE, HealthCalls
from freshrank.serve.grpc.message_types import PACKAGE
from freshrank.serve.grpc.proto_text import SERVICE
from freshrank.serve.grpc.rpc_handlers import RpcHandlers
from freshrank.serve.settings import ServeSettings

ERROR_TRAILER = "freshrank-error-bin"
"""The name of the trailer with the ``ErrorAnswer`` of a call."""

# Seconds for the calls of a server that stops.
_STOP_S = 5.0

_logger = logging.getLogger(__name__)

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.MISDIRECTED_REQUEST: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> grpc.StatusCode:
    """The code of gRPC for an error's status of HTTP.

    >>> code_of(422).name, code_of(500).name
    ('INVALID_ARGUMENT', 'INTERNAL')
    """
    return _CODES.get(HTTPStatus(status), grpc.StatusCode.INTERNAL)


class GrpcServer:
    """Serves calls at `serve.grpc_port`, to which nothing is bound before `start`.

    Parameters
    ----------
    health
        What the standard health service answers.
    port
        Where it listens, on the host of the settings.
    most_bytes
        Of the message of a call.
    """

    def __init__(
        self,
        handlers: RpcHandlers,
        health: HealthCalls,
        settings: ServeSettings,
        port: int,
        most_bytes: int,
    ) -> None:
        self._handlers = handlers
        self._health = health
        self._settings = settings
        self._port = port
        self._server = aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", most_bytes),
                ("grpc.max_concurrent_streams", settings.max_ongoing_requests),
            ]
        )
        methods = {name: self._method(name) for name in handlers.names}
        probes = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        services = {f"{PACKAGE}.{SERVICE}": methods, HEALTH_SERVICE: probes}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(*service) for service in services.items()]
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises ConfigError where that is not possible."""
        host = self._settings.host
        address = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        try:
            credentials = _credentials(self._settings)
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigError(
                f"serve.grpc_port {self._port} of {host}",
                f"listening there is not possible: {error}",
                "Take another port, or 0 for any free one.",
            ) from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no more calls, and wait for those that go on, at most for seconds.

        Before that each `Watch` of its health gets the news.
        """
        self._health.drain()
        await self._server.stop(_STOP_S)

    async def _check(self, message: bytes, context: aio.ServicerContext) -> bytes:
        try:
            return await self._health.check(message)
        except RequestError as error:
            await context.abort(code_of(error.status), str(error))

    async def _watch(self, message: bytes, context: aio.ServicerContext) -> AsyncIterator[bytes]:
        try:
            async for answer in self._health.watch(message):
                yield answer
        except RequestError as error:
            await context.abort(code_of(error.status), str(error))

    def _method(self, name: str) -> grpc.RpcMethodHandler:
        async def answer(message: bytes, context: aio.ServicerContext) -> bytes:
            found = await self._handlers.answer(
                name, message, context.invocation_metadata() or (), context.time_remaining()
            )
            problem = found.problem
            if problem is None:
                if found.trailer:
                    context.set_trailing_metadata(found.trailer)
                return found.message
            details = f"{problem.field}: {problem.reason}"
            trailer = (*found.trailer, (ERROR_TRAILER, found.message))
            await context.abort(code_of(found.status), details, trailer)

        return grpc.unary_unary_rpc_method_handler(answer)


def _credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """Those with the certificate of the settings; None: it has none. Raises ConfigError."""
    certificate = read_certificate(settings)
    if certificate is None:
        return None
    renewal = _Renewal(settings)
    return grpc.dynamic_ssl_server_credentials(_configuration(certificate), renewal.look)


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.pem, certificate.pem)])


class _Renewal:
    """Finds a renewed certificate, when a client connects."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        files = (settings.tls_certificate_file, settings.tls_key_file)
        self._files: list[Path] = [file for file in files if file is not None]
        self._seen = self._changed_ns()

    def look(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificate, if it has changed; a wrong file leaves the certificate of before."""
        changed_ns = self._changed_ns()
        if changed_ns == self._seen:
            return None
        self._seen = changed_ns
        try:
            certificate = read_certificate(self._settings)
        except ConfigError as error:
            _logger.error("the certificate of before is used: %s", error)
            return None
        return None if certificate is None else _configuration(certificate)

    def _changed_ns(self) -> list[int]:
        """When each file was changed; 0 where it is not there."""
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in self._files]
