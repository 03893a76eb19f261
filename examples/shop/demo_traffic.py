"""Simulated shoppers at a running system: events into Kafka, score requests over HTTP."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.deploy.console.system_metrics import Requests
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, ShopTraffic
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink


class DemoTraffic:
    """Shoppers that browse, request scores, and click on items that they are shown.

    Parameters
    ----------
    sink, topic
        The writer of the events, which is started and stopped here, and their topic.
    client
        Asks the REST endpoint; it is closed here.
    """

    def __init__(self, sink: KafkaSink, topic: str, client: KeepAliveClient) -> None:
        self._client = client
        self._sink = sink
        self._topic = topic
        self._latencies = RecentLatencies()
        seed = time.time_ns()  # a new shop each time; it is part of the ids of its events
        shop = Shop(np.random.default_rng(seed), run=f"{seed:x}")
        self._traffic = ShopTraffic(shop, Rates(), SystemClock(), self._send, self._ask)
        self.first_score = asyncio.Event()
        """Set when the endpoint has answered a score request for the first time."""

    async def run(self) -> None:
        """Generate until cancelled. Raises Unavailable when the broker accepts no more events."""
        await self._sink.start()
        try:
            await self._traffic.run()
        finally:
            await self._client.close()
            await self._sink.stop()

    def requests(self) -> Requests:
        """Count the score requests so far, and the latencies of the latest."""
        counts = self._traffic.counts
        return Requests(counts.requests, counts.failures, self._latencies.at(time.monotonic()))

    async def _send(self, key: bytes, value: bytes) -> None:
        self._sink.send_nowait(self._topic, key, value)

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        began = time.monotonic()
        status, answer = await self._client.post("/v1/score", body)
        now = time.monotonic()
        self._latencies.add(np.array([(now - began) * 1000.0]), now)
        if status == 200:
            self.first_score.set()
        return status, answer
