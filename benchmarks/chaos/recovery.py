"""Kill parts of the running system under load, again and again: how long until all is well again.

The whole system is up with two replicas, on real Kafka and real Redis. First the shard is killed,
while ten thousand events a second arrive; then the log is read again from its first record by a
process that never crashes, and features and examples are compared. Then the learner is killed,
then one of the replicas, while scores are asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.workloads.expected_state import compare
from freshrank.benchmarks.workloads.shop_fixture import own_shop, running_outside
from freshrank.benchmarks.workloads.shop_traffic import beside, shoppers
from freshrank.benchmarks.workloads.status_client import LiveView
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import LiveSystem, end, running
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import Outside
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

KILLS = 10
EVENTS_PER_S = 10_000.0
USERS = 20_000
REQUESTS_PER_S = 200.0
CONNECTIONS = 8
# Seconds of calm before each kill, at random: a crash is not to meet the same moment of a cycle. So
# long that whoever stands by has loaded its code, as in a system that does not die all the time.
CALM_S = (8.0, 14.0)
# A system is fresh when an event sent at most so long ago, in seconds, is in a score.
FRESH_S = 0.5
# Between two events that are looked for, and two looks.
PROBE_S = 0.05
# Seconds after which a part counts as lost for good.
PATIENCE_S = 60.0


@dataclass(slots=True)
class Answers:
    """What clients of the endpoint saw."""

    requests: int = 0
    server_errors: int = 0
    """Answers of 5xx."""
    broken: int = 0
    """Connections that ended without the answer that was due."""

    async def ask(self, client: KeepAliveClient, body: bytes) -> None:
        """One score, whatever comes of it."""
        self.requests += 1
        try:
            status, _ = await client.post("/v1/score", body)
            self.server_errors += status >= 500
        except OSError:
            self.broken += 1


@dataclass(slots=True)
class Recovered:
    """What the kills of each kind gave."""

    to_fresh_s: list[float] = field(default_factory=list)
    wrong_rows: int = 0
    expected_examples: int = 0
    learned_examples: int = 0
    """With those that the guard has quarantined."""
    to_version_s: list[float] = field(default_factory=list)
    learner_answers: Answers = field(default_factory=Answers)
    disagreements: int = 0
    replica_answers: Answers = field(default_factory=Answers)


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given) and the system, kill, compare, stop."""
    with running_outside(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        replicas = {"FRESHRANK_SERVE__REPLICAS": "2"}
        with running(outside, file, folder, console, replicas) as system:
            bench = _Bench(pipeline, outside, system, max(int(KILLS * options.scale), 1), console)
            return figures(uvloop.run(bench.run()))


class _Bench:
    def __init__(
        self,
        pipeline: Pipeline,
        outside: Outside,
        system: LiveSystem,
        kills: int,
        console: Console,
    ) -> None:
        self._pipeline = pipeline
        self._outside = outside
        self._system = system
        self._kills = kills
        self._console = console
        self._clock = SystemClock()
        self._rng = np.random.default_rng(0)
        self._found = Recovered()
        self._view = LiveView(system.port)
        self._sink = KafkaSink(KafkaAccess(outside.broker.bootstrap))

    async def run(self) -> Recovered:
        found, topic = self._found, self._pipeline.stream.topic
        await self._sink.start()
        async with self._view:
            stream = SteadyStream(self._outside.broker.bootstrap, topic, EVENTS_PER_S, USERS)
            with stream:
                async with self._traffic():
                    found.to_fresh_s = await self._repeat("the shard", self._kill_shard)
                await asyncio.to_thread(stream.stop)
            await self._compare()
            async with self._traffic():
                async with self._asking(found.learner_answers):
                    found.to_version_s = await self._repeat("the learner", self._kill_learner)
                # Before those who count are killed, and again those who came after them.
                found.disagreements = await self._view.disagreements()
                async with self._asking(found.replica_answers):
                    await self._repeat("a replica", self._kill_replica)
                found.disagreements += await self._view.disagreements()
        await self._sink.stop()
        return found

    async def _repeat(self, who: str, kill: Callable[[int], Awaitable[float]]) -> list[float]:
        seconds = []
        for number in range(self._kills):
            await self._clock.sleep(self._rng.uniform(*CALM_S))
            seconds.append(await kill(number))
            self._console.print(f"{who}, kill {number + 1}: well again after {seconds[-1]:.2f} s")
        return seconds

    async def _kill_shard(self, number: int) -> float:
        """Seconds until an event of the last moment is in the features that are served."""
        end(await self._process_of("shard-0"))
        began = self._clock.monotonic()
        sent: list[tuple[str, float]] = []
        while self._clock.monotonic() - began < PATIENCE_S:
            user = f"probe-{number}-{len(sent)}"
            sent.append((user, self._clock.monotonic()))
            self._sink.send_nowait(self._pipeline.stream.topic, user.encode(), self._event(user))
            await self._clock.sleep(PROBE_S)
            now = self._clock.monotonic()
            young = [one for one, at in sent if PROBE_S <= now - at <= FRESH_S]
            if young and await self._view.served(young[0]):
                return self._clock.monotonic() - began
        raise Unavailable("shard", f"not fresh {PATIENCE_S} s after it was killed")

    async def _kill_learner(self, number: int) -> float:
        """Seconds until a replica answers with weights of the learner that came after."""
        before = await self._view.version()
        end(await self._process_of("learner"))
        began = self._clock.monotonic()
        while (now := self._clock.monotonic()) - began < PATIENCE_S:
            if (await self._view.version()).epoch > before.epoch:
                return now - began
            await self._clock.sleep(PROBE_S)
        raise Unavailable("learner", f"no version {PATIENCE_S} s after it was killed")

    async def _kill_replica(self, number: int) -> float:
        """Seconds until there are two again that answer."""
        self._system.kill("ServeReplica")
        began = self._clock.monotonic()
        answered_at: dict[str, float] = {}
        while (now := self._clock.monotonic()) - began < PATIENCE_S:
            answered_at[await self._whose_answer()] = now
            alive = [one for one, at in answered_at.items() if one and now - at < FRESH_S]
            # Who has been killed answers nothing any more: within this time it is forgotten.
            if now - began > FRESH_S and len(alive) >= 2:
                return now - began
            await self._clock.sleep(PROBE_S)
        raise Unavailable("replica", f"not back {PATIENCE_S} s after it was killed")

    async def _whose_answer(self) -> str:
        """The id of the replica that answers a score; "" where none does."""
        request = {"user": "nobody", "candidates": [{"item_id": 1, "category_id": 1}], "show": 0}
        answer = await self._view.post("/v1/score", msgspec.json.encode(request))
        whose: str = answer.get("request_id", "").rpartition("-")[0]
        return whose

    async def _process_of(self, part: str) -> int:
        """Id of the process that is `part`; what was posted of it may have expired."""
        deadline = self._clock.monotonic() + PATIENCE_S
        while self._clock.monotonic() < deadline:
            if found := await self._view.process_of(part):
                return found
            await self._clock.sleep(PROBE_S)
        raise Unavailable(part, f"says nothing of itself for {PATIENCE_S} s")

    async def _compare(self) -> None:
        """Wait until all is read, and compare with what the log says."""
        with self._console.status("reading the log again, to compare"):
            found = await compare(self._pipeline, self._outside, self._view, PATIENCE_S)
        self._found.wrong_rows = found.wrong_rows
        self._found.expected_examples = found.expected_examples
        self._found.learned_examples = found.taken_examples

    def _traffic(self) -> contextlib.AbstractAsyncContextManager[None]:
        topic = self._pipeline.stream.topic
        return shoppers(self._system.port, partial(self._sink.send_nowait, topic))

    @contextlib.asynccontextmanager
    async def _asking(self, answers: Answers) -> AsyncIterator[None]:
        """Scores at a steady rate over several connections, in an open loop."""
        clients = [KeepAliveClient("127.0.0.1", self._system.port) for _ in range(CONNECTIONS)]
        shop = Shop(np.random.default_rng(1), run="asking")

        async def ask_on(client: KeepAliveClient) -> None:
            due = self._clock.monotonic()
            while True:
                due = max(due + CONNECTIONS / REQUESTS_PER_S, self._clock.monotonic() - 1.0)
                await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
                request = {"user": shop.visitor(), "candidates": shop.candidates(20), "show": 0}
                await answers.ask(client, msgspec.json.encode(request))

        async with contextlib.AsyncExitStack() as stack:
            for client in clients:
                await stack.enter_async_context(client)
                await stack.enter_async_context(beside(ask_on(client)))
            yield

    def _event(self, user: str) -> bytes:
        now_ms = self._clock.now_ms()
        event = {"event_id": user, "user_id": user, "item_id": 1, "category_id": 1}
        return msgspec.json.encode({**event, "type": "view", "price": 1.0, "ts": now_ms})


def figures(found: Recovered) -> list[Figure]:
    """Medians over the kills, and sums of what must not be."""
    replica, learner = found.replica_answers, found.learner_answers
    difference = found.expected_examples - found.learned_examples
    return [
        Figure("seconds_to_fresh_p50", median(found.to_fresh_s), "s", "lower", 3.0),
        Figure("seconds_to_fresh_max", max(found.to_fresh_s), "s", "lower"),
        Figure("wrong_values", found.wrong_rows, "count", "lower", 0.0),
        Figure("lost_examples", max(difference, 0), "count", "lower", 0.0),
        Figure("doubled_examples", max(-difference, 0), "count", "lower", 0.0),
        Figure("examples", found.expected_examples, "count", "higher"),
        Figure("seconds_to_next_version_p50", median(found.to_version_s), "s", "lower", 5.0),
        Figure("disagreements", found.disagreements, "count", "lower", 0.0),
        Figure("failed_requests", learner.server_errors + learner.broken, "count", "lower", 0.0),
        Figure("answers_5xx", replica.server_errors, "count", "lower", 0.0),
        Figure(
            "broken_connections_per_10000",
            10_000 * replica.broken / max(replica.requests, 1),
            "1/10000",
            "lower",
            1.0,
        ),
        Figure("requests", learner.requests + replica.requests, "count", "higher"),
    ]
