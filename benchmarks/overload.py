"""Ten times the usual rate for half a minute: memory stays bounded, nothing is lost, all is read.

The whole system is up on real Kafka and real Redis at a steady rate. Then the burst comes, and
goes; what is left is compared with what the log says (`freshrank.benchmarks.log_truth`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import uvloop
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.live_system import LiveSystem, running, until_calm
from freshrank.benchmarks.live_view import LiveView
from freshrank.benchmarks.log_truth import truth_and_wrong_rows
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.shop_site import own_shop, running_outside
from freshrank.benchmarks.steady_stream import SteadyStream
from freshrank.deploy.outside import Outside
from freshrank.deploy.pipeline import Pipeline

USUAL_PER_S = 5_000.0
BURST = 10.0
BURST_S = 30.0
# Of the usual rate, before and after: the state has grown to its users by then.
CALM_S = 15.0
USERS = 50_000
# Rows of a partition: an eighth of the users, and room for an uneven hash.
MAX_ENTITIES = 10_000
# What the shard's process may take, in bytes: the program itself (Ray, Numba and the rest take
# 400 MB), rows and their snapshot, and the batches under way.
BOUND_BYTES = 700_000_000
PATIENCE_S = 120.0
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Survived:
    """What the burst did."""

    peak_bytes: int
    catch_up_s: float
    largest_lag: int
    events: int
    lost: int
    wrong_rows: int


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given) and the system, burst, compare, stop."""
    with running_outside(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        bound = {"FRESHRANK_SHARDS__MAX_ENTITIES_PER_PARTITION": str(MAX_ENTITIES)}
        with running(outside, file, folder, console, bound) as system:
            return figures(uvloop.run(_burst(pipeline, outside, system, options.scale)))


async def _burst(
    pipeline: Pipeline, outside: Outside, system: LiveSystem, scale: float
) -> Survived:
    bootstrap, topic = outside.broker.bootstrap, pipeline.stream.topic
    async with LiveView(system.port) as view:
        with SteadyStream(bootstrap, topic, USUAL_PER_S, USERS) as stream:
            watched = asyncio.create_task(_watch(system))
            await asyncio.sleep(CALM_S * scale)
            stream.per_s = BURST * USUAL_PER_S
            await asyncio.sleep(BURST_S * scale)
            stream.per_s = USUAL_PER_S
            ended = time.monotonic()
            # So far behind is a shard that keeps up: a quarter of a second of records.
            while (lag := await _lag(view)) is None or lag > USUAL_PER_S / 4:
                if time.monotonic() - ended > PATIENCE_S:
                    raise Unavailable("shard", f"has not caught up after {PATIENCE_S} s")
                await asyncio.sleep(LOOK_S)
            catch_up_s = time.monotonic() - ended
            await asyncio.sleep(CALM_S * scale)
            await asyncio.to_thread(stream.stop)
        await until_calm(view.waiting, PATIENCE_S)
        watched.cancel()
        peak, largest_lag = await watched
        _, wrong = await truth_and_wrong_rows(pipeline, outside, MAX_ENTITIES)
        events = (await view.statuses())["shard-0"]["events"]
        return Survived(peak, catch_up_s, largest_lag, events, stream.written - events, wrong)


async def _watch(system: LiveSystem) -> tuple[int, int]:
    """Until cancelled; gives the peak of the shard's memory, and of what it had not read."""
    peak = largest = 0
    try:
        async with LiveView(system.port) as own:
            while True:
                peak = max(peak, system.resident_bytes("ShardHost"))
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
    return [
        Figure("peak_memory_over_bound", found.peak_bytes / BOUND_BYTES, "1", "lower", 1.0),
        Figure("peak_memory", found.peak_bytes / 2**20, "MiB", "lower"),
        Figure("lost", max(found.lost, 0), "count", "lower", 0.0),
        Figure("doubled", max(-found.lost, 0), "count", "lower", 0.0),
        Figure("wrong_values", found.wrong_rows, "count", "lower", 0.0),
        Figure("seconds_to_catch_up", found.catch_up_s, "s", "lower"),
        Figure("largest_lag", found.largest_lag, "count", "lower"),
        Figure("events", found.events, "count", "higher"),
    ]
