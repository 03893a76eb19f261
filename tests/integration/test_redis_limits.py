"""A Redis that is a cluster, that is full, or that forgets rows after their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import redis

from freshrank.actors.errors import ConfigError, StoreFull
from freshrank.actors.messages import BEGINNING
from freshrank.actors.protocols import WriteOutcome
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask_socket
from freshrank.deploy.servers.redis_server import find_redis
from freshrank.feature_actors.connectors.redis.connection import check_access
from freshrank.feature_actors.connectors.redis.online_store import RedisStore

START_S = 120.0


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts a server with options; gives its URL."""
    started: list[Child] = []
    folder = tmp_path_factory.mktemp("redis")

    def start(*options: str) -> str:
        place = folder / "redis.sock"
        program = [find_redis(), "--port", str(free_port()), "--bind", "127.0.0.1"]
        files = ["--unixsocket", str(place), "--dir", str(folder), "--save", ""]
        server = Child("redis", [*program, *files, *options], folder / "redis.log")
        started.append(server)
        server.wait_until(lambda: ask_socket(place, b"PING\r\n") == b"+PONG\r\n", START_S)
        return f"unix://{place}"

    yield start
    for server in started:
        server.stop()


def test_a_redis_in_cluster_mode_is_refused_with_the_fix(start: Callable[..., str]) -> None:
    url = start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with pytest.raises(ConfigError, match=r"cluster mode.*cluster-enabled no"):
        asyncio.run(check_access(url))


def test_a_redis_that_may_remove_rows_is_warned_of(start: Callable[..., str]) -> None:
    url = start("--maxmemory-policy", "allkeys-lru")
    assert "maxmemory-policy allkeys-lru" in str(asyncio.run(check_access(url)))
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory-policy", "noeviction")
    assert asyncio.run(check_access(url)) is None


def test_a_full_redis_refuses_rows_by_name_and_takes_them_when_there_is_memory(
    start: Callable[..., str],
) -> None:
    async def story() -> None:
        url = start()
        store = RedisStore(url, "full")
        await store.claim(0, 1)
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreFull, match="maxmemory is reached"):
                await store.write(0, 1, BEGINNING, [b"a"], b"x")
            assert await store.claim(0, 1) == BEGINNING, "a claim is confirmed without memory"
            client.config_set("maxmemory", 0)
        assert await store.write(0, 1, BEGINNING, [b"a"], b"x") is WriteOutcome.WRITTEN
        await store.close()

    asyncio.run(story())


def test_removed_rows_are_counted(start: Callable[..., str]) -> None:
    async def story() -> None:
        url = start("--maxmemory-policy", "allkeys-lru")
        store = RedisStore(url, "evicting")
        await store.claim(0, 1)
        await store.write(0, 1, BEGINNING, [b"%d" % n for n in range(500)], b"x" * 5_000_000)
        assert await store.evicted() == 0
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory", "3mb")
        for _ in range(500):
            if await store.evicted() > 0:
                break
            await asyncio.sleep(0.02)
        assert await store.evicted() > 0
        await store.close()

    asyncio.run(story())


def test_rows_and_claim_expire_unless_they_are_refreshed(redis_url: str, fresh_name: str) -> None:
    async def story() -> None:
        store = RedisStore(redis_url, fresh_name, expiry_s=1.0)
        await store.claim(0, 1)
        await store.write(0, 1, BEGINNING, [b"kept", b"gone"], b"12")
        for _ in range(1_000):
            if (await store.read([b"gone"])).rows == [None]:
                break
            assert await store.claim(0, 1) == BEGINNING
            assert await store.refresh(0, 1, [b"kept"]) == []
            await asyncio.sleep(0.02)
        assert (await store.read([b"kept", b"gone"])).rows == [b"1", None]
        for _ in range(1_000):
            if (await store.read([b"kept"])).rows == [None]:
                break
            await asyncio.sleep(0.02)
        assert (await store.read([b"kept"])).rows == [None]
        assert await store.claim(0, 2) is None, "the claim went first: all rows are written again"
        await store.close()

    asyncio.run(story())
