r"""The events beside the probes, from a process of its own: what they cost delays no probe.

    python -m freshrank.benchmarks.latency.rows.traffic_host BOOTSTRAP TOPIC RATE COUNT NUMBER

writes COUNT events, RATE a second, in an open loop. The first is of a user and an item that have no
other (`first_of`). Runs on one topic differ in NUMBER, and so in their events' ids.
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
FIRST_ITEM = 10_000_000
"""Beyond the items of the other events: that of the first one of the run with the number 0."""

# Seconds between two ticks; what a tick writes goes out at once.
_TICK_S, _LINGER_MS = 0.01, 0


def first_of(number: int) -> tuple[str, int]:
    """The user and the item of the first event of a run.

    >>> first_of(1)
    ('traffic1', 10000001)
    """
    return f"traffic{number}", FIRST_ITEM + number


def write(filler: TopicFiller, rate: int, count: int, number: int) -> None:
    """Write `count` events, so many a second."""
    now_ms = SystemClock().now_ms()
    user, item = first_of(number)
    first = ShopEvent(f"{user}-view", user, item, 1, "view", 1.0, now_ms)
    filler.write(user.encode(), msgspec.json.encode(first))
    rng = np.random.default_rng(number)
    events = shop_events(count - 1, USERS, now_ms, rng, run=f"{user}-")
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
    bootstrap, topic, *amounts = sys.argv[1:]
    rate, count, number = map(int, amounts)
    write(TopicFiller(bootstrap, topic, _LINGER_MS), rate, count, number)


if __name__ == "__main__":
    main()
