"""How fast `/v1/score` answers, beside Serve's own proxy, bare uvicorn, and Feast's server.

Four servers run in turn, each alone on the machine with the load client: a replica behind HAProxy
(as Freshrank runs it), the same behind Serve's default proxy, the same service in uvicorn without
Ray, and the same model behind Serve's default proxy with features from Feast's own server. All read
the features of the user and of the candidates from the same Redis; the first three log impressions
to the same Kafka and take ten new versions of the weights a second meanwhile. At last the first of
them gets requests of many candidates in an open loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from freshrank.benchmarks.latency import serving_host
from freshrank.benchmarks.latency.beside_feast.feast_features import save_features
from freshrank.benchmarks.latency.beside_feast.servers import beside_feast, installed
from freshrank.benchmarks.latency.load_client import LoadResult, run_load
from freshrank.benchmarks.latency.open_loop import OpenLoopResult, ask_steadily
from freshrank.benchmarks.latency.serving_host import MODES, served_file
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median, must_be_zero, quantile
from freshrank.benchmarks.workloads.shop_fixture import (
    external_servers,
    score_bodies,
    touched_items,
    user_history,
    write_rows,
)
from freshrank.benchmarks.workloads.system_process import can_score
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers, prepare_topics
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

FEAST = "feast"
"""The mode of the model beside Feast's server."""

USERS = 1_000
BODIES = 500
CANDIDATES, MANY_CANDIDATES = 100, 500
# Requests a second with so many candidates, which come whether those before are answered or not.
MANY_PER_S = 100.0
CONNECTIONS = (1, 32)
# Seconds of load on each server with each number of connections, in each round.
SECONDS = 6.0
# So many times as long beside Feast, for a 99th percentile of some hundred answers.
SLOWER = 3.0
# Connections in a row that have to be answered before there is load.
STEADY = 20
# Seconds for a cold Ray with Serve on two busy cores.
START_TIMEOUT_S = 120.0
# Seconds from SIGTERM to SIGKILL, with Serve's own drain in it.
STOP_TIMEOUT_S = 20.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers, measure, stop."""
    with external_servers(options, console) as (outside, folder):
        bodies, large_bodies = _prepare(outside, folder)
        servers = _Servers(outside, folder, bodies, large_bodies, SECONDS * options.scale)
        modes = [*MODES, *([FEAST] if installed(console) else [])]
        rounds, large = [], []
        for number in range(options.rounds):
            results = {}
            for mode in modes:
                with console.status(f"round {number + 1}: {mode}"):
                    measured = servers.measure(mode, number)
                for connections, result in measured.items():
                    results[mode, connections] = result
                    console.print(
                        f"round {number + 1} {mode:>8} c={connections:<3}"
                        f"{result.answers_per_s:8.0f}/s  p50 {result.p50_ms:7.2f} ms"
                        f"  p99 {result.p99_ms:7.2f} ms  errors {result.errors}"
                        f" {result.first_error}",
                        markup=False,
                    )
            rounds.append(results)
            large.append(servers.measure_many_candidates(number))
        return [*figures(rounds), *of_many_candidates(large)]


def _prepare(outside: ExternalServers, folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Create the topics, write the rows to Redis, and return the bodies to send.

    Those of `CANDIDATES`, and those of `MANY_CANDIDATES`. What Feast is to have is written to a
    folder.
    """
    pipeline, rng = served_file().load(), np.random.default_rng(0)
    now_ms = time.time_ns() // 1_000_000
    asyncio.run(prepare_topics(pipeline, KafkaAccess(outside.broker.bootstrap), Settings()))
    events = user_history(USERS, now_ms, rng)
    asyncio.run(write_rows(pipeline, outside.redis.url, events, now_ms))
    (folder / FEAST).mkdir()
    save_features(pipeline, events, now_ms, folder / FEAST)
    items = touched_items(events)
    few = score_bodies(BODIES, USERS, CANDIDATES, rng, items)
    return few, score_bodies(BODIES, USERS, MANY_CANDIDATES, rng, items)


