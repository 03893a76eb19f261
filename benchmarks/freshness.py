"""How long until a score has used an event, and until one was given by weights that learned it.

The whole system is up as `freshrank run` starts it, on real Apache Kafka and real Redis; shoppers
make 1,000 events a second, open loop, and click on what they are shown, so that the learner
steps. Beside them, probes are sent one after another from this process, over the same Kafka and
the same REST endpoint that anybody would use.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.shop_site import outside_parts, shop_file
from freshrank.deploy.outside import Outside
from freshrank.deploy.processes import Child, ask, free_port
from freshrank.examples.keepalive import KeepAliveClient
from freshrank.examples.shoppers import Shop, ShopEvent
from freshrank.examples.traffic import Rates, Traffic
from freshrank.feature_actors.kafka import KafkaSink

EVENTS_PER_S = 1_000.0
PROBES = 300
# A probe that has no answer by then counts as unanswered.
GIVE_UP_S = 5.0
# Between two looks of a probe: finer than what is measured, coarse enough not to be the load.
LOOK_S = {"features": 0.003, "weights": 0.008}
# Probes under way at the same time. A weights probe mostly waits.
WORKERS = {"features": 1, "weights": 3}
# Between showing an item and its click: the impression is in its topic by then.
REACTION_S = 0.3
# Of traffic before the first probe: caches are filled, the learner steps.
WARM_UP_S = 8.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0

_READY = b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given) and the system, measure, stop."""
    with tempfile.TemporaryDirectory(prefix="freshrank-bench-") as name:
        folder = Path(name)
        outside = outside_parts(options, folder, console.print)
        asyncio.run(outside.start())
        try:
            return figures(_with_system(options, console, outside, folder))
        finally:
            asyncio.run(outside.stop())


@dataclass(slots=True)
class Found:
    """Milliseconds of each answered probe, by kind; and how many had no answer."""

    features: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    unanswered: int = 0


def figures(found: Found) -> list[Figure]:
    """The quantiles over all probes."""

    def quantile(values: Sequence[float], share: float) -> float:
        return float(np.quantile(values, share)) if values else float("nan")

    return [
        Figure("feature_p50_ms", quantile(found.features, 0.5), "ms", "lower"),
        Figure("feature_p99_ms", quantile(found.features, 0.99), "ms", "lower", 100.0),
        Figure("weights_p50_ms", quantile(found.weights, 0.5), "ms", "lower"),
        Figure("weights_p99_ms", quantile(found.weights, 0.99), "ms", "lower", 500.0),
        Figure("unanswered", found.unanswered, "count", "lower", 0.0),
        Figure("feature_probes", len(found.features), "count", "higher"),
        Figure("weights_probes", len(found.weights), "count", "higher"),
    ]


