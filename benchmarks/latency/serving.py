"""How fast `/v1/score` answers, beside Serve's own proxy and beside bare uvicorn.

Three servers run in turn, each alone on the machine with the load client: a replica behind HAProxy
(as Freshrank runs it), the same behind Serve's default proxy, and the same service in uvicorn
without Ray. All read features from the same Redis, log impressions to the same Kafka and take ten
new versions of the weights a second meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from freshrank.benchmarks.latency import serving_host
from freshrank.benchmarks.latency.load_client import LoadResult, run_load
from freshrank.benchmarks.latency.serving_host import MODES
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median, must_be_zero
from freshrank.benchmarks.workloads.shop_fixture import (
    external_servers,
    score_bodies,
    shop_file,
    user_history,
    write_rows,
)
from freshrank.benchmarks.workloads.system_process import can_score
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers, prepare_topics
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

USERS = 1_000
BODIES = 500
CANDIDATES = 100
CONNECTIONS = (1, 32)
# Seconds of load on each server with each number of connections, in each round.
SECONDS = 6.0
# Connections in a row that have to be answered before there is load.
STEADY = 20
# Seconds for a cold Ray with Serve on two busy cores.
START_TIMEOUT_S = 120.0
# Seconds from SIGTERM to SIGKILL, with Serve's own drain in it.
STOP_TIMEOUT_S = 20.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers, measure, stop."""
    with external_servers(options, console) as (outside, folder):
        return figures(_rounds(options, console, outside, folder))


def _rounds(
    options: BenchOptions, console: Console, outside: ExternalServers, folder: Path
) -> list[dict[tuple[str, int], LoadResult]]:
    bootstrap, redis_url = outside.broker.bootstrap, outside.redis.url
    bodies = _prepare(bootstrap, redis_url)
    rounds = []
    for number in range(options.rounds):
        results = {}
        for mode in MODES:
            server_folder = folder / f"{mode}-{number}"
            server_folder.mkdir()
            with console.status(f"round {number + 1}: {mode}"):
                measured = _measure(
                    [mode, bootstrap, redis_url], server_folder, bodies, SECONDS * options.scale
                )
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
    return rounds


def _prepare(bootstrap: str, redis_url: str) -> list[bytes]:
    """Create the topics, write the users' rows to Redis, and return the bodies to send."""
    pipeline, rng = shop_file().load(), np.random.default_rng(0)
    now_ms = time.time_ns() // 1_000_000
    asyncio.run(prepare_topics(pipeline, KafkaAccess(bootstrap), Settings()))
    asyncio.run(write_rows(pipeline, redis_url, user_history(USERS, now_ms, rng), now_ms))
    return score_bodies(BODIES, USERS, CANDIDATES, rng)


def _measure(
    arguments: Sequence[str], folder: Path, bodies: Sequence[bytes], seconds: float
) -> dict[int, LoadResult]:
    """Start a server, put load on it with each number of connections, stop it."""
    port, module = free_port(), serving_host.__name__
    child = Child(
        f"the {arguments[0]} server",
        [sys.executable, "-m", module, *arguments, str(port), str(folder)],
        folder / "server.log",
    )
    try:
        child.wait_until(lambda: answers_steadily(port), START_TIMEOUT_S)
        return {
            connections: run_load(("127.0.0.1", port), "/v1/score", bodies, connections, seconds)
            for connections in CONNECTIONS
        }
    finally:
        child.stop(grace_s=STOP_TIMEOUT_S)


def answers_steadily(port: int) -> bool:
    """Whether `STEADY` connections in a row reach a replica that can score.

    When Serve replaces HAProxy, a connection may still reach the one before, which knows of no
    replica: the load would begin with its 503.
    """
    return all(can_score(port) for _ in range(STEADY))


def figures(rounds: Sequence[Mapping[tuple[str, int], LoadResult]]) -> list[Figure]:
    """Return medians over the rounds; a ratio is computed within each round."""

    def middle(mode: str, connections: int, field: str) -> float:
        return median(getattr(results[mode, connections], field) for results in rounds)

    def ratio(mode: str) -> float:
        return median(
            results["haproxy", 32].answers_per_s / max(results[mode, 32].answers_per_s, 1e-9)
            for results in rounds
        )

    errors = sum(result.errors for results in rounds for result in results.values())
    return [
        Figure("p50_ms_c1", middle("haproxy", 1, "p50_ms"), "ms", "lower", 1.0),
        Figure("p99_ms_c1", middle("haproxy", 1, "p99_ms"), "ms", "lower"),
        Figure("ratio_to_default_proxy_c32", ratio("default"), "1", "higher", 10.0),
        Figure("ratio_to_uvicorn_c32", ratio("bare"), "1", "higher", 0.2),
        must_be_zero("errors", errors),
        Figure("p50_ms_c32", middle("haproxy", 32, "p50_ms"), "ms", "lower"),
        Figure("p99_ms_c32", middle("haproxy", 32, "p99_ms"), "ms", "lower"),
        *(
            Figure(f"{mode}_answers_per_s_c32", middle(mode, 32, "answers_per_s"), "1/s", "higher")
            for mode in MODES
        ),
    ]
