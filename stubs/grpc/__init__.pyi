from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any

class StatusCode(Enum):
    OK = (0, "ok")
    INVALID_ARGUMENT = (3, "invalid argument")
    DEADLINE_EXCEEDED = (4, "deadline exceeded")
    NOT_FOUND = (5, "not found")
    PERMISSION_DENIED = (7, "permission denied")
    RESOURCE_EXHAUSTED = (8, "resource exhausted")
    FAILED_PRECONDITION = (9, "failed precondition")
    UNIMPLEMENTED = (12, "unimplemented")
    INTERNAL = (13, "internal")
    UNAVAILABLE = (14, "unavailable")
    UNAUTHENTICATED = (16, "unauthenticated")

class RpcMethodHandler: ...
class GenericRpcHandler: ...
class ServerCredentials: ...
class ChannelCredentials: ...
class ServerCertificateConfiguration: ...

def unary_unary_rpc_method_handler(
    behavior: Callable[[bytes, Any], Awaitable[bytes]],
) -> RpcMethodHandler: ...
def unary_stream_rpc_method_handler(
    behavior: Callable[[bytes, Any], AsyncIterator[bytes]],
) -> RpcMethodHandler: ...
def method_handlers_generic_handler(
    service: str, method_handlers: Mapping[str, RpcMethodHandler]
) -> GenericRpcHandler: ...
def ssl_server_certificate_configuration(
    private_key_certificate_chain_pairs: Sequence[tuple[bytes, bytes]],
) -> ServerCertificateConfiguration: ...
def dynamic_ssl_server_credentials(
    initial_certificate_configuration: ServerCertificateConfiguration,
    certificate_configuration_fetcher: Callable[[], ServerCertificateConfiguration | None],
) -> ServerCredentials: ...
def ssl_channel_credentials(root_certificates: bytes | None = None) -> ChannelCredentials: ...
