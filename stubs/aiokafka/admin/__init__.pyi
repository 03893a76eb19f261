from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any

from aiokafka.admin.config_resource import ConfigResource

class NewTopic:
    def __init__(
        self,
        name: str,
        num_partitions: int,
        replication_factor: int,
        replica_assignments: Mapping[int, Sequence[int]] | None = ...,
        topic_configs: Mapping[str, str] | None = ...,
    ) -> None: ...

class CreateTopicsResponse:
    topic_errors: Sequence[tuple[Any, ...]]
    """(topic, error code, ...); what follows differs between versions of the protocol."""

class AIOKafkaAdminClient:
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
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def create_topics(
        self, new_topics: list[NewTopic], timeout_ms: int | None = ...
    ) -> CreateTopicsResponse: ...
    async def delete_topics(self, topics: list[str], timeout_ms: int | None = ...) -> object: ...
    async def describe_configs(self, config_resources: list[ConfigResource]) -> list[Any]: ...
    async def list_consumer_groups(self) -> list[tuple[Any, ...]]: ...
