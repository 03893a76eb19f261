"""Events at a steady rate in an open loop: they come whether or not the system keeps up."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterable
from typing import Self

import numpy as np

from freshrank.benchmarks.workloads.dead_letters import WAYS, spoilt
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events

# Seconds between two bursts: long enough that many events share a wake-up, short beside any latency
# that is measured.
TICK_S = 0.01


class SteadyStream:
    """A thread that writes `per_s` events of `users` users a second, until it is stopped.

    A context manager. `per_s` may be set at any time. After a stall the events of at most a second
    are made up for. A share `spoilt_share` of the records breaks the schema (`dead_letters`).
    """

    def __init__(
        self, bootstrap: str, topic: str, per_s: float, users: int, spoilt_share: float = 0.0
    ) -> None:
        self.per_s = per_s
        self.written = 0
        self._spoilt_share = spoilt_share
        self._users = users
        self._filler = TopicFiller(bootstrap, topic)
        self.rng = np.random.default_rng(0)
        self._spoil_random = random.Random(0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady stream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread and wait until the broker has all records. Raises Unavailable.

        Does nothing the second time.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            self._filler.finish()

    def records(self, count: int, now_ms: int, tick: int) -> Iterable[tuple[bytes, bytes | None]]:
        """The next `count` records; `tick` tells them from those of other calls."""
        events = shop_events(count, self._users, now_ms, self.rng, f"s{tick}-")
        return ((key, self._sometimes_spoilt(value)) for key, value in events)

    @property
    def delivered(self) -> int:
        """Records that the broker has taken."""
        return self._filler.delivered

    def write(self, key: bytes, value: bytes) -> None:
        """Write a record of the caller among those of the stream."""
        self._filler.write(key, value)

    def _run(self) -> None:
        last, owed = time.monotonic(), 0.0
        for tick in itertools.count():
            if self._stopping.wait(TICK_S):
                return
            now = time.monotonic()
            owed += min(now - last, 1.0) * self.per_s
            last, count = now, int(owed)
            owed -= count
            now_ms = time.time_ns() // 1_000_000
            for key, value in self.records(count, now_ms, tick):
                self._filler.write(key, value)
            self.written += count

    def _sometimes_spoilt(self, value: bytes) -> bytes:
        if self._spoil_random.random() >= self._spoilt_share:
            return value
        return spoilt(value, self._spoil_random.randrange(WAYS))
