r"""The events beside the probes, from a process of its own: what they cost delays no probe.

    python -m freshrank.benchmarks.latency.rows.traffic_host BOOTSTRAP TOPIC RATE COUNT

writes COUNT events, RATE a second, in an open loop. The first is of `FIRST_USER` and `FIRST_ITEM`,
which have no other.
"""

from __future__ import annotations

import itertools
import sys
import time

import msgspec
import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events
from freshrank.examples.shop.shoppers import ShopEvent

USERS = 100_000
FIRST_USER, FIRST_ITEM = "traffic", 10_000_000
"""Of the first event: an item beyond those of the others."""

# Seconds between two ticks; what a tick writes goes out at once.
_TICK_S, _LINGER_MS = 0.01, 0


def write(filler: TopicFiller, rate: int, count: int) -> None:
    """Write `count` events, so many a second."""
    now_ms = SystemClock().now_ms()
    first = ShopEvent("traffic-view", FIRST_USER, FIRST_ITEM, 1, "view", 1.0, now_ms)
    filler.write(FIRST_USER.encode(), msgspec.json.encode(first))
    events = shop_events(count - 1, USERS, now_ms, np.random.default_rng(0))
    began_s, done = time.monotonic(), 1
    while done < count:
        due = min(count, int((time.monotonic() - began_s) * rate))
        for key, value in itertools.islice(events, max(0, due - done)):
            filler.write(key, value)
        done = max(done, due)
        time.sleep(_TICK_S)
    filler.finish()


def main() -> None:
    """Read the arguments, write."""
    bootstrap, topic, rate, count = sys.argv[1:]
    write(TopicFiller(bootstrap, topic, _LINGER_MS), int(rate), int(count))


if __name__ == "__main__":
    main()
