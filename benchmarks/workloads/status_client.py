"""Reads the status of a running system over its REST endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Self

import msgspec

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Version
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.serve.api.responses import ReadyAnswer
from freshrank.serve.monitoring.system_readiness import CANDIDATES_OF

# Fields of a shard's status that count unfinished work: unread records, unwritten rows, examples
# that the learner has not taken.
_BACKLOG_FIELDS = ("lag_total", "rows_waiting", "unsent")
# Seconds between two reads of the backlog: the parts post their statuses once a second.
_IDLE_POLL_S = 2.0


def shards_of(statuses: Mapping[str, Any]) -> dict[str, Any]:
    """The statuses of the shards, those of entities that candidates name among them."""
    kinds = "shard-", CANDIDATES_OF
    return {name: one for name, one in statuses.items() if name.startswith(kinds)}


class StatusClient:
    """Sends requests to the endpoint on a port of this machine, one at a time.

    Several tasks may share one client. A request without an answer in `timeout_s` has none.
    """

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self._client = KeepAliveClient("127.0.0.1", port, timeout_s)
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, path: str) -> dict[str, Any]:
        """Return the body of a 200 answer; {} for any other answer and for no answer."""
        return await self._answer(self._client.get(path))

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the body of a 200 answer; {} for any other answer and for no answer."""
        return await self._answer(self._client.post(path, body))

    async def missing(self) -> dict[str, str] | None:
        """Return what `/readyz` misses, by part; None where no replica answers."""
        _, body = await self._response(self._client.get("/readyz"))
        try:
            return msgspec.json.decode(body, type=ReadyAnswer).missing
        except msgspec.DecodeError:  # no answer, or one of HAProxy's own
            return None

    async def _answer(self, request: Awaitable[tuple[int, bytes]]) -> dict[str, Any]:
        status, body = await self._response(request)
        return msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else {}

    async def _response(self, request: Awaitable[tuple[int, bytes]]) -> tuple[int, bytes]:
        """Return status and body of the answer; 0 and b"" for no answer."""
        async with self._lock:
            try:
                return await request
            except OSError:
                return 0, b""

    async def statuses(self) -> dict[str, Any]:
        """Return the newest status of each part, by the part's name."""
        return await self.get("/v1/status")

    async def process_of(self, part: str) -> int | None:
        """Return the process id in the newest status of `part`; None while there is no status.

        A status expires a few seconds after its part has died.
        """
        found: int | None = (await self.statuses()).get(part, {}).get("process_id")
        return found

    async def version(self) -> Version:
        """Return the version of the weights that score; 0.0, before every other, without any."""
        answer = await self.get("/v1/model")
        return Version.parse(answer["version"]) if answer.get("version") else Version(0, 0)

    async def served(self, user: str) -> bool:
        """Return whether the endpoint has features of `user` that hold at least one event."""
        return (await self.get(f"/v1/features/user/{user}")).get("offset") is not None

    async def lag(self) -> int | None:
        """Return how many records shard 0 has not read; None while it has posted no status."""
        found: int | None = (await self.statuses()).get("shard-0", {}).get("lag_total")
        return found

    async def until_idle(self, timeout_s: float) -> None:
        """Wait until two reads in a row find no backlog.

        Raises Unavailable when there is still one after `timeout_s`.
        """
        deadline, idle = time.monotonic() + timeout_s, 0
        while idle < 2:
            if time.monotonic() > deadline:
                raise Unavailable("the system", f"still busy after {timeout_s:g} s")
            await asyncio.sleep(_IDLE_POLL_S)
            idle = idle + 1 if await self._backlog() == 0 else 0

    async def _backlog(self) -> int:
        """Count what is left to read, to write and to learn; 1 while that is unknown."""
        parts = await self.statuses()
        shards, learner = shards_of(parts), parts.get("learner")
        if learner is None or "shard-0" not in shards:
            return 1
        if any(shard.get("starting", True) for shard in shards.values()):
            return 1
        unfinished = sum(int(shard[name]) for shard in shards.values() for name in _BACKLOG_FIELDS)
        return unfinished + int(learner["pending_examples"])

    async def checksum_mismatches(self) -> int:
        """Return how often replicas found that their weights are not the learner's."""
        parts = await self.statuses()
        replicas = [part["model"] for name, part in parts.items() if name.startswith("replica")]
        return sum(model["mismatches"] for model in replicas)
