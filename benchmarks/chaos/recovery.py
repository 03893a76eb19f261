"""Kills parts of the running system under load, again and again: how long until it has recovered.

The whole system runs with two replicas, on real Kafka and real Redis. First the shard is killed
while ten thousand events a second arrive; then features and examples are compared with what the log
determines. Then the learner is killed, then a replica, while scores are requested.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.polling import wait_for
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, median, must_be_zero
from freshrank.benchmarks.workloads.expected_state import compare_with_log
from freshrank.benchmarks.workloads.shop_fixture import external_servers, own_shop
from freshrank.benchmarks.workloads.shop_traffic import background, shoppers
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import (
    RunningSystem,
    kill_process,
    running_system,
)
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop, ShopEvent
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

T = TypeVar("T")

KILLS = 10
EVENTS_PER_S = 10_000.0
USERS = 20_000
REQUESTS_PER_S = 200.0
CONNECTIONS = 8
# The least and the most seconds before a kill: at random, so that kills meet every phase of the
# snapshot cycle, and long enough that the new standby has loaded its code.
CALM_S = (8.0, 14.0)
# A system is fresh when a score uses an event that was sent at most so many seconds ago.
FRESH_S = 0.5
# Seconds between two probe events, and between two polls.
PROBE_S = 0.05
# Seconds after which a part counts as lost for good.
TIMEOUT_S = 60.0


@dataclass(slots=True)
class AnswerCounts:
    """What clients of the endpoint saw."""

    requests: int = 0
    server_errors: int = 0
    """Answers with a status of 500 or more."""
    broken: int = 0
    """Requests whose connection ended before the answer."""

    async def request(self, client: KeepAliveClient, body: bytes) -> None:
        """Request a score and count the outcome."""
        self.requests += 1
        try:
            status, _ = await client.post("/v1/score", body)
            self.server_errors += status >= 500
        except OSError:
            self.broken += 1


@dataclass(slots=True)
class RecoveryResults:
    """The measurements of all kills."""

    to_fresh_s: list[float] = field(default_factory=list)
    """For each kill of the shard: seconds until features are fresh again."""
    wrong_rows: int = 0
    expected_examples: int = 0
    learned_examples: int = 0
    """Quarantined examples included."""
    to_version_s: list[float] = field(default_factory=list)
    """For each kill of the learner: seconds until weights of the next one answer."""
    learner_answers: AnswerCounts = field(default_factory=AnswerCounts)
    checksum_mismatches: int = 0
    replica_answers: AnswerCounts = field(default_factory=AnswerCounts)


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers and the system, kill parts, compare, stop."""
    with external_servers(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        replicas = {"FRESHRANK_SERVE__REPLICAS": "2"}
        with running_system(outside, file, folder, console, replicas) as system:
            kills = max(int(KILLS * options.scale), 1)
            return figures(uvloop.run(_Recovery(pipeline, outside, system, kills, console).run()))


class _Recovery:
    def __init__(
        self,
        pipeline: Pipeline,
        outside: ExternalServers,
        system: RunningSystem,
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
        self._client = StatusClient(system.port)
        self._sink = KafkaSink(KafkaAccess(outside.broker.bootstrap))

    async def run(self) -> RecoveryResults:
        results, topic = RecoveryResults(), self._pipeline.stream.topic
        await self._sink.start()
        async with self._client:
            stream = SteadyStream(self._outside.broker.bootstrap, topic, EVENTS_PER_S, USERS)
            with stream:
                async with self._shoppers():
                    results.to_fresh_s = await self._repeat("the shard", self._kill_shard)
                await asyncio.to_thread(stream.stop)
            await self._compare(results)
            async with self._shoppers():
                async with self._requests(results.learner_answers):
                    results.to_version_s = await self._repeat("the learner", self._kill_learner)
                # A replica's counter ends with it: read before the kills, and after them.
                results.checksum_mismatches = await self._client.checksum_mismatches()
                async with self._requests(results.replica_answers):
                    await self._repeat("a replica", self._kill_replica)
                results.checksum_mismatches += await self._client.checksum_mismatches()
        await self._sink.stop()
        return results

    async def _repeat(self, part: str, kill: Callable[[int], Awaitable[float]]) -> list[float]:
        seconds = []
        for number in range(self._kills):
            await self._clock.sleep(self._rng.uniform(*CALM_S))
            seconds.append(await kill(number))
            self._console.print(f"{part}, kill {number + 1}: recovered in {seconds[-1]:.2f} s")
        return seconds

    async def _kill_shard(self, number: int) -> float:
        """Return the seconds until the served features are fresh again."""
        kill_process(await self._process_of("shard-0"))
        began = self._clock.monotonic()
        sent: list[tuple[str, float]] = []

        async def fresh() -> bool:
            """Send an event of another user, and look whether a young event is served."""
            now = self._clock.monotonic()
            young = [user for user, at in sent if PROBE_S <= now - at <= FRESH_S]
            if young and await self._client.served(young[0]):
                return True
            user = f"probe-{number}-{len(sent)}"
            sent.append((user, self._clock.monotonic()))
            self._sink.send_nowait(self._pipeline.stream.topic, user.encode(), self._event(user))
            return False

        await self._wait_for(fresh, "shard", "its features are not fresh")
        return self._clock.monotonic() - began

    async def _kill_learner(self, _: int) -> float:
        """Return the seconds until a replica answers with weights of the next learner."""
        before = await self._client.version()
        kill_process(await self._process_of("learner"))
        began = self._clock.monotonic()

        async def next_epoch() -> bool:
            return (await self._client.version()).epoch > before.epoch

        await self._wait_for(next_epoch, "learner", "there is no version of a new one")
        return self._clock.monotonic() - began

    async def _kill_replica(self, _: int) -> float:
        """Return the seconds until two replicas answer again."""
        self._system.kill("ServeReplica")
        began = self._clock.monotonic()
        answered_at: dict[str, float] = {}

        async def two_answer() -> bool:
            replica, now = await self._answering_replica(), self._clock.monotonic()
            answered_at[replica] = now
            alive = [name for name, at in answered_at.items() if name and now - at < FRESH_S]
            # By then the killed replica is no longer among those that answered lately.
            return now - began > FRESH_S and len(alive) >= 2

        await self._wait_for(two_answer, "replica", "there are no two of them")
        return self._clock.monotonic() - began

    async def _answering_replica(self) -> str:
        """Return the id of the replica that answers a score; "" without an answer."""
        candidate = {"item_id": 1, "category_id": 1}
        request = {"user": "probe", "candidates": [candidate], "show": 0}
        answer = await self._client.post("/v1/score", msgspec.json.encode(request))
        request_id: str = answer.get("request_id", "")
        return request_id.rpartition("-")[0]

    async def _process_of(self, part: str) -> int:
        """Return the process id of `part`, whose status may have expired."""

        async def process() -> int | None:
            return await self._client.process_of(part)

        return await self._wait_for(process, part, "it has posted no status")

    async def _wait_for(
        self, poll: Callable[[], Awaitable[T | None]], part: str, problem: str
    ) -> T:
        return await wait_for(poll, TIMEOUT_S, part, problem, PROBE_S)

    async def _compare(self, results: RecoveryResults) -> None:
        with self._console.status("reading the log again, to compare"):
            found = await compare_with_log(
                self._pipeline, self._outside, self._client, self._system.state, TIMEOUT_S
            )
        results.wrong_rows = found.wrong_rows
        results.expected_examples = found.expected_examples
        results.learned_examples = found.taken_examples

    def _shoppers(self) -> contextlib.AbstractAsyncContextManager[None]:
        topic = self._pipeline.stream.topic
        return shoppers(self._system.port, partial(self._sink.send_nowait, topic))

    @contextlib.asynccontextmanager
    async def _requests(self, answers: AnswerCounts) -> AsyncIterator[None]:
        """Request scores at a steady rate over several connections within the block."""
        shop = Shop(np.random.default_rng(1), run="requests")

        async def request_on(client: KeepAliveClient) -> None:
            due = self._clock.monotonic()
            while True:
                due = max(due + CONNECTIONS / REQUESTS_PER_S, self._clock.monotonic() - 1.0)
                await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
                request = {"user": shop.visitor(), "candidates": shop.candidates(20), "show": 0}
                await answers.request(client, msgspec.json.encode(request))

        async with contextlib.AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                client = KeepAliveClient("127.0.0.1", self._system.port)
                await stack.enter_async_context(client)
                await stack.enter_async_context(background(request_on(client)))
            yield

    def _event(self, user: str) -> bytes:
        now_ms = self._clock.now_ms()
        return msgspec.json.encode(ShopEvent(user, user, 1, 1, "view", 1.0, now_ms))


def figures(found: RecoveryResults) -> list[Figure]:
    """Return medians over the kills, and counts of what must not happen."""
    replica, learner = found.replica_answers, found.learner_answers
    missing = found.expected_examples - found.learned_examples
    broken_per_10000 = 10_000 * replica.broken / max(replica.requests, 1)
    next_version_s = median(found.to_version_s)
    return [
        Figure("seconds_to_fresh_p50", median(found.to_fresh_s), "s", "lower", 3.0),
        Figure("seconds_to_fresh_max", max(found.to_fresh_s), "s", "lower"),
        must_be_zero("wrong_values", found.wrong_rows),
        must_be_zero("lost_examples", max(missing, 0)),
        must_be_zero("doubled_examples", max(-missing, 0)),
        count_of("examples", found.expected_examples),
        Figure("seconds_to_next_version_p50", next_version_s, "s", "lower", 5.0),
        must_be_zero("disagreements", found.checksum_mismatches),
        must_be_zero("failed_requests", learner.server_errors + learner.broken),
        must_be_zero("answers_5xx", replica.server_errors),
        Figure("broken_connections_per_10000", broken_per_10000, "1/10000", "lower", 1.0),
        count_of("requests", learner.requests + replica.requests),
    ]