def _with_system(options: BenchOptions, console: Console, outside: Outside, folder: Path) -> Found:
    """`freshrank run` in a process of its own, and the probes against it."""
    port, topic = free_port(), f"freshrank-bench-{time.time_ns():x}"
    pipeline = folder / "shop.py"
    pipeline.write_text(shop_file(topic, "bench").text, encoding="utf-8")
    config = folder / "bench.toml"
    config.write_text(
        f'state = "{folder / "state"}"\n[kafka]\nbootstrap = "{outside.broker.bootstrap}"\n'
        f'[redis]\nurl = "{outside.redis.url}"\n[serve]\nport = {port}\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "freshrank.deploy.cli", "run", str(pipeline)]
    with console.status("starting the system"):
        child = Child("the system", [*command, "--config", str(config)], folder / "system.log")
    try:
        child.wait_until(
            lambda: ask("127.0.0.1", port, _READY).startswith(b"HTTP/1.1 200"), START_TIMEOUT_S
        )
        prober = Prober(outside.broker.bootstrap, topic, port)
        return asyncio.run(prober.run(int(PROBES * options.scale), console))
    finally:
        child.stop(grace_s=STOP_TIMEOUT_S)


class Prober:
    """Traffic and probes against one running system."""

    def __init__(self, bootstrap: str, topic: str, port: int) -> None:
        self._sink = KafkaSink(bootstrap)
        self._topic = topic
        self._port = port
        self._found = Found()
        self._rng = np.random.default_rng(1)
        self._shop = Shop(np.random.default_rng(0), run=f"bench-{time.time_ns():x}")
        self._sent = 0
        self._event_run = f"probe-{time.time_ns():x}"

    async def run(self, probes: int, console: Console) -> Found:
        """`probes` of each kind, under load."""
        await self._sink.start()
        async with KeepAliveClient("127.0.0.1", self._port) as client:

            async def browse_ask(body: bytes) -> tuple[int, bytes]:
                return await client.post("/v1/score", body)

            rates = Rates(events_per_s=EVENTS_PER_S)
            traffic = Traffic(self._shop, rates, SystemClock(), self._send, browse_ask)
            load = asyncio.ensure_future(traffic.run())
            try:
                with console.status("warming up"):
                    await asyncio.sleep(WARM_UP_S)
                with Progress(console=console) as progress:
                    await self._probe_all(probes, progress)
            finally:
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
                await self._sink.stop()
        return self._found

    async def _probe_all(self, probes: int, progress: Progress) -> None:
        kinds: list[tuple[str, Callable[[KeepAliveClient], Awaitable[float | None]], list[float]]]
        kinds = [
            ("features", self._feature_probe, self._found.features),
            ("weights", self._weights_probe, self._found.weights),
        ]
        async with asyncio.TaskGroup() as group:
            for name, probe, times in kinds:
                bar = progress.add_task(name, total=probes)
                left = iter(range(probes))

                async def work(
                    left: Any = left, probe: Any = probe, times: Any = times, bar: Any = bar
                ) -> None:
                    async with KeepAliveClient("127.0.0.1", self._port) as client:
                        for _ in left:
                            found = await probe(client)
                            if found is None:
                                self._found.unanswered += 1
                            else:
                                times.append(found * 1000.0)
                            progress.advance(bar)

                for _ in range(WORKERS[name]):
                    group.create_task(work())

    async def _feature_probe(self, client: KeepAliveClient) -> float | None:
        """Seconds from just before an event's send to the first score that used it."""
        user, item = self._shop.visitor(), self._shop.candidates(1)[0]
        event = self._event(user, item.item_id, item.category_id, "view")
        began = time.perf_counter()
        _, offset = await self._sink.send(self._topic, user.encode(), event)
        while time.perf_counter() - began < GIVE_UP_S:
            answer = await self._score(client, user, show=0)
            if (answer["features"]["offset"] or -1) >= offset:
                return time.perf_counter() - began
            await asyncio.sleep(LOOK_S["features"])
        return None

    async def _weights_probe(self, client: KeepAliveClient) -> float | None:
        """Seconds from just before a click's send to the first score by weights that learned it."""
        user = self._shop.visitor()
        candidates = self._shop.candidates(5)
        body = {"user": user, "candidates": msgspec.to_builtins(candidates), "show": 5}
        await client.post("/v1/score", json.dumps(body).encode())
        await asyncio.sleep(REACTION_S)
        clicked = candidates[int(self._rng.integers(5))]
        event = self._event(user, clicked.item_id, clicked.category_id, "click")
        began = time.perf_counter()
        partition, offset = await self._sink.send(self._topic, user.encode(), event)
        while time.perf_counter() - began < GIVE_UP_S:
            _, model = await client.get("/v1/model")
            applied = json.loads(model)["applied"].get(str(partition))
            if applied is not None and applied[0] > offset:
                # The replica holds such a version: the next score is by it, or by a later one.
                await self._score(client, user, show=0)
                return time.perf_counter() - began
            await asyncio.sleep(LOOK_S["weights"])
        return None

    async def _score(self, client: KeepAliveClient, user: str, show: int) -> dict[str, Any]:
        candidates = msgspec.to_builtins(self._shop.candidates(20))
        body = {"user": user, "candidates": candidates, "show": show}
        status, answer = await client.post("/v1/score", json.dumps(body).encode())
        if status != 200:
            raise OSError(f"/v1/score answered {status}: {answer[:200]!r}")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def _event(self, user: str, item: int, category: int, kind: str) -> bytes:
        self._sent += 1
        return msgspec.json.encode(
            ShopEvent(
                event_id=f"{self._event_run}-{self._sent}",
                user_id=user,
                item_id=item,
                category_id=category,
                type=kind,
                price=1.0,
                ts=time.time_ns() // 1_000_000,
            )
        )

    async def _send(self, key: bytes, value: bytes) -> None:
        self._sink.send_nowait(self._topic, key, value)
