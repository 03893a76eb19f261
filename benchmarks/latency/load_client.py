"""A closed-loop load client: so many connections, each with one request under way.

Runs in a process of its own, so that it shares no interpreter with anything it measures::

    python -m freshrank.benchmarks.latency.load_client 127.0.0.1 8000 /v1/score 32 5.0 < bodies

reads one JSON body a line, sends them in turn, and prints a `LoadResult` as MessagePack.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
import uvloop

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.report import quantile

# Seconds of load before anything is counted: connections open, branches and caches warm.
WARM_UP_S = 1.0
# Seconds without any answer after which a connection is given up.
SILENCE_S = 10.0


class LoadResult(msgspec.Struct, frozen=True):
    """What one run gave."""

    answers_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    """Answers other than 200, and connections that broke."""
    first_error: str
    """The first wrong answer as it came ("" without one)."""


@dataclass(slots=True)
class Tally:
    """What all connections of one run saw within the time that counts."""

    begins: float
    """`time.perf_counter` from which on answers count."""
    ends: float
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""

    def note(self, sent: float, arrived: float, answer: bytes) -> None:
        """Count one answer; a wrong one counts whenever it comes."""
        if not answer.startswith(b"HTTP/1.1 200"):
            self.errors += 1
            self.first_error = self.first_error or answer[:500].decode(errors="replace")
        elif self.begins <= sent and arrived <= self.ends:
            self.latencies_ms.append((arrived - sent) * 1000.0)

    def result(self) -> LoadResult:
        """The figures."""
        return LoadResult(
            answers_per_s=len(self.latencies_ms) / (self.ends - self.begins),
            p50_ms=quantile(self.latencies_ms, 0.50),
            p99_ms=quantile(self.latencies_ms, 0.99),
            errors=self.errors,
            first_error=self.first_error,
        )


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered, until the tally ends."""

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._received = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by descent
        self._send(self._transport)

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._received += data
        end = whole_answer(self._received)
        if end is None or self._transport is None:
            return
        now = time.perf_counter()
        self._tally.note(self._sent, now, self._received[:end])
        self._received = self._received[end:]
        if now >= self._tally.ends:
            self._transport.close()
        else:
            self._send(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End; before its time that is an error."""
        self._tally.errors += time.perf_counter() < self._tally.ends
        if not self.done.done():
            self.done.set_result(None)

    def _send(self, transport: asyncio.Transport) -> None:
        self._sent = time.perf_counter()
        transport.write(next(self._requests))


def whole_answer(received: bytes) -> int | None:
    r"""Where the first answer in `received` ends; None while it is not whole.

    Reads answers with a Content-Length, as all the servers measured here give.

    >>> whole_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTT")
    40
    """
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = received[:head_end].lower()
    begin = head.find(b"content-length:")
    if begin < 0:
        raise ValueError("an answer without Content-Length")
    length = int(head[begin + 15 :].split(b"\r\n", 1)[0])
    end = head_end + 4 + length
    return end if len(received) >= end else None


async def drive(
    address: tuple[str, int], path: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> LoadResult:
    """Keep `connections` requests under way for `seconds` after the warm-up.

    Raises Unavailable when not one answer counts.
    """
    host, port = address
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    requests = itertools.cycle(
        [f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one for one in bodies]
    )
    begins = time.perf_counter() + WARM_UP_S
    tally = Tally(begins, begins + seconds)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Connection(requests, tally), host, port)
        for _ in range(connections)
    ]
    waiting = asyncio.gather(*(connection.done for _, connection in opened))
    try:
        await asyncio.wait_for(waiting, WARM_UP_S + seconds + SILENCE_S)
    except TimeoutError:
        tally.errors += sum(not connection.done.done() for _, connection in opened)
    if not tally.latencies_ms:
        raise Unavailable(f"{host}:{port}", f"no answer that counts; {tally.first_error}")
    return tally.result()


def run_load(
    address: tuple[str, int], path: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> LoadResult:
    """Run `drive` in a process of its own. Raises Unavailable when that fails."""
    host, port = address
    done = subprocess.run(
        [sys.executable, "-m", __name__, host, str(port), path, str(connections), str(seconds)],
        input=b"\n".join(bodies),
        capture_output=True,
        check=False,
        timeout=WARM_UP_S + seconds + 2 * SILENCE_S,
    )
    if done.returncode != 0:
        raise Unavailable("the load client", done.stderr.decode(errors="replace")[-2_000:])
    return msgspec.msgpack.decode(done.stdout, type=LoadResult)


def main() -> None:
    """Read the arguments and the bodies, drive, print."""
    host, port, path, connections, seconds = sys.argv[1:]
    bodies = sys.stdin.buffer.read().splitlines()
    driving = drive((host, int(port)), path, bodies, int(connections), float(seconds))
    # Not JSON, which has no way to say that there is no median.
    sys.stdout.buffer.write(msgspec.msgpack.encode(uvloop.run(driving)))


if __name__ == "__main__":
    main()
