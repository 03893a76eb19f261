"""A closed-loop load client: a number of connections, each with one request at a time.

It runs in a process of its own, so that it shares no interpreter with the server::

    python -m freshrank.benchmarks.latency.load_client 127.0.0.1 8000 /v1/score 32 5.0 < bodies

reads one JSON body per line, sends them in turn, and prints a `LoadResult` as MessagePack.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
import uvloop

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.report import quantile

# Seconds of load before answers count: connections open and caches get warm.
WARM_UP_S = 1.0
# Seconds without any answer after which a connection counts as broken.
SILENCE_S = 10.0


class LoadResult(msgspec.Struct, frozen=True):
    """The figures of one run."""

    answers_per_s: float
    """Of all answers within the time, also to requests that were sent before."""
    p50_ms: float
    """Of requests that were sent and answered within it, as is `p99_ms`."""
    p99_ms: float
    errors: int
    """Answers with another status than 200, and broken connections."""
    first_error: str
    """The first 500 bytes of the first answer without status 200; "" when there was none."""


@dataclass(slots=True)
class Tally:
    """The answers of all connections of one run."""

    begins: float
    """`time.perf_counter` from which on answers count."""
    ends: float
    """`time.perf_counter` after which no answer counts."""
    latencies_ms: list[float] = field(default_factory=list)
    answered: int = 0
    errors: int = 0
    first_error: str = ""

    def note(self, sent: float, arrived: float, answer: bytes) -> None:
        """Count an answer; one without status 200 counts at any time."""
        if not answer.startswith(b"HTTP/1.1 200"):
            self.errors += 1
            self.first_error = self.first_error or answer[:500].decode(errors="replace")
        elif self.begins <= arrived <= self.ends:
            self.answered += 1
            if self.begins <= sent:
                self.latencies_ms.append((arrived - sent) * 1000.0)

    def result(self) -> LoadResult:
        """Return the figures of the answers that count."""
        return LoadResult(
            answers_per_s=self.answered / (self.ends - self.begins),
            p50_ms=quantile(self.latencies_ms, 0.50),
            p99_ms=quantile(self.latencies_ms, 0.99),
            errors=self.errors,
            first_error=self.first_error,
        )


class Connection(asyncio.Protocol):
    """Sends a request as soon as the one before is answered, until the tally ends."""

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._received = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._send(self._transport)

    def data_received(self, data: bytes) -> None:
        """Collect bytes until an answer is complete; note it, then send the next request."""
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
        """Finish; before the tally's end that counts as an error."""
        self._tally.errors += time.perf_counter() < self._tally.ends
        if not self.done.done():
            self.done.set_result(None)

    def _send(self, transport: asyncio.Transport) -> None:
        self._sent = time.perf_counter()
        transport.write(next(self._requests))


def whole_answer(received: bytes) -> int | None:
    r"""Return where the first answer in `received` ends; None while it is incomplete.

    Raises ValueError for an answer without Content-Length, which none of these servers sends.

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
    """Put load on the server at `address` for `seconds` after the warm-up.

    Raises Unavailable when no answer counts.
    """
    host, port = address
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    requests = itertools.cycle(
        [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
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
        raise Unavailable(f"{host}:{port}", f"no answer counts; {tally.first_error}")
    return tally.result()


def run_load(
    address: tuple[str, int], path: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> LoadResult:
    """Run `drive` in a process of its own. Raises Unavailable."""
    host, port = address
    output = run_module(
        __name__,
        [host, str(port), path, str(connections), str(seconds)],
        timeout_s=WARM_UP_S + seconds + 2 * SILENCE_S,
        standard_input=b"\n".join(bodies),
    )
    return msgspec.msgpack.decode(output, type=LoadResult)


def main() -> None:
    """Read the arguments and the bodies, drive, print."""
    host, port, path, connections, seconds = sys.argv[1:]
    bodies = sys.stdin.buffer.read().splitlines()
    driving = drive((host, int(port)), path, bodies, int(connections), float(seconds))
    # MessagePack, because JSON has no NaN.
    sys.stdout.buffer.write(msgspec.msgpack.encode(uvloop.run(driving)))


if __name__ == "__main__":
    main()
