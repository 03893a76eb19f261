"""Events at a steady rate, in an open loop: they come whether or not anybody keeps up."""

from __future__ import annotations

import itertools
import random
import threading
import time

import numpy as np

from freshrank.benchmarks.workloads.dead_letters import WAYS, spoilt
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events

# Seconds between two bursts: many events share the work of a wake-up, none waits for long.
TICK_S = 0.01


class SteadyStream:
    """Writes `per_s` events of `users` users a second, in a thread, until it is stopped.

    The rate may be changed at any time. After a stall at most a second is made up for. Of the
    records `spoilt_share` are no use (`dead_letters`).
    """

    def __init__(
        self, bootstrap: str, topic: str, per_s: float, users: int, spoilt_share: float = 0.0
    ) -> None:
        self.per_s = per_s
        self.written = 0
        self._spoilt_share = spoilt_share
        self._users = users
        self._filler = TopicFiller(bootstrap, topic)
        self._rng = np.random.default_rng(0)
        self._dice = random.Random(0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady stream")

    def __enter__(self) -> SteadyStream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and wait until the broker has everything. Raises what went wrong; once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            self._filler.finish()

    def write(self, key: bytes, value: bytes) -> None:
        """Write a record of somebody else among those of the stream."""
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
            for key, value in shop_events(count, self._users, now_ms, self._rng, f"s{tick}-"):
                self._filler.write(key, self._perhaps_spoilt(value))
            self.written += count

    def _perhaps_spoilt(self, value: bytes) -> bytes:
        if self._dice.random() >= self._spoilt_share:
            return value
        return spoilt(value, self._dice.randrange(WAYS))
