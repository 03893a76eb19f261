"""How long until an event counts: in the features of a score, and in the weights behind it.

The whole system runs as `freshrank run` starts it, on real Kafka and real Redis. A thousand events
a second arrive in an open loop, impressions are shown and clicked, the learner steps. Meanwhile
probes of two kinds run, each with a user of its own (`benchmarks.latency.probes`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import Progress

from freshrank.actors.clock import SystemClock
from freshrank.actors.impressions import decode_impression
from freshrank.actors.runtime import freeze_heap
from freshrank.benchmarks.latency.probes import (
    Endpoint,
    ImpressionPositions,
    Prober,
    UnusableAnswer,
)
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, latency_figures, must_be_zero
from freshrank.benchmarks.workloads.shop_fixture import external_servers, own_shop
from freshrank.benchmarks.workloads.shop_traffic import background
from freshrank.benchmarks.workloads.system_process import running_system
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, ShopTraffic
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count

# Probes of each kind: well above the 300 that a 99th percentile needs.
PROBES = 360
# Probes of each kind that begin each second.
PROBES_PER_S = 6.0
RATES = Rates(events_per_s=1_000.0, impressions_per_s=100.0, candidates=20, show=10)
# Seconds of traffic before the first probe: caches are warm and the learner steps.
WARM_UP_S = 15.0


@dataclass(slots=True)
class ProbeResults:
    """The results of the probes of one kind."""

    latencies_ms: list[float] = field(default_factory=list)
    unanswered: int = 0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers and the system, probe, stop."""
    with external_servers(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        with running_system(outside, file, folder, console) as system:
            probes = max(int(PROBES * options.scale), 1)
            kafka = KafkaAccess(outside.broker.bootstrap)
            return figures(*uvloop.run(_probe(pipeline, kafka, system.port, probes, console)))


async def _probe(
    pipeline: Pipeline, kafka: KafkaAccess, port: int, probes: int, console: Console
) -> tuple[ProbeResults, ProbeResults, int]:
    """Return the results of feature and weights probes, and the traffic's failed requests."""
    async with _traffic(pipeline, kafka, port, console) as (traffic, prober):
        with Progress(console=console) as progress:
            bar = progress.add_task("probes", total=2 * probes)

            def advance() -> None:
                progress.advance(bar)

            # The two kinds begin half a period apart.
            features, weights = await asyncio.gather(
                _open_loop(_Kind("f", prober.feature, 0.0), probes, port, advance),
                _open_loop(_Kind("w", prober.weights, 0.5), probes, port, advance),
            )
        return features, weights, traffic.counts.failures


@contextlib.asynccontextmanager
async def _traffic(
    pipeline: Pipeline, kafka: KafkaAccess, port: int, console: Console
) -> AsyncIterator[tuple[ShopTraffic, Prober]]:
    """Run shoppers, and a reader of the impressions, within the block; warmed up when it begins."""
    clock, topic = SystemClock(), pipeline.stream.topic
    sink, positions = KafkaSink(kafka), ImpressionPositions()

    async def send(key: bytes, value: bytes) -> tuple[int, int]:
        return await sink.send(topic, key, value)

    async def send_nowait(key: bytes, value: bytes) -> None:
        sink.send_nowait(topic, key, value)

    async with contextlib.AsyncExitStack() as stack:
        await sink.start()
        stack.push_async_callback(sink.stop)
        client = await stack.enter_async_context(KeepAliveClient("127.0.0.1", port))

        shop = Shop(np.random.default_rng(0), run=topic)
        traffic = ShopTraffic(shop, RATES, clock, send_nowait, client.post)
        reading = _read_impressions(kafka, pipeline.impressions_topic, positions)
        await stack.enter_async_context(background(traffic.run()))
        await stack.enter_async_context(background(reading))
        with console.status(f"warming up for {WARM_UP_S:.0f} s"):
            await clock.sleep(WARM_UP_S)
        freeze_heap()  # no pauses of the garbage collector in the process that measures
        topics = topic, pipeline.impressions_topic
        yield traffic, Prober(send, positions, clock, shop.candidates(10), *topics)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of probe: a prefix of its users, the probe, and its phase in periods."""

    prefix: str
    probe: Callable[[str, Endpoint], Awaitable[float]]
    phase: float


async def _open_loop(
    kind: _Kind, probes: int, port: int, advance: Callable[[], None]
) -> ProbeResults:
    """Begin a probe whenever one is due, however long the earlier ones take."""
    results = ProbeResults()

    async def run_probe(number: int) -> None:
        async with KeepAliveClient("127.0.0.1", port) as client:
            try:
                latency_ms = await kind.probe(f"probe-{kind.prefix}-{number}", client)
                results.latencies_ms.append(latency_ms)
            except (OSError, UnusableAnswer):  # TimeoutError is an OSError
                results.unanswered += 1
        advance()

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as running:
        for number in range(probes):
            await asyncio.sleep(began + (number + kind.phase) / PROBES_PER_S - loop.time())
            running.create_task(run_probe(number))
    return results


async def _read_impressions(kafka: KafkaAccess, topic: str, positions: ImpressionPositions) -> None:
    """Read the impressions that are logged from now on, until cancelled."""
    source = KafkaSource(kafka)
    count = await partition_count(kafka, topic)
    await source.start({(topic, partition): None for partition in range(count)})
    try:
        while True:
            for batch in await source.poll(5_000, 0.05):
                records = zip(batch.values, batch.offsets.tolist(), strict=True)
                positions.add(
                    {
                        decode_impression(value).request_id: (batch.partition, offset)
                        for value, offset in records
                        if value is not None
                    }
                )
    finally:
        await source.stop()


def figures(features: ProbeResults, weights: ProbeResults, failed_requests: int) -> list[Figure]:
    """Return quantiles over the probes; failed requests of the traffic count as unanswered."""
    return [
        *latency_figures("feature", features.latencies_ms, 100.0),
        *latency_figures("weights", weights.latencies_ms, 500.0),
        must_be_zero("unanswered", features.unanswered + weights.unanswered + failed_requests),
        count_of("feature_probes", len(features.latencies_ms)),
        count_of("weights_probes", len(weights.latencies_ms)),
    ]
