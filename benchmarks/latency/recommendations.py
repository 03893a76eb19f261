"""How fast `/v1/recommend` answers over a large catalogue, and how soon an event shows in it.

The whole system runs as `freshrank run` starts it, on real Kafka and real Redis, with a catalogue
of 100,000 items. A thousand events a second arrive in an open loop; requests come in another, a
hundred a second, with and without filters. Meanwhile probes, each with a user of its own, send one
event and ask for recommendations until one knows of it.

Of each part the bench says how many cores it had while requests came, and for how many it waited:
what it waited, the machine lacked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.runtime import freeze_heap
from freshrank.benchmarks.latency.open_loop import ask_steadily
from freshrank.benchmarks.latency.probes import PAUSE_S, TIMEOUT_S
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, latency_figures, must_be_zero
from freshrank.benchmarks.workloads.shop_events import TopicFiller, events_of, user_name
from freshrank.benchmarks.workloads.shop_fixture import (
    changed_example,
    external_servers,
    shop_file,
    written_pipeline,
)
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import (
    CoreTime,
    RunningSystem,
    core_time,
    running_system,
)
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import ShopProduct

ITEMS = 100_000
CATEGORIES = 100
USERS = 20_000
EVENTS_PER_S = 1_000.0
REQUESTS_PER_S = 100.0
# Seconds of requests of each kind; before that, of requests that are not measured.
SECONDS, WARM_UP_S = 20.0, 10.0
PROBES, PROBES_PER_S = 200, 5.0
# Seconds for a replica to read the catalogue and the rows of its items, and between two looks.
FILL_S, LOOK_S = 300.0, 1.0


# The parts of the system, by what the titles of their processes have.
PARTS = {"replica": "ServeReplica", "shard": "ShardHost", "learner": "LearnerHost"}


class _UserFeatures(msgspec.Struct):
    offset: int | None


class _Recommended(msgspec.Struct):
    features: _UserFeatures
    candidates: int


@dataclass(slots=True)
class Answers:
    """The answers to the requests of one kind."""

    latencies_ms: list[float] = field(default_factory=list)
    """From when each was due, so that one that waits for those before counts in full."""
    failed: int = 0
    ranked: list[int] = field(default_factory=list)
    """Candidates behind each."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers and the system, fill the catalogue, ask, stop."""
    with external_servers(options, console) as (outside, folder):
        path, pipeline = catalogue_shop(folder)
        with running_system(outside, path, folder, console) as system:
            items = max(int(ITEMS * options.scale), 1_000)
            (table,) = pipeline.tables
            filler = TopicFiller(outside.broker.bootstrap, table.topic)
            for key, row in catalogue_rows(items):
                filler.write(key, row)
            filler.finish()
            topic, bootstrap = pipeline.stream.topic, outside.broker.bootstrap
            # The stream's producer gathers records for longer than an event may take.
            prober = TopicFiller(bootstrap, topic, linger_ms=0)
            with SteadyStream(bootstrap, topic, EVENTS_PER_S, USERS):
                bench = _Bench(system, prober, options.scale, console)
                return figures(*uvloop.run(bench.run(items)))


def catalogue_shop(folder: Path) -> tuple[Path, Pipeline]:
    """Write the example with a catalogue, with a name and topics of its own; load it."""
    unique = f"bench-{time.time_ns():x}"
    shop, _, _ = shop_file(unique, unique).text.partition("\npipeline = Pipeline(")
    changes = {
        "from freshrank.examples.recommend import Activity, behaviour\n": f"{shop}\n",
        'Table("catalogue"': f'Table("{unique}-catalogue"',
        'Pipeline(\n    "catalogue"': f'Pipeline(\n    "{unique}"',
    }
    return written_pipeline(folder, changed_example("catalogue.py", changes))


