"""How soon the row of an event can be read: of a feature shard's, and of stream engines' rows.

All do the job of the bench `engines`, one after the other, each on a topic of its own to which
events come in an open loop, a thousand a second, then five thousand, then twenty thousand: what
cannot keep up with a rate cannot with those that follow. Each is measured by the same probes
(`row_probes`). A row that has not come after ten seconds counts as one
that never comes: an engine that cannot keep up with a rate has no 99th percentile there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import redis.asyncio as redis_client
import uvloop
from rich.console import Console
from rich.table import Table

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.latency.rows.bench import REACH_MS, load_of, measured
from freshrank.benchmarks.latency.rows.row_probes import (
    EventLoad,
    RowLatencies,
    events_in_all,
    prober,
)
from freshrank.benchmarks.module_process import run_until_cancelled
from freshrank.benchmarks.peers import peer_engines
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, latency_figures, quantile, readable
from freshrank.benchmarks.throughput import ingest_host
from freshrank.benchmarks.throughput.engines import OWN, PEER_TIMEOUT_S, peer_arguments
from freshrank.benchmarks.workloads.shop_fixture import external_servers
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

RATES = (1_000, 5_000, 20_000)
# The rate at which a reach is stated, beside that of being ahead of all peers at each.
JUDGED_RATE = 5_000
# Seconds between two commits, where rows are written by these.
COMMIT_S = {"quix": 0.1}

Found: TypeAlias = Mapping[tuple[str, int], RowLatencies]
"""By engine and rate."""


@dataclass(frozen=True, slots=True)
class PeerRows:
    """The rows that an engine of another project writes under a prefix."""

    client: redis_client.Redis
    prefix: str

    async def readable(self, user: str, item: int) -> bool:
        """Whether there is a row of the user."""
        return bool(await self.client.exists(f"{self.prefix}{user}"))


async def measured_peer(
    outside: ExternalServers, engine: str, loads: Sequence[EventLoad]
) -> list[RowLatencies]:
    """Start an engine, measure, and end it.

    Raises Unavailable where it cannot be installed, or ends by an error.
    """
    topic = f"bench-{time.time_ns():x}"
    prefix = f"{topic}:"
    kafka = KafkaAccess(outside.broker.bootstrap)
    await ensure_topics(kafka, [topic], Settings().kafka.partitions)
    arguments = peer_arguments(engine, outside, topic, prefix, events_in_all(loads))
    arguments.append("--tail")
    if engine in COMMIT_S:
        arguments += ["--interval", str(COMMIT_S[engine])]
    # Of an engine that falls behind, hundreds of probes wait at once: they share connections.
    pool = redis_client.BlockingConnectionPool.from_url(outside.redis.url, timeout=None)
    client = redis_client.Redis.from_pool(pool)
    process = asyncio.create_task(run_until_cancelled(Path(peer_engines.__file__), arguments))
    try:
        async with prober(kafka, topic, PeerRows(client, prefix)) as probes:
            await probes.until_written(process, PEER_TIMEOUT_S)
            found = [await probes.under_load(load) for load in loads]
        if process.done():
            await process
    finally:
        process.cancel()
        with contextlib.suppress(asyncio.CancelledError, Unavailable):
            await process
        async for row in client.scan_iter(f"{prefix}*", count=1_000):
            await client.delete(row)
        await client.aclose()
    return found


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers; measure the shard and each engine at each rate; stop."""
    found: dict[tuple[str, int], RowLatencies] = {}
    loads = [load_of(rate, options) for rate in RATES]
    with external_servers(options, console) as (outside, folder):
        for engine in (OWN, *peer_engines.ENGINES):
            try:
                with console.status(engine):
                    measures = (
                        measured(outside, folder, ingest_host.JOB, loads)
                        if engine == OWN
                        else uvloop.run(measured_peer(outside, engine, loads))
                    )
            except Unavailable as error:
                console.print(f"{engine}: {error}")
                continue
            found |= {(engine, rate): one for rate, one in zip(RATES, measures, strict=True)}
            console.print(f"{engine}: {', '.join(_cell(one) for one in measures)} ms")
    console.print(table(found))
    return figures(found)


def figures(found: Found) -> list[Figure]:
    """Return quantiles by engine and rate, and those of the soonest peer over ours.

    >>> ours, theirs = RowLatencies([2.0]), RowLatencies([8.0])
    >>> ahead = figures({(OWN, 5_000): ours, ("other", 5_000): theirs})[-1]
    >>> ahead.name, ahead.value, ahead.met
    ('best_peer_to_own_5k_p99', 4.0, True)
    """
    made, p99 = [], {}
    for (engine, rate), one in found.items():
        judged = engine == OWN and rate == JUDGED_RATE
        latencies = one.with_missing_ms
        p99[engine, rate] = quantile(latencies, 0.99)
        made += latency_figures(
            f"{engine}_{rate // 1000}k", latencies, REACH_MS[ingest_host.KEYED] if judged else None
        )
    for rate in RATES:
        peers = [value for (engine, at), value in p99.items() if at == rate and engine != OWN]
        if peers and (OWN, rate) in p99:
            name = f"best_peer_to_own_{rate // 1000}k_p99"
            made.append(Figure(name, min(peers) / p99[OWN, rate], "1", "higher", 1.0))
    return made


def table(found: Found) -> Table:
    """Show an engine a row: the median and the 99th percentile at each rate, in ms."""
    shown = Table(title="ms from the send of an event until its row can be read, p50 / p99")
    shown.add_column("engine")
    for rate in RATES:
        shown.add_column(f"{rate:,}/s", justify="right")
    for engine in dict.fromkeys(engine for engine, _ in found):
        shown.add_row(engine, *(_cell(found.get((engine, rate))) for rate in RATES))
    return shown


def _cell(one: RowLatencies | None) -> str:
    if one is None:
        return "did not run"
    quantiles = [quantile(one.with_missing_ms, share) for share in (0.50, 0.99)]
    return " / ".join("never" if math.isinf(value) else readable(value) for value in quantiles)
