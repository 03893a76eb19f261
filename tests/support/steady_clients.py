"""Clients that ask without a pause, or one question after another, and note each that failed."""

from __future__ import annotations

import http.client
import importlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from documents import blocks

_ROOT = Path(__file__).parent.parent.parent

_SCORE = "/freshrank.v1.Freshrank/Score"

# Seconds for an answer.
_TIMEOUT_S = 60.0


class Asked:
    """What clients have been answered so far."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.last: Any = None
        """The newest that has not failed."""


@contextmanager
def asking(port: int, body: object, clients: int = 1, pause_s: float = 0.0) -> Iterator[Asked]:
    """So many clients post `body` to ``/v1/score`` until the block ends, each on its connection.

    An answer that is not of status 200, and a connection that breaks, is a failure: nothing is
    tried again.
    """
    payload = json.dumps(body).encode()
    with _clients(clients, lambda asked, ended: _ask(port, payload, asked, ended, pause_s)) as all_:
        yield all_


@contextmanager
def calling(
    port: int, request: bytes, clients: int = 1, pause_s: float = 0.0, *, anew: bool = False
) -> Iterator[Asked]:
    """So many clients call ``Score`` by gRPC until the block ends, each on its channel.

    `anew`: on another channel, and thereby another connection, for each call, of which none is
    tried again; channels that are kept have the configuration of the documentation. A call that
    ends with an error is a failure. The newest answer is the message as it came.
    """
    run = _Caller(port, request, pause_s, anew=anew).run
    with _clients(clients, run) as asked:
        yield asked


@contextmanager
def _clients(count: int, run: Callable[[Asked, threading.Event], None]) -> Iterator[Asked]:
    asked, ended = Asked(), threading.Event()
    threads = [threading.Thread(target=run, args=(asked, ended)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _ask(port: int, body: bytes, asked: Asked, ended: threading.Event, pause_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    headers = {"Content-Type": "application/json"}
    while not ended.wait(pause_s):
        try:
            connection.request("POST", "/v1/score", body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            asked.failures.append(f"{type(error).__name__}: {error}")
            connection.close()
            continue
        if response.status == 200:
            asked.last = json.loads(answer)
        else:
            asked.failures.append(f"{response.status}: {answer[:200]!r}")
        asked.answers += 1
    connection.close()


def documented_retries() -> str:
    """The service configuration of a client that goes on while replicas leave."""
    (found,) = [
        one.text for one in blocks(_ROOT, "json", "docs/client.md") if "retryPolicy" in one.text
    ]
    return found


class _Caller:
    """A client of gRPC."""

    def __init__(self, port: int, request: bytes, pause_s: float, *, anew: bool) -> None:
        self._address = f"127.0.0.1:{port}"
        self._request = request
        self._pause_s = pause_s
        self._anew = anew
        # Otherwise channels of a process to one address share their connections.
        self._options: list[tuple[str, object]] = [("grpc.use_local_subchannel_pool", 1)]
        if not anew:
            self._options.append(("grpc.service_config", documented_retries()))

    def run(self, asked: Asked, ended: threading.Event) -> None:
        """Call until `ended`."""
        grpc = importlib.import_module("grpc")  # it has types for asyncio only
        while not ended.is_set():
            with grpc.insecure_channel(self._address, self._options) as channel:
                call = channel.unary_unary(_SCORE)
                self._call(call, asked, grpc.RpcError)
                while not self._anew and not ended.wait(self._pause_s):
                    self._call(call, asked, grpc.RpcError)
            ended.wait(self._pause_s)

    def _call(self, call: Callable[..., bytes], asked: Asked, failure: type[Exception]) -> None:
        try:
            asked.last = call(self._request, timeout=_TIMEOUT_S)
            asked.answers += 1
        except failure as error:
            asked.failures.append(str(error))