def catalogue_rows(items: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and JSON of the row of each item."""
    prices = np.random.default_rng(0).lognormal(3.0, 0.8, items).round(2).tolist()
    for number, price in enumerate(prices, 1):
        row = ShopProduct(number, number % CATEGORIES + 1, price)
        yield str(number).encode(), msgspec.json.encode(row)


class _Bench:
    """Asks the endpoint of a system."""

    def __init__(
        self, system: RunningSystem, prober: TopicFiller, scale: float, console: Console
    ) -> None:
        self._system = system
        self._port = system.port
        self._prober = prober
        self._scale = scale
        self._console = console

    async def run(self, items: int) -> tuple[Answers, Answers, Answers, Mapping[str, CoreTime]]:
        """Answers without and with filters, and of the probes; what each part had of the cores."""
        with self._console.status("reading the catalogue"):
            await self._until_filled(items)
        freeze_heap()  # no pauses of the garbage collector in the process that measures
        rng = np.random.default_rng(1)
        with self._console.status("warming up"):
            for filtered in (False, True):
                await self._ask(rng, WARM_UP_S / 2, filtered=filtered)
        clock, before = SystemClock(), self._core_times()
        begun = clock.monotonic()
        with self._console.status("requests"):
            plain = await self._ask(rng, SECONDS, filtered=False)
        with self._console.status("requests with filters"):
            narrowed = await self._ask(rng, SECONDS, filtered=True)
        cores = _a_second(before, self._core_times(), clock.monotonic() - begun)
        with self._console.status("probes"):
            probes = await self._probe(rng)
        return plain, narrowed, probes, cores

    def _core_times(self) -> dict[str, CoreTime]:
        return {part: core_time(self._system.processes(title)) for part, title in PARTS.items()}

    async def _until_filled(self, items: int) -> None:
        deadline = time.monotonic() + FILL_S
        async with StatusClient(self._port) as client:
            while time.monotonic() < deadline:
                statuses = await client.get("/v1/status")
                if statuses.get("replica", {}).get("catalogue", {}).get("items") == items:
                    return
                await asyncio.sleep(LOOK_S)
        raise Unavailable("the replica", f"it has not read {items:,} items in {FILL_S:.0f} s")

    async def _ask(self, rng: np.random.Generator, seconds: float, *, filtered: bool) -> Answers:
        """Ask in an open loop."""
        count = max(int(seconds * REQUESTS_PER_S * self._scale), 100)
        bodies = [request_body(rng, filtered=filtered) for _ in range(count)]
        ranked = list[int]()

        def taken(answer: bytes) -> None:
            ranked.append(msgspec.json.decode(answer, type=_Recommended).candidates)

        found = await ask_steadily(self._port, "/v1/recommend", bodies, REQUESTS_PER_S, taken)
        return Answers(found.latencies_ms, found.failed, ranked)

    async def _probe(self, rng: np.random.Generator) -> Answers:
        """Send an event of a new user, and ask until an answer knows of it."""
        answers, loop, clock = Answers(), asyncio.get_running_loop(), SystemClock()

        async def one(number: int) -> None:
            # Users beyond those of the stream.
            user, at_ms = USERS + number, time.time_ns() // 1_000_000
            body = msgspec.json.encode({"user": user_name(user), "k": 10})
            (event,) = events_of([user], [at_ms], rng, "probe", number)
            begun = loop.time()
            self._prober.write(user_name(user).encode(), event)
            async with KeepAliveClient("127.0.0.1", self._port) as client:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        while not await _knows(client, body):
                            await clock.sleep(PAUSE_S)
                except OSError:  # TimeoutError is one
                    answers.failed += 1
                    return
            answers.latencies_ms.append((loop.time() - begun) * 1000.0)

        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for number in range(max(int(PROBES * self._scale), 10)):
                await asyncio.sleep(began + number / PROBES_PER_S - loop.time())
                running.create_task(one(number))
        return answers


def _a_second(
    before: Mapping[str, CoreTime], after: Mapping[str, CoreTime], seconds: float
) -> dict[str, CoreTime]:
    """By part, the seconds in each of so many seconds."""

    def rate(part: str) -> CoreTime:
        began, ended = before[part], after[part]
        return CoreTime(
            (ended.ran_s - began.ran_s) / seconds, (ended.waited_s - began.waited_s) / seconds
        )

    return {part: rate(part) for part in before}


async def _knows(client: KeepAliveClient, body: bytes) -> bool:
    """Whether an answer was made of an event of its user."""
    status, answer = await client.post("/v1/recommend", body)
    if status != 200:
        raise ConnectionError(f"/v1/recommend: {status} {answer[:200]!r}")
    return msgspec.json.decode(answer, type=_Recommended).features.offset is not None


def request_body(rng: np.random.Generator, *, filtered: bool) -> bytes:
    """Return a request of a random user, for items of ten categories and a price range."""
    request: dict[str, object] = {"user": user_name(int(rng.integers(USERS))), "k": 20}
    if filtered:
        categories = (rng.choice(CATEGORIES, 10, replace=False) + 1).tolist()
        request["filters"] = {"category_id": categories, "price": {"ge": 10.0, "lt": 40.0}}
        request["diversify"] = {"most_per": {"category_id": 3}}
    return msgspec.json.encode(request)


def figures(
    plain: Answers, filtered: Answers, probes: Answers, cores: Mapping[str, CoreTime]
) -> list[Figure]:
    """Return quantiles of the latencies, how many candidates were ranked, and the cores by part."""
    return [
        *latency_figures("recommend", plain.latencies_ms, 15.0),
        *latency_figures("recommend_filtered", filtered.latencies_ms, 15.0),
        *latency_figures("event_to_recommendation", probes.latencies_ms, 100.0),
        Figure("candidates_ranked", _mean(plain.ranked), "1", "higher"),
        Figure("candidates_ranked_filtered", _mean(filtered.ranked), "1", "higher"),
        must_be_zero("failed", plain.failed + filtered.failed + probes.failed),
        *(Figure(f"{part}_cores", one.ran_s, "1", "lower") for part, one in cores.items()),
        *(Figure(f"{part}_waits_cores", one.waited_s, "1", "lower") for part, one in cores.items()),
    ]


def _mean(counts: Sequence[int]) -> float:
    return float(np.mean(counts)) if counts else float("nan")
