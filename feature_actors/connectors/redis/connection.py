"""Commands to Redis and their answers: several are sent before the first answer is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import redis.asyncio
import redis.exceptions

from freshrank.actors.errors import ConfigError, Unavailable

Argument: TypeAlias = bytes | str | int | memoryview
Command: TypeAlias = tuple[Argument, ...]

# Larger arguments are sent without being copied into the rest of the command.
LARGE_BYTES = 10_000
# Seconds after which a store that does not answer counts as away.
DEADLINE_S = 2.0


class RedisConnection:
    """Connections that carry packed commands, several before the first answer."""

    def __init__(self, url: str, deadline_s: float) -> None:
        # Without the client's own timeout for commands: it sends with `asyncio.wait_for`, which may
        # lose a cancellation (python/cpython#86296), and the task then waits for ever.
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url, socket_connect_timeout=deadline_s, socket_timeout=None
        )
        self._deadline_s = deadline_s
        self._idle: list[redis.asyncio.connection.AbstractConnection] = []
        self._closed = False

    async def call(self, commands: Sequence[Command]) -> list[object]:
        """Send all, then read all answers. Raises Unavailable; error answers are returned."""
        async with self._connection() as connection:
            pieces = [piece for command in commands for piece in _pack(command)]
            await connection.send_packed_command(pieces, check_health=False)
            answers: list[object] = []
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except redis.exceptions.ResponseError as error:
                    answers.append(error)
            return answers

    def _connect(self) -> redis.asyncio.connection.AbstractConnection:
        return self._pool.connection_class(**self._pool.connection_kwargs)

    async def close(self) -> None:
        """Close the idle connections, and those of calls under way when these end.

        Safe to call twice.
        """
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[redis.asyncio.connection.AbstractConnection]:
        connection = self._idle.pop() if self._idle else self._connect()
        whole = False
        try:
            async with asyncio.timeout(self._deadline_s):
                yield connection
                whole = True
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable("redis", str(error) or type(error).__name__) from error
        finally:
            if whole and not self._closed:
                self._idle.append(connection)
            else:  # answers may still arrive: the next caller must not read them
                await connection.disconnect(nowait=True)


async def check_access(url: str, deadline_s: float = DEADLINE_S) -> str | None:
    """Ping the server; returns a warning where it may evict rows.

    Raises Unavailable, and ConfigError where it refuses the password or is in cluster mode.
    """
    connection = RedisConnection(url, deadline_s)
    try:
        (answer,) = await connection.call([("PING",)])
        if not isinstance(answer, redis.exceptions.AuthenticationError):
            return await _check_mode(connection)
    except Unavailable as error:
        if isinstance(error.__cause__, redis.exceptions.AuthenticationError):
            raise _refused(error.reason) from error
        raise
    finally:
        await connection.close()
    raise _refused(str(answer))


async def server_info(connection: RedisConnection, section: str) -> dict[str, str]:
    """The fields of a section of INFO; none where the user may not ask. Raises Unavailable."""
    (answer,) = await connection.call([("INFO", section)])
    if not isinstance(answer, bytes):
        return {}
    lines = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


async def _check_mode(connection: RedisConnection) -> str | None:
    cluster = await server_info(connection, "cluster")
    if cluster.get("cluster_enabled") == "1":
        raise ConfigError(
            "redis.url",
            "the server runs in cluster mode, where the rows of one write lie on several servers",
            "Give a Redis that is no cluster (cluster-enabled no); one with replicas is fine.",
        )
    policy = (await server_info(connection, "memory")).get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return (
        f"Redis removes rows when its memory is full (maxmemory-policy {policy}): set noeviction, "
        "else users get answers as if they were new"
    )


def _pack(command: Command) -> Iterator[bytes]:
    # The client's own packing, in Python, joins once an argument. A read has a hundred keys, which
    # are bytes already: no function is called for these.
    small = [b"*%d\r\n" % len(command)]
    for argument in command:
        raw = argument if type(argument) is bytes else _raw(argument)
        if len(raw) < LARGE_BYTES:
            small.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
        else:
            small.append(b"$%d\r\n" % len(raw))
            yield b"".join(small)
            yield raw
            small = [b"\r\n"]
    yield b"".join(small)


def _raw(argument: Argument) -> bytes:
    return bytes(argument) if isinstance(argument, memoryview | bytes) else str(argument).encode()


def _refused(reason: str) -> ConfigError:
    return ConfigError(
        "redis",
        f"the server refuses the user or the password ({reason})",
        "Set FRESHRANK_REDIS__PASSWORD_FILE or FRESHRANK_REDIS__PASSWORD.",
    )
