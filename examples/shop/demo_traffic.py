"""Simulated shoppers at a running system: events into Kafka, requests over HTTP."""

from __future__ import annotations

import asyncio
import time

import msgspec
import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.deploy.console.system_metrics import Requests
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, RecommendingTraffic, ShopTraffic
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

CATALOGUE = "catalogue"
"""The topic of the table of `freshrank.examples.catalogue`."""


class DemoTraffic:
    """Shoppers that browse, are shown items, and click on them.

    Parameters
    ----------
    sink, topic
        The writer of the events, which is started and stopped here, and their topic.
    client
        Asks the REST endpoint; it is closed here.
    """

    shows: type[ShopTraffic] = ShopTraffic
    """How it is chosen what shoppers are shown."""

    def __init__(self, sink: KafkaSink, topic: str, client: KeepAliveClient) -> None:
        self._client = client
        self._sink = sink
        self._topic = topic
        self._latencies = RecentLatencies()
        seed = time.time_ns()  # a new shop each time; it is part of the ids of its events
        self._shop = Shop(np.random.default_rng(seed), run=f"{seed:x}")
        self._traffic = self.shows(self._shop, Rates(), SystemClock(), self._send, self._ask)
        self.first_score = asyncio.Event()
        """Set when the endpoint has answered a score request for the first time."""

    async def run(self) -> None:
        """Generate until cancelled. Raises Unavailable when the broker accepts no more events."""
        await self._sink.start()
        try:
            await self._prepare()
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

    async def _prepare(self) -> None:
        """Do what has to be done before the first event: nothing."""

    async def _ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        began = time.monotonic()
        status, answer = await self._client.post(path, body)
        now = time.monotonic()
        self._latencies.add(np.array([(now - began) * 1000.0]), now)
        if status == 200:
            self.first_score.set()
        return status, answer


class CatalogueDemoTraffic(DemoTraffic):
    """The same shoppers, who are shown recommendations out of the shop's catalogue."""

    shows = RecommendingTraffic

    async def _prepare(self) -> None:
        """Write the catalogue."""
        for product in self._shop.products():
            key, row = str(product.item_id).encode(), msgspec.json.encode(product)
            await self._sink.send(CATALOGUE, key, row)
