"""What a running system tells of itself over its endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Self

import msgspec

from freshrank.actors.messages import Version
from freshrank.deploy.servers.http_client import KeepAliveClient

# What the figures of a shard say is left to do: to read, to write, to give to the learner.
_LEFT = ("lag_total", "rows_waiting", "unsent")


class LiveView:
    """Asks an endpoint of this machine, one question after another."""

    def __init__(self, port: int) -> None:
        self._client = KeepAliveClient("127.0.0.1", port)
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def get(self, path: str) -> dict[str, Any]:
        """The body of a 200 answer; {} where there is none at this moment."""
        return await self._answer(self._client.get(path))

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """The same."""
        return await self._answer(self._client.post(path, body))

    async def _answer(self, question: Awaitable[tuple[int, bytes]]) -> dict[str, Any]:
        async with self._asking:
            try:
                status, body = await question
            except OSError:
                return {}
        return msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else {}

    async def statuses(self) -> dict[str, Any]:
        """What each part posted last."""
        return await self.get("/v1/status")

    async def process_of(self, part: str) -> int | None:
        """Id of the process that said last that it is `part`; what it said expires soon."""
        found: int | None = (await self.statuses()).get(part, {}).get("process_id")
        return found

    async def version(self) -> Version:
        """Of the weights that answer; the first of all where none do."""
        answer = await self.get("/v1/model")
        return Version.parse(answer["version"]) if answer.get("version") else Version(0, 0)

    async def served(self, user: str) -> bool:
        """Whether there are features of `user`."""
        return (await self.get(f"/v1/features/user/{user}")).get("offset") is not None

    async def waiting(self) -> int:
        """What is left to read, to write and to learn; more than nothing while that is unknown."""
        parts = await self.statuses()
        shard, learner = parts.get("shard-0", {}), parts.get("learner")
        if learner is None or shard.get("starting", True):
            return 1
        return sum(int(shard[name]) for name in _LEFT) + int(learner["pending_examples"])

    async def disagreements(self) -> int:
        """How often replicas found that their weights are not the learner's."""
        parts = await self.statuses()
        replicas = [one["model"] for name, one in parts.items() if name.startswith("replica")]
        return sum(model["mismatches"] for model in replicas)
