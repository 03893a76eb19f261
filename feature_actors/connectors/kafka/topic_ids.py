"""The ids that a broker gives to topics: a topic that was created again has another one (KIP-516).

aiokafka asks for metadata of version 5, which has no ids, and lets a client declare other requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from freshrank.actors.records import TopicIdentity
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

_METADATA, _VERSION = 3, 12
_NO_ID = bytes(16)


class _Uuid(AbstractType):
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)


class _MetadataResponse(Response):
    """Metadata response 12, as https://kafka.apache.org/protocol describes it."""

    API_KEY = _METADATA
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition_index", Int32),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("replica_nodes", CompactArray(Int32)),
                        ("isr_nodes", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("topic_authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _MetadataRequest(RequestStruct):
    """Metadata request 12: topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = _VERSION
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _TopicIds(Request[_MetadataRequest]):
    """Asks for the ids of topics."""

    API_KEY = _METADATA

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        tags: dict[int, bytes] = {}
        asked = [(_NO_ID, topic, tags) for topic in self._topics]
        return request_struct_class(asked, False, False, tags)


class TopicIdentities:
    """Asks a cluster of brokers which topics it has, on a connection that is kept."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._client: AIOKafkaClient | None = None

    async def read(self, topics: Sequence[str]) -> dict[str, TopicIdentity]:
        """Return the identities of those `topics` that exist. Raises Unavailable.

        Ids are empty where the broker has none (Kafka before 2.8, librdkafka's mock).
        """
        async with self._kafka.answered():
            if self._client is None:
                self._client = AIOKafkaClient(**self._kafka.arguments())
                try:
                    await self._client.bootstrap()
                except BaseException:
                    await self.close()
                    raise
            node = self._client.get_random_node()
            try:
                answer = await self._client.send(node, _TopicIds(topics))
            except NotImplementedError:  # the broker does not know this version of the request
                return await self._without_ids(topics)
        return {topic.name: topic.identity for topic in map(_Topic, answer.topics) if topic.exists}

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _without_ids(self, topics: Sequence[str]) -> dict[str, TopicIdentity]:
        assert self._client is not None
        known = await self._client.fetch_all_metadata()
        counts = {topic: known.partitions_for_topic(topic) for topic in topics}
        return {topic: TopicIdentity("", len(found)) for topic, found in counts.items() if found}


class _Topic:
    """A topic of a `_MetadataResponse`."""

    def __init__(self, fields: Sequence[Any]) -> None:
        error, name, topic_id, _, partitions, *_ = fields
        self.exists = error == 0
        self.name: str = name
        text = "" if topic_id == _NO_ID else str(UUID(bytes=topic_id))
        self.identity = TopicIdentity(text, len(partitions or ()))
