from asyncio import Future
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any

class ClusterMetadata:
    controller: object | None
    def brokers(self) -> set[object]: ...
    def partitions_for_topic(self, topic: str) -> set[int] | None: ...

class AIOKafkaClient:
    cluster: ClusterMetadata
    def __init__(
        self,
        *,
        bootstrap_servers: str | list[str] = ...,
        client_id: str = ...,
        request_timeout_ms: int = ...,
        security_protocol: str = ...,
        ssl_context: SSLContext | None = ...,
        sasl_mechanism: str = ...,
        sasl_plain_username: str | None = ...,
        sasl_plain_password: str | None = ...,
    ) -> None: ...
    async def bootstrap(self) -> None: ...
    async def close(self) -> None: ...
    def get_random_node(self) -> int | None: ...
    async def send(self, node_id: int | None, request: object) -> Any: ...
    async def fetch_all_metadata(self) -> ClusterMetadata: ...
    def set_topics(self, topics: Sequence[str]) -> Future[bool]: ...
