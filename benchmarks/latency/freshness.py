"""How long until an event counts: in the features of a score, and in the weights behind it.

The whole system is up, as `freshrank run` starts it, on real Kafka and real Redis. A thousand
events a second arrive in an open loop, impressions are shown and clicked, the learner steps.
Meanwhile two kinds of probes run, on users of their own (`freshrank.benchmarks.latency.probes`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import Progress, TaskID

from freshrank.actors.clock import SystemClock
from freshrank.actors.impressions import decode_impression
from freshrank.benchmarks.latency.probes import Endpoint, Prober, ShownPlaces, Unusable
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, quantile
from freshrank.benchmarks.workloads.shop_fixture import own_shop, running_outside
from freshrank.benchmarks.workloads.system_process import running
from freshrank.deploy.cluster.host import settle
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, Traffic
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count

# Each kind; well above the 300 that the figures are to rest on.
PROBES = 360
# Of each kind, each second.
PROBES_PER_S = 6.0
RATES = Rates(events_per_s=1_000.0, impressions_per_s=100.0, candidates=20, show=10)
# Seconds of traffic before the first probe: caches are warm and the learner steps.
WARM_UP_S = 15.0


@dataclass(slots=True)
class Results:
    """What the probes of one kind gave."""

    latencies_ms: list[float] = field(default_factory=list)
    unanswered: int = 0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given) and the system, probe, stop."""
    with running_outside(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        with running(outside, file, folder, console) as system:
            probes = max(int(PROBES * options.scale), 1)
            kafka = KafkaAccess(outside.broker.bootstrap)
            probing = _probe_all(pipeline, kafka, system.port, probes, console)
            return figures(*uvloop.run(probing))


async def _probe_all(
    pipeline: Pipeline, kafka: KafkaAccess, port: int, probes: int, console: Console
) -> tuple[Results, Results, int]:
    """Traffic and probes; gives those of features, those of weights, and failed requests."""
    clock, topic = SystemClock(), pipeline.stream.topic
    sink, places = KafkaSink(kafka), ShownPlaces()
    await sink.start()

    async def send(key: bytes, value: bytes) -> tuple[int, int]:
        return await sink.send(topic, key, value)

    async def send_nowait(key: bytes, value: bytes) -> None:
        sink.send_nowait(topic, key, value)

    async with contextlib.AsyncExitStack() as open_parts:
        open_parts.push_async_callback(sink.stop)
        client = await open_parts.enter_async_context(KeepAliveClient("127.0.0.1", port))

        async def score(body: bytes) -> tuple[int, bytes]:
            return await client.post("/v1/score", body)

        shop = Shop(np.random.default_rng(0), run=topic)
        traffic = Traffic(shop, RATES, clock, send_nowait, score)
        beside = [
            asyncio.create_task(traffic.run()),
            asyncio.create_task(_read_shown(kafka, pipeline.impressions_topic, places)),
        ]
        try:
            await clock.sleep(WARM_UP_S)
            settle()  # what measures must not stand still itself
            topics = pipeline.stream.topic, pipeline.impressions_topic
            prober = Prober(send, places, clock, shop.candidates(10), *topics)
            with Progress(console=console) as progress:
                bar = progress.add_task("probes", total=2 * probes)
                kinds = (("f", prober.feature), ("w", prober.weights))
                found = await asyncio.gather(
                    *(_open_loop(kind, probe, probes, port, (progress, bar))
                      for kind, probe in kinds)
                )  # fmt: skip
            for task in beside:
                if task.done():
                    task.result()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    return found[0], found[1], traffic.counts.failures


async def _open_loop(
    kind: str,
    probe: Callable[[str, Endpoint], Awaitable[float]],
    probes: int,
    port: int,
    bar: tuple[Progress, TaskID],
) -> Results:
    """Begin a probe whenever it is due, however long the ones before it take."""
    results = Results()

    async def one(number: int) -> None:
        async with KeepAliveClient("127.0.0.1", port) as client:
            try:
                results.latencies_ms.append(await probe(f"probe-{kind}-{number}", client))
            except (OSError, Unusable):  # TimeoutError is an OSError
                results.unanswered += 1
        bar[0].advance(bar[1])

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as under_way:
        for number in range(probes):
            # The two kinds alternate, so that they do not meet in the same millisecond.
            shift = 0.5 if kind == "w" else 0.0
            await asyncio.sleep(began + (number + shift) / PROBES_PER_S - loop.time())
            under_way.create_task(one(number))
    return results


async def _read_shown(kafka: KafkaAccess, topic: str, places: ShownPlaces) -> None:
    """Read the impressions from now on, for ever."""
    source = KafkaSource(kafka)
    count = await partition_count(kafka, topic)
    await source.start({(topic, partition): None for partition in range(count)})
    try:
        while True:
            for batch in await source.poll(5_000, 0.05):
                found = zip(batch.values, batch.offsets.tolist(), strict=True)
                places.add(
                    {
                        decode_impression(value).request_id: (batch.partition, offset)
                        for value, offset in found
                        if value is not None
                    }
                )
    finally:
        await source.stop()


def figures(features: Results, weights: Results, failed_requests: int) -> list[Figure]:
    """Quantiles over the probes; failed requests of the traffic count as unanswered too."""
    unanswered = features.unanswered + weights.unanswered + failed_requests
    return [
        *_quantiles("feature", features.latencies_ms, 100.0),
        *_quantiles("weights", weights.latencies_ms, 500.0),
        Figure("unanswered", unanswered, "count", "lower", 0.0),
        Figure("feature_probes", len(features.latencies_ms), "count", "higher"),
        Figure("weights_probes", len(weights.latencies_ms), "count", "higher"),
    ]


def _quantiles(what: str, latencies_ms: Sequence[float], reach: float) -> list[Figure]:
    return [
        Figure(f"{what}_p50_ms", quantile(latencies_ms, 0.50), "ms", "lower"),
        Figure(f"{what}_p99_ms", quantile(latencies_ms, 0.99), "ms", "lower", reach),
    ]
