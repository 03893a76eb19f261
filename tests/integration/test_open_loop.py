"""An open loop over a real connection of the loopback."""

from __future__ import annotations

import asyncio

from freshrank.benchmarks.latency.open_loop import ask_steadily

CONNECTIONS: list[asyncio.Task[None]] = []
"""Those that were made to the server."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own body; with 503 one that says so."""
    own = asyncio.current_task()
    assert own is not None
    CONNECTIONS.append(own)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            status = b"503 Busy" if body == b"busy" else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, length, body))
    except asyncio.IncompleteReadError:
        writer.close()
        await writer.wait_closed()


def test_each_request_is_answered_once_and_failures_are_counted() -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        bodies = [b"busy" if number % 4 == 3 else b"%d" % number for number in range(40)]
        taken = list[bytes]()
        found = await ask_steadily(port, "/v1/score", bodies, 2_000.0, taken.append)
        assert (len(found.latencies_ms), found.failed) == (30, 10)
        assert sorted(taken) == sorted(body for body in bodies if body != b"busy")
        assert min(found.latencies_ms) > 0.0
        server.close()
        await asyncio.gather(*CONNECTIONS)

    asyncio.run(run())


def test_a_server_that_is_not_there_fails_each_request() -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        found = await ask_steadily(port, "/v1/score", [b"1"] * 5, 1_000.0)
        assert (found.latencies_ms, found.failed) == ([], 5)

    asyncio.run(run())