@dataclass(frozen=True, slots=True)
class _Servers:
    """Starts one server after the other, and puts load on it."""

    outside: ExternalServers
    folder: Path
    bodies: Sequence[bytes]
    large_bodies: Sequence[bytes]
    """Of many candidates."""
    seconds: float

    def measure(self, mode: str, number: int) -> dict[int, LoadResult]:
        """The results of a mode in a round, by number of connections. Raises Unavailable."""
        folder = self.folder / f"{mode}-{number}"
        folder.mkdir()
        if mode == FEAST:
            features, redis_url = self.folder / FEAST, self.outside.redis.url
            with beside_feast(folder, features, redis_url, self.bodies[0]) as port:
                self._load(port)  # each of Feast's workers answers its first requests slowly
                return self._load(port, SLOWER)
        with self._served(mode, folder) as port:
            return self._load(port)

    def measure_many_candidates(self, number: int) -> OpenLoopResult:
        """The result of requests of many candidates in a round, behind HAProxy."""
        folder = self.folder / f"many-{number}"
        folder.mkdir()
        count = int(MANY_PER_S * self.seconds)
        bodies = list(itertools.islice(itertools.cycle(self.large_bodies), count))
        with self._served("haproxy", folder) as port:
            asyncio.run(ask_steadily(port, "/v1/score", bodies[: count // 4], MANY_PER_S))
            return asyncio.run(ask_steadily(port, "/v1/score", bodies, MANY_PER_S))

    @contextlib.contextmanager
    def _served(self, mode: str, folder: Path) -> Iterator[int]:
        """The port of a server that answers, alone on the machine with its load."""
        port, module = free_port(), serving_host.__name__
        where = [self.outside.broker.bootstrap, self.outside.redis.url, str(port), str(folder)]
        command = [sys.executable, "-m", module, mode, *where]
        child = Child(f"the {mode} server", command, folder / "server.log")
        try:
            child.wait_until(lambda: answers_steadily(port), START_TIMEOUT_S)
            yield port
        finally:
            child.stop(grace_s=STOP_TIMEOUT_S)

    def _load(self, port: int, times: float = 1.0) -> dict[int, LoadResult]:
        at, seconds = ("127.0.0.1", port), times * self.seconds
        return {
            connections: run_load(at, "/v1/score", self.bodies, connections, seconds)
            for connections in CONNECTIONS
        }


def answers_steadily(port: int) -> bool:
    """Whether `STEADY` connections in a row reach a replica that can score.

    When Serve replaces HAProxy, a connection may still reach the one before, which knows of no
    replica: the load would begin with its 503.
    """
    return all(can_score(port) for _ in range(STEADY))


def of_many_candidates(rounds: Sequence[OpenLoopResult]) -> list[Figure]:
    """Return medians over the rounds, of the requests of `MANY_CANDIDATES`."""
    p50, p99 = (median(quantile(one.latencies_ms, at) for one in rounds) for at in (0.50, 0.99))
    return [
        Figure(f"p50_ms_{MANY_CANDIDATES}_candidates", p50, "ms", "lower"),
        Figure(f"p99_ms_{MANY_CANDIDATES}_candidates", p99, "ms", "lower", 10.0),
        must_be_zero(f"errors_{MANY_CANDIDATES}_candidates", sum(one.failed for one in rounds)),
    ]


def figures(rounds: Sequence[Mapping[tuple[str, int], LoadResult]]) -> list[Figure]:
    """Return medians over the rounds; a ratio is computed within each round."""
    modes = list(dict.fromkeys(mode for mode, _ in rounds[0]))

    def middle(mode: str, connections: int, field: str) -> float:
        return median(getattr(results[mode, connections], field) for results in rounds)

    def ratio(mode: str, field: str = "answers_per_s") -> float:
        """Of a replica behind HAProxy to `mode`, with 32 connections."""
        return median(
            getattr(results["haproxy", 32], field) / max(getattr(results[mode, 32], field), 1e-9)
            for results in rounds
        )

    errors = sum(result.errors for results in rounds for result in results.values())
    found = [
        Figure("p50_ms_c1", middle("haproxy", 1, "p50_ms"), "ms", "lower", 0.7),
        Figure("p99_ms_c1", middle("haproxy", 1, "p99_ms"), "ms", "lower", 3.0),
        Figure("ratio_to_default_proxy_c32", ratio("default"), "1", "higher", 10.0),
        Figure("ratio_to_uvicorn_c32", ratio("bare"), "1", "higher", 0.9),
        must_be_zero("errors", errors),
        *(
            Figure(f"{mode}_answers_per_s_c32", middle(mode, 32, "answers_per_s"), "1/s", "higher")
            for mode in modes
        ),
    ]
    for mode in modes:
        prefix = "" if mode == "haproxy" else f"{mode}_"
        found += [
            Figure(f"{prefix}p50_ms_c32", middle(mode, 32, "p50_ms"), "ms", "lower"),
            Figure(f"{prefix}p99_ms_c32", middle(mode, 32, "p99_ms"), "ms", "lower"),
        ]
    if FEAST in modes:
        found += [
            Figure("ratio_to_feast_c32", ratio(FEAST), "1", "higher", 10.0),
            Figure("p99_to_feast_c32", ratio(FEAST, "p99_ms"), "1", "lower", 0.2),
        ]
    return found
