"""An open-loop load client: a request is due at its time, whether those before are answered or not.

So an answer that is late because others hold it up counts as late, as users would see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from freshrank.deploy.servers.http_client import KeepAliveClient

# Connections that requests share: as many as are under way at once on a slow machine.
CONNECTIONS = 32


@dataclass(slots=True)
class OpenLoopResult:
    """What became of the requests of an open loop."""

    latencies_ms: list[float] = field(default_factory=list)
    """From when each was due until its answer with status 200 was there."""
    failed: int = 0
    """Answers with another status, and broken connections."""


async def ask_steadily(
    port: int,
    path: str,
    bodies: Sequence[bytes],
    per_s: float,
    taken: Callable[[bytes], object] = len,
) -> OpenLoopResult:
    """POST each of `bodies` to `path`, `per_s` a second; `taken` takes each answer with 200."""
    found, free = OpenLoopResult(), asyncio.Queue[KeepAliveClient]()
    clients = [KeepAliveClient("127.0.0.1", port) for _ in range(CONNECTIONS)]
    for client in clients:
        free.put_nowait(client)
    loop = asyncio.get_running_loop()

    async def one(body: bytes, due: float) -> None:
        client = await free.get()
        try:
            status, answer = await client.post(path, body)
        except OSError:
            found.failed += 1
            return
        finally:
            free.put_nowait(client)
        if status != 200:
            found.failed += 1
            return
        found.latencies_ms.append((loop.time() - due) * 1000.0)
        taken(answer)

    began = loop.time()
    async with asyncio.TaskGroup() as running:
        for number, body in enumerate(bodies):
            due = began + number / per_s
            await asyncio.sleep(due - loop.time())
            running.create_task(one(body, due))
    for client in clients:
        await client.close()
    return found
