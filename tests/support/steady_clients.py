"""Clients that ask without a pause, or one question after another, and note each that failed."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Asked:
    """What clients have been answered so far."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.last: Any = None
        """The newest answer of status 200."""


@contextmanager
def asking(port: int, body: object, clients: int = 1, pause_s: float = 0.0) -> Iterator[Asked]:
    """So many clients post `body` to ``/v1/score`` until the block ends, each on its connection.

    An answer that is not of status 200, and a connection that breaks, is a failure: nothing is
    tried again.
    """
    asked, ended = Asked(), threading.Event()
    payload = json.dumps(body).encode()
    threads = [
        threading.Thread(target=_ask, args=(port, payload, asked, ended, pause_s))
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _ask(port: int, body: bytes, asked: Asked, ended: threading.Event, pause_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
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
