"""How long a replica takes to read and encode the features of a request, beside Feast's reads.

A request names a user and a hundred items. The rows of all of them are read from Redis in one
command, as a replica reads them that has no copies, and become the inputs of the model. Feast reads
as many features of a user and of as many items from the same Redis, and turns them into Python
values (`benchmarks/peers/peer_features.py`, in an environment of its own): encoding is not in its
time. Both ask one request after the other, and take turns, round by round.

After each request of ours a `PING` goes to the same Redis: its time is what the machine adds to
any request, however little that asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Ints
from freshrank.actors.runtime import freeze_heap
from freshrank.benchmarks.module_process import run_script
from freshrank.benchmarks.peers import peer_features
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median, quantile
from freshrank.benchmarks.workloads.shop_events import CATEGORIES, user_name
from freshrank.benchmarks.workloads.shop_fixture import (
    shop_file,
    touched_items,
    user_history,
    write_rows,
)
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.feature_actors.connectors.redis.connection import RedisConnection
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.serve.scoring.feature_reader import FeatureReader

USERS, CANDIDATES = 5_000, 100
# Requests of a round: a 99th percentile leaves out ten.
REQUESTS = 1_000
# Requests before those that are measured.
WARM_UP = 20
OURS = "freshrank"
REACH_MS, REACH_RATIO = 3.0, 10.0
_TIMEOUT_S = 10.0


class Reads(msgspec.Struct, frozen=True):
    """The requests of one round."""

    latencies_ms: list[float]
    cpu_ms: float
    """CPU time of a request in the process that asks."""
    cpus_ms: list[float] = []
    """Of ours: that of each request."""
    pings_ms: list[float] = []
    """Of ours: what a `PING` took after each."""


class _Reader:
    """Reads and encodes the features of random requests from the store at a URL."""

    def __init__(self, pipeline: Pipeline, redis_url: str, items: Ints) -> None:
        self._features = pipeline.online_features
        self._items = items
        self._rng = np.random.default_rng(0)
        self._clock = SystemClock()
        self._store = RedisStore(redis_url, f"fr:{pipeline.name}")
        self._bare = RedisConnection(redis_url, _TIMEOUT_S)
        self._reader = FeatureReader(self._store, self._clock, _TIMEOUT_S, partitions=1)

    async def run(self, requests: int) -> Reads:
        """Make so many requests, one after the other."""
        spent_ms, cpus_ms, pings_ms = list[float](), list[float](), list[float]()
        freeze_heap()  # as each replica does
        for number in range(WARM_UP + requests):
            user = user_name(int(self._rng.integers(USERS)))
            items = self._rng.choice(self._items, CANDIDATES, replace=False).tolist()
            cpu_began, began = time.process_time(), self._clock.monotonic()
            await self._request(user, items)
            ended, cpu_ended = self._clock.monotonic(), time.process_time()
            await self._bare.call([("PING",)])
            if number >= WARM_UP:
                spent_ms.append((ended - began) * 1_000)
                cpus_ms.append((cpu_ended - cpu_began) * 1_000)
                pings_ms.append((self._clock.monotonic() - ended) * 1_000)
        await self._store.close()
        await self._bare.close()
        return Reads(spent_ms, sum(cpus_ms) / requests, cpus_ms, pings_ms)

    async def _request(self, user: str, items: list[int]) -> None:
        """Read and encode. Raises Unavailable where a row is not there."""
        columns = {"item_id": items, "category_id": [one % CATEGORIES + 1 for one in items]}
        lookups = self._features.lookups(user, columns)
        stored = await self._reader.read([key for one in lookups for key in one.keys])
        rows = [one.row for one in stored]
        if None in rows:
            raise Unavailable("redis", f"{rows.count(None)} rows of the bench are not there")
        self._features.inputs(lookups, rows, user, columns, self._clock.now_ms())


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Write the rows; let both read, round by round."""
    requests, found = max(1, int(REQUESTS * options.scale)), dict[str, list[Reads]]()
    with RedisServer(options.redis) as redis:
        name = f"bench-{time.time_ns():x}"
        pipeline, now_ms = shop_file(name, name, of_items=True).load(), SystemClock().now_ms()
        events = user_history(USERS, now_ms, np.random.default_rng(0))
        uvloop.run(write_rows(pipeline, redis.url, events, now_ms))
        items = touched_items(events)
        for number in range(options.rounds):
            with console.status(f"round {number + 1}"):
                reads = _Reader(pipeline, redis.url, items).run(requests)
                found.setdefault(OURS, []).append(uvloop.run(reads))
                peer = read_by_feast(pipeline, redis.url, requests, console)
                for way, one in peer.items():
                    found.setdefault(way, []).append(one)
    return figures(found)


def read_by_feast(
    pipeline: Pipeline,
    redis_url: str,
    requests: int,
    console: Console,
    run: Callable[[Path, Sequence[str]], bytes] = run_script,
) -> Mapping[str, Reads]:
    """By way of asking, Feast's reads of as many features; nothing where it cannot be run."""
    widths = [
        sum(len(table.columns) + table.id_width for table in plan.tables)
        for plan in pipeline.plans.values()
    ]
    numbers = [str(one) for one in (requests, CANDIDATES, *widths)]
    try:
        answer = run(Path(peer_features.__file__), [*numbers, redis_url])
    except Unavailable as error:
        console.print(f"Feast is left out: {error}")
        return {}
    return msgspec.json.decode(answer, type=dict[str, Reads])


def figures(found: Mapping[str, Sequence[Reads]]) -> list[Figure]:
    """Return medians over the rounds; ratios are those of Feast's faster way, round by round."""
    made = []
    for way, rounds in found.items():
        name, ours = (way, True) if way == OURS else (f"feast_{way}", False)
        p99 = _p99(one.latencies_ms for one in rounds)
        made += [
            Figure(f"{name}_p50_ms", median(map(_p50, rounds)), "ms", "lower"),
            Figure(f"{name}_p99_ms", p99, "ms", "lower", REACH_MS if ours else None),
            Figure(f"{name}_cpu_ms", median(one.cpu_ms for one in rounds), "ms", "lower"),
        ]
    made += [
        Figure("freshrank_p99_cpu_ms", _p99(one.cpus_ms for one in found[OURS]), "ms", "lower"),
        Figure("ping_p99_ms", _p99(one.pings_ms for one in found[OURS]), "ms", "lower"),
    ]
    others = [rounds for way, rounds in found.items() if way != OURS]
    if not others:
        return made
    faster = min(others, key=lambda rounds: median(map(_p50, rounds)))
    pairs = list(zip(faster, found[OURS], strict=True))
    p50 = median(_p50(feast) / _p50(ours) for feast, ours in pairs)
    cpu = median(feast.cpu_ms / ours.cpu_ms for feast, ours in pairs)
    return [
        *made,
        Figure("ratio_of_feast_p50", p50, "1", "higher", REACH_RATIO),
        Figure("ratio_of_feast_cpu", cpu, "1", "higher"),
    ]


def _p50(one: Reads) -> float:
    return quantile(one.latencies_ms, 0.50)


def _p99(rounds: Iterable[Sequence[float]]) -> float:
    return median(quantile(one, 0.99) for one in rounds)
