"""The example shop with a catalogue, alive in this process, and its page on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np
import uvicorn

from freshrank.actors.clock import SystemClock
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.examples.shop.shoppers import Shop, ShopEvent, ShopSize
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService

TICK_S = 0.05
PARTITIONS = 2


class LivePage:
    """Shards, learner and a replica in lock-step behind HTTP, with shoppers who never rest.

    Each tick some shoppers browse, `visits` of them are shown what the model ranks first and react,
    and everything that was written is read and learned. `serve` are settings of the endpoint.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        events: int = 10,
        visits: int = 1,
        serve: Mapping[str, object] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self._serve = serve or {}
        self.url = ""
        self._events, self._visits = events, visits
        self._shop = Shop(np.random.default_rng(1), "page", ShopSize(200, 120, 12))
        self._waiting: list[ShopEvent] = []
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self.clock = SystemClock()

    def run(self) -> None:
        """Serve until `stop`; for a thread of its own."""
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._ready.set()

    def until_ready(self) -> None:
        """Return once `url` answers."""
        assert self._ready.wait(300)  # kernels may have to be compiled
        assert self._failed is None, self._failed
        assert self.url

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    async def _run(self) -> None:
        others = {"catalogue": PARTITIONS, "behaviour.by_item": PARTITIONS}
        self.log = MemoryLog(PARTITIONS, others=others)
        settings = Settings.model_validate({"shards": {"count": PARTITIONS}, "serve": self._serve})
        self.system = LocalSystem(self.pipeline, settings, World(self.log, self.clock))
        await self.system.start()
        self._fill_catalogue()
        await self._tick()
        app = build_app(self._service)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        listening = socket.create_server(("127.0.0.1", 0))  # what connects early waits
        serving = asyncio.create_task(server.serve([listening]))
        self.url = f"http://localhost:{listening.getsockname()[1]}/"
        self._ready.set()
        while not self._stopping.is_set():
            await self._tick()
            await self._visit()
            await asyncio.sleep(TICK_S)
        server.should_exit = True
        await serving

    async def _service(self) -> ScoringService:
        return self.system.replica

    async def _tick(self) -> None:
        now = self.clock.now_ms()
        self._shop.advance(TICK_S)
        self._waiting += self._shop.browse(self._events, now)
        self._append([event for event in self._waiting if event.ts <= now])
        self._waiting = [event for event in self._waiting if event.ts > now]
        await self.system.drain()
        await self._post()

    async def _post(self) -> None:
        registry = self.system.replica.connectors.status_registry
        for shard in (*self.system.shards, *self.system.candidate_shards):
            status = await shard.status()
            await registry.post(str(status["name"]), status)

    async def _visit(self) -> None:
        for _ in range(self._visits):
            user, shown = self._shop.visitor(), self._shop.candidates(10)
            candidates: list[JsonValue] = [{"item_id": one.item_id} for one in shown]
            body = {"user": user, "candidates": candidates, "show": len(shown)}
            await self.system.replica.score(msgspec.json.encode(body))
            self._waiting += self._shop.react(user, shown, self.clock.now_ms())

    def _append(self, events: Sequence[ShopEvent]) -> None:
        keys = [event.user_id.encode() for event in events]
        values = [msgspec.json.encode(event) for event in events]
        stamps = np.full(len(events), self.clock.now_ms())
        self.log.distribute("behaviour", keys, values, stamps)

    def _fill_catalogue(self) -> None:
        rows = [msgspec.to_builtins(product) for product in self._shop.products()]
        keys = [str(row["item_id"]).encode() for row in rows]
        values = [msgspec.json.encode(row) for row in rows]
        self.log.distribute("catalogue", keys, values, np.full(len(rows), self.clock.now_ms()))


@contextmanager
def live_page(pipeline: Pipeline, serve: Mapping[str, object] | None = None) -> Iterator[LivePage]:
    """The page of `pipeline` over HTTP, within the block; `serve` are settings of the endpoint."""
    live = LivePage(pipeline, serve=serve)
    thread = threading.Thread(target=live.run, name="live page")
    thread.start()
    try:
        live.until_ready()
        yield live
    finally:
        live.stop()
        thread.join()
