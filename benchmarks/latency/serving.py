"""How fast `/v1/score` answers, and how that compares with Serve's own proxy and with bare uvicorn.

Three servers take turns, each alone on the machine with the load client: a replica behind
HAProxy (as Freshrank runs it), the same behind Serve's default proxy, the same service in
uvicorn without Ray. All read features from the same Redis, log impressions to the same Kafka and
take ten new versions of the weights a second meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from freshrank.benchmarks.latency.load_client import LoadResult, run_load
from freshrank.benchmarks.latency.serving_host import MODES
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.workloads.shop_fixture import (
    running_outside,
    score_bodies,
    shop_file,
    user_history,
    write_rows,
)
from freshrank.benchmarks.workloads.system_process import is_ready
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import Outside, prepare_topics
from freshrank.deploy.servers.processes import Child, free_port
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

USERS = 1_000
BODIES = 500
CANDIDATES = 100
CONNECTIONS = (1, 32)
# Of load on each server with each number of connections, in each round.
SECONDS = 6.0
# A cold Ray with Serve on two busy cores.
START_TIMEOUT_S = 120.0
# Serve's own drain is part of it.
STOP_TIMEOUT_S = 20.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given), measure, stop."""
    with running_outside(options, console) as (outside, folder):
        return figures(_rounds(options, console, outside, folder))


def _rounds(
    options: BenchOptions, console: Console, outside: Outside, folder: Path
) -> list[dict[tuple[str, int], LoadResult]]:
    pipeline, rng = shop_file().load(), np.random.default_rng(0)
    now_ms = time.time_ns() // 1_000_000
    bootstrap, redis_url = outside.broker.bootstrap, outside.redis.url
    asyncio.run(prepare_topics(pipeline, KafkaAccess(bootstrap), Settings()))
    asyncio.run(write_rows(pipeline, redis_url, user_history(USERS, now_ms, rng), now_ms))
    bodies = score_bodies(BODIES, USERS, CANDIDATES, rng)
    rounds = []
    for number in range(options.rounds):
        found = {}
        for mode in MODES:
            place = folder / f"{mode}-{number}"
            place.mkdir()
            with console.status(f"round {number + 1}: {mode}"):
                for connections, result in _measured(
                    [mode, bootstrap, redis_url], place, bodies, SECONDS * options.scale
                ).items():
                    found[mode, connections] = result
                    console.print(
                        f"round {number + 1} {mode:>8} c={connections:<3}"
                        f"{result.answers_per_s:8.0f}/s  p50 {result.p50_ms:7.2f} ms"
                        f"  p99 {result.p99_ms:7.2f} ms  errors {result.errors}"
                        f" {result.first_error}",
                        markup=False,
                    )
        rounds.append(found)
    return rounds


def _measured(
    arguments: Sequence[str], folder: Path, bodies: Sequence[bytes], seconds: float
) -> dict[int, LoadResult]:
    """One server from its start to its end."""
    port = free_port()
    child = Child(
        f"the {arguments[0]} server",
        [sys.executable, "-m", "freshrank.benchmarks.latency.serving_host", *arguments, str(port),
         str(folder)],
        folder / "server.log",
    )  # fmt: skip
    try:
        child.wait_until(lambda: is_ready(port), START_TIMEOUT_S)
        return {
            connections: run_load(("127.0.0.1", port), "/v1/score", bodies, connections, seconds)
            for connections in CONNECTIONS
        }
    finally:
        child.stop(grace_s=STOP_TIMEOUT_S)


def figures(rounds: Sequence[Mapping[tuple[str, int], LoadResult]]) -> list[Figure]:
    """Medians over the rounds; a ratio is taken within each round."""

    def middle(mode: str, connections: int, field: str) -> float:
        return median(getattr(one[mode, connections], field) for one in rounds)

    def ratio(mode: str) -> float:
        return median(
            one["haproxy", 32].answers_per_s / max(one[mode, 32].answers_per_s, 1e-9)
            for one in rounds
        )

    errors = sum(result.errors for one in rounds for result in one.values())
    return [
        Figure("p50_ms_c1", middle("haproxy", 1, "p50_ms"), "ms", "lower", 1.0),
        Figure("p99_ms_c1", middle("haproxy", 1, "p99_ms"), "ms", "lower"),
        Figure("ratio_to_default_proxy_c32", ratio("default"), "1", "higher", 10.0),
        Figure("ratio_to_uvicorn_c32", ratio("bare"), "1", "higher", 0.2),
        Figure("errors", errors, "count", "lower", 0.0),
        Figure("p50_ms_c32", middle("haproxy", 32, "p50_ms"), "ms", "lower"),
        Figure("p99_ms_c32", middle("haproxy", 32, "p99_ms"), "ms", "lower"),
        *(
            Figure(f"{mode}_answers_per_s_c32", middle(mode, 32, "answers_per_s"), "1/s", "higher")
            for mode in MODES
        ),
    ]
