"""Calls of the REST API of a replica under test, from synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
from serving import ReplicaUnderTest

T = TypeVar("T")


def talk(replica: ReplicaUnderTest, story: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    """The result of `story` with a client of the started replica."""

    async def call() -> T:
        async with replica.client() as client:
            return await story(client)

    return asyncio.run(call())


def candidates(*items: int) -> list[dict[str, Any]]:
    return [{"item_id": item, "note": "n", "price": 1.5} for item in items]


def post(replica: ReplicaUnderTest, path: str, **request: Any) -> httpx.Response:
    return talk(replica, lambda client: client.post(path, **request))


def get(replica: ReplicaUnderTest, path: str) -> httpx.Response:
    return talk(replica, lambda client: client.get(path))


def score(replica: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    body = {"user": "u1", "candidates": candidates(3, 4, 5)} | changes
    return post(replica, "/v1/score", json=body)
