"""Ten times the usual rate for half a minute: memory stays bounded, nothing is lost, all is read.

The whole system is up on real Kafka and real Redis at a steady rate, and people shop. Then the
burst comes, and goes; what is left is compared with what the log says
(`freshrank.benchmarks.workloads.expected_state`).

The bound is the setting `memory_bytes`: as much as the system says at its start that it may come to
need (`freshrank.deploy.config.memory_budget`), and not a byte more. Redis and Kafka are apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import uvloop
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.workloads.expected_state import Compared, compare
from freshrank.benchmarks.workloads.shop_fixture import own_shop, running_outside
from freshrank.benchmarks.workloads.shop_traffic import shoppers
from freshrank.benchmarks.workloads.status_client import LiveView
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import LiveSystem, running
from freshrank.deploy.config import memory_budget as memory_needs
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import Outside

USUAL_PER_S = 5_000.0
BURST = 10.0
BURST_S = 30.0
# Of the usual rate, before and after: the state has grown to its users by then.
CALM_S = 15.0
USERS = 50_000
# Rows of a partition: an eighth of the users, those who shop, and room for an uneven hash.
MAX_ENTITIES = 10_000
PATIENCE_S = 120.0
LOOK_S = 0.25

# The least that this stream needs, for a bound that lies close. The ids are those of the burst; the
# items of the shop are fewer than the rows, and who shops gives 200 examples a second.
BOUNDS = {
    "FRESHRANK_SHARDS__MAX_ENTITIES_PER_PARTITION": str(MAX_ENTITIES),
    "FRESHRANK_SHARDS__MAX_EVENT_IDS_PER_PARTITION": "300000",
    "FRESHRANK_SHARDS__OUTBOX_MAX_EXAMPLES": "20000",
    "FRESHRANK_LEARNER__MAX_ROWS": "100000",
}


@dataclass(frozen=True, slots=True)
class Survived:
    """What the burst did."""

    bound_bytes: int
    peak_bytes: int
    catch_up_s: float
    largest_lag: int
    compared: Compared


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given) and the system, burst, compare, stop."""
    with running_outside(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        bound = _bound_bytes(pipeline, {**BOUNDS, "FRESHRANK_REDIS__URL": outside.redis.url})
        settings = {**BOUNDS, "FRESHRANK_MEMORY_BYTES": str(bound)}
        with running(outside, file, folder, console, settings) as system:
            return figures(uvloop.run(_burst(pipeline, outside, system, bound, options.scale)))


def _bound_bytes(pipeline: Pipeline, environment: Mapping[str, str]) -> int:
    """What the system says that it may need."""
    settings = load_settings(None, environment)
    return memory_needs.total(memory_needs.needs(pipeline, settings, settings.kafka.partitions))


async def _burst(
    pipeline: Pipeline, outside: Outside, system: LiveSystem, bound: int, scale: float
) -> Survived:
    bootstrap, topic = outside.broker.bootstrap, pipeline.stream.topic
    async with LiveView(system.port) as view:
        with SteadyStream(bootstrap, topic, USUAL_PER_S, USERS) as stream:
            watched = asyncio.create_task(_watch(system))
            async with shoppers(system.port, stream.write):
                await asyncio.sleep(CALM_S * scale)
                stream.per_s = BURST * USUAL_PER_S
                await asyncio.sleep(BURST_S * scale)
                stream.per_s = USUAL_PER_S
                catch_up_s = await _seconds_to_catch_up(view)
                await asyncio.sleep(CALM_S * scale)
            await asyncio.to_thread(stream.stop)
        compared = await compare(pipeline, outside, view, PATIENCE_S, MAX_ENTITIES)
        watched.cancel()
        peak, largest_lag = await watched
        return Survived(bound, peak, catch_up_s, largest_lag, compared)


async def _seconds_to_catch_up(view: LiveView) -> float:
    began = time.monotonic()
    # So far behind is a shard that keeps up: a quarter of a second of records.
    while (lag := await _lag(view)) is None or lag > USUAL_PER_S / 4:
        if time.monotonic() - began > PATIENCE_S:
            raise Unavailable("shard", f"has not caught up after {PATIENCE_S} s")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def _watch(system: LiveSystem) -> tuple[int, int]:
    """Until cancelled; gives the peak of the system's memory, and of what was not read."""
    peak = largest = 0
    try:
        async with LiveView(system.port) as own:
            while True:
                peak = max(peak, await asyncio.to_thread(system.memory_bytes))
                largest = max(largest, await _lag(own) or 0)
                await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        return peak, largest


async def _lag(view: LiveView) -> int | None:
    """What the shard has not read; None while it says nothing."""
    found: int | None = (await view.statuses()).get("shard-0", {}).get("lag_total")
    return found


def figures(found: Survived) -> list[Figure]:
    """The peak against the bound, and what must not be."""
    compared, over_bound = found.compared, found.peak_bytes / found.bound_bytes
    lost = compared.lost_events + compared.lost_examples
    doubled = compared.doubled_events + compared.doubled_examples
    return [
        Figure("peak_memory_over_bound", over_bound, "1", "lower", 1.0),
        Figure("peak_memory", found.peak_bytes / 2**20, "MiB", "lower"),
        Figure("lost", lost, "count", "lower", 0.0),
        Figure("doubled", doubled, "count", "lower", 0.0),
        Figure("wrong_values", compared.wrong_rows, "count", "lower", 0.0),
        Figure("seconds_to_catch_up", found.catch_up_s, "s", "lower"),
        Figure("largest_lag", found.largest_lag, "count", "lower"),
        Figure("events", compared.applied_events, "count", "higher"),
        Figure("examples", compared.expected_examples, "count", "higher"),
    ]
