"""The status registry in Redis."""

from __future__ import annotations

import msgspec

from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import Status
from freshrank.feature_actors.connectors.redis.connection import DEADLINE_S, RedisConnection

# Seconds after which the status of a part that stopped posting disappears.
STATUS_TTL_S = 15
# Keys per step of a scan over the registry.
SCAN_COUNT = 100


class RedisStatusRegistry:
    """Statuses as JSON under ``{namespace}:status:{part}``; satisfies StatusRegistry."""

    def __init__(self, url: str, namespace: str, deadline_s: float = DEADLINE_S) -> None:
        self._connection = RedisConnection(url, deadline_s)
        self._prefix = f"{namespace}:status:"

    async def post(self, part: str, status: Status) -> None:
        """Replace the status of `part`; it expires after `STATUS_TTL_S`. Raises Unavailable."""
        await self._connection.call(
            [("SET", self._prefix + part, msgspec.json.encode(status), "EX", STATUS_TTL_S)]
        )

    async def collect(self) -> dict[str, Status]:
        """The statuses of all parts that posted within `STATUS_TTL_S`. Raises Unavailable."""
        names = await self._names()
        if not names:
            return {}
        (payloads,) = await self._connection.call([("MGET", *names)])
        if not isinstance(payloads, list):
            raise Unavailable("redis", f"unexpected answer to MGET: {payloads!r}")
        return {
            name.decode().removeprefix(self._prefix): msgspec.json.decode(payload)
            for name, payload in zip(names, payloads, strict=True)
            if payload is not None  # it expired in between
        }

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._connection.close()

    async def _names(self) -> list[bytes]:
        names: set[bytes] = set()
        cursor: bytes | int = 0
        while True:
            (answer,) = await self._connection.call(
                [("SCAN", cursor, "MATCH", self._prefix + "*", "COUNT", SCAN_COUNT)]
            )
            if not isinstance(answer, list) or len(answer) != 2:
                raise Unavailable("redis", f"unexpected answer to SCAN: {answer!r}")
            cursor, found = answer
            names.update(found)
            if int(cursor) == 0:
                return sorted(names)
