"""Logins by SCRAM that a broker keeps, as a record of the cluster (KIP-554).

aiokafka has no such request, and lets a client declare it.
"""

from __future__ import annotations

import hashlib
import secrets

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.security import KafkaSecurity

_ALTER_LOGINS, _VERSION = 51, 0
_SHA_512 = 2

# The fewest that Kafka accepts: they slow down guesses, and a random password cannot be guessed.
_ITERATIONS = 4096

_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)


class _AlterLoginsResponse(Response):
    """AlterUserScramCredentials response 0, as https://kafka.apache.org/protocol describes it."""

    API_KEY = _ALTER_LOGINS
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(("user", _TEXT), ("error_code", Int16), ("error_message", _TEXT), _TAGS),
        ),
        _TAGS,
    )


class _AlterLoginsRequest(RequestStruct):
    """AlterUserScramCredentials request 0."""

    FLEXIBLE_VERSION = True
    API_KEY = _ALTER_LOGINS
    API_VERSION = _VERSION
    RESPONSE_TYPE = _AlterLoginsResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", _TEXT), ("mechanism", Int8), _TAGS)),
        (
            "upsertions",
            CompactArray(
                ("name", _TEXT),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _AddLogin(Request[_AlterLoginsRequest]):
    """Adds a login by SCRAM-SHA-512, or replaces that of the same user."""

    API_KEY = _ALTER_LOGINS

    def __init__(self, login: KafkaSecurity) -> None:
        self._login = login

    def build(self, request_struct_class: type[_AlterLoginsRequest]) -> _AlterLoginsRequest:
        tags: dict[int, bytes] = {}
        password, salt = str(self._login.password).encode(), secrets.token_bytes(32)
        salted = hashlib.pbkdf2_hmac("sha512", password, salt, _ITERATIONS)
        login = (self._login.username, _SHA_512, _ITERATIONS, salt, salted, tags)
        return request_struct_class([], [login], tags)


async def add_scram_login(kafka: KafkaAccess, login: KafkaSecurity) -> None:
    """Let the cluster accept `login`, which is by SCRAM-SHA-512.

    The client of `kafka` has to be allowed to. Raises Unavailable.
    """
    client = AIOKafkaClient(**kafka.arguments())
    try:
        async with kafka.answered():
            await client.bootstrap()
            answer = await client.send(client.get_random_node(), _AddLogin(login))
    finally:
        await client.close()
    for _, error, message, _ in answer.results:
        if error:
            raise Unavailable("kafka", f"it refused a login (error {error}): {message}")
