"""Ten times the usual rate for half a minute: memory stays bounded and no record is lost.

The whole system runs on real Kafka and real Redis at a steady rate, with shoppers. After the burst
its state is compared with what the log determines (`benchmarks.workloads.expected_state`).

The bound is the setting `memory_bytes`: exactly what the system computes at its start that it may
need (`deploy.config.memory_budget`). Redis and Kafka do not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import uvloop
from rich.console import Console

from freshrank.benchmarks.polling import wait_for
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, must_be_zero
from freshrank.benchmarks.workloads.expected_state import LogComparison, compare_with_log
from freshrank.benchmarks.workloads.shop_fixture import external_servers, own_shop
from freshrank.benchmarks.workloads.shop_traffic import shoppers
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import RunningSystem, running_system
from freshrank.deploy.config import memory_budget
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers

USUAL_PER_S = 5_000.0
BURST = 10.0
BURST_S = 30.0
# Seconds at the usual rate before and after the burst: the state has grown to its users by then.
CALM_S = 15.0
USERS = 50_000
# Rows of a partition: an eighth of the users, the shoppers, and room for an uneven hash.
MAX_ENTITIES = 10_000
TIMEOUT_S = 120.0
POLL_S = 0.25
# A shard that keeps up lags by less than a quarter of a second of records.
CAUGHT_UP_LAG = USUAL_PER_S / 4

# The least that this stream needs, so that the bound is tight: as many event ids as the burst
# brings, as many weights as the shop has items, and a queue for 200 examples a second.
BOUNDS = {
    "FRESHRANK_SHARDS__MAX_ENTITIES_PER_PARTITION": str(MAX_ENTITIES),
    "FRESHRANK_SHARDS__MAX_EVENT_IDS_PER_PARTITION": "300000",
    "FRESHRANK_SHARDS__OUTBOX_MAX_EXAMPLES": "20000",
    "FRESHRANK_LEARNER__MAX_ROWS": "100000",
}


@dataclass(frozen=True, slots=True)
class OverloadResults:
    """The system during and after the burst."""

    bound_bytes: int
    peak_bytes: int
    catch_up_s: float
    """From the end of the burst until the shard's lag is that of a shard that keeps up."""
    largest_lag: int
    """Records that were not read yet, at the most."""
    compared: LogComparison


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers and the system, run the burst, compare, stop."""
    with external_servers(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        bound = _bound_bytes(pipeline, {**BOUNDS, "FRESHRANK_REDIS__URL": outside.redis.url})
        settings = {**BOUNDS, "FRESHRANK_MEMORY_BYTES": str(bound)}
        with running_system(outside, file, folder, console, settings) as system:
            burst = _burst(pipeline, outside, system, bound, options.scale, console)
            return figures(uvloop.run(burst))


def _bound_bytes(pipeline: Pipeline, environment: Mapping[str, str]) -> int:
    """Return how many bytes the system says that it may need."""
    settings = load_settings(None, environment)
    return memory_budget.total(memory_budget.needs(pipeline, settings, settings.kafka.partitions))


async def _burst(
    pipeline: Pipeline,
    outside: ExternalServers,
    system: RunningSystem,
    bound: int,
    scale: float,
    console: Console,
) -> OverloadResults:
    bootstrap, topic = outside.broker.bootstrap, pipeline.stream.topic
    async with StatusClient(system.port) as client:
        with SteadyStream(bootstrap, topic, USUAL_PER_S, USERS) as stream:
            peaks = asyncio.create_task(_watch_peaks(system))
            async with shoppers(system.port, stream.write):
                console.print(f"{USUAL_PER_S:.0f} events/s")
                await asyncio.sleep(CALM_S * scale)
                console.print(f"{BURST * USUAL_PER_S:.0f} events/s")
                stream.per_s = BURST * USUAL_PER_S
                await asyncio.sleep(BURST_S * scale)
                console.print(f"{USUAL_PER_S:.0f} events/s, catching up")
                stream.per_s = USUAL_PER_S
                catch_up_s = await _seconds_to_catch_up(client)
                await asyncio.sleep(CALM_S * scale)
            await asyncio.to_thread(stream.stop)
        console.print("comparing with the log")
        compared = await compare_with_log(
            pipeline, outside, client, system.state, TIMEOUT_S, MAX_ENTITIES
        )
        peaks.cancel()
        peak_bytes, largest_lag = await peaks
        return OverloadResults(bound, peak_bytes, catch_up_s, largest_lag, compared)


async def _seconds_to_catch_up(client: StatusClient) -> float:
    async def caught_up() -> bool:
        lag = await client.lag()
        return lag is not None and lag <= CAUGHT_UP_LAG

    began = time.monotonic()
    await wait_for(caught_up, TIMEOUT_S, "shard", "it has not caught up", POLL_S)
    return time.monotonic() - began


async def _watch_peaks(system: RunningSystem) -> tuple[int, int]:
    """Until cancelled; then return the peaks of the system's memory (bytes) and lag (records)."""
    peak_bytes = largest_lag = 0
    try:
        async with StatusClient(system.port) as client:
            while True:
                peak_bytes = max(peak_bytes, await asyncio.to_thread(system.memory_bytes))
                largest_lag = max(largest_lag, await client.lag() or 0)
                await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        return peak_bytes, largest_lag


def figures(found: OverloadResults) -> list[Figure]:
    """Return the peak as a share of its bound, and counts of what must not happen."""
    compared, over_bound = found.compared, found.peak_bytes / found.bound_bytes
    return [
        Figure("peak_memory_over_bound", over_bound, "1", "lower", 1.0),
        Figure("peak_memory", found.peak_bytes / 2**20, "MiB", "lower"),
        must_be_zero("lost", compared.lost_events + compared.lost_examples),
        must_be_zero("doubled", compared.doubled_events + compared.doubled_examples),
        must_be_zero("wrong_values", compared.wrong_rows),
        Figure("seconds_to_catch_up", found.catch_up_s, "s", "lower"),
        Figure("largest_lag", found.largest_lag, "count", "lower"),
        count_of("events", compared.applied_events),
        count_of("examples", compared.expected_examples),
    ]
