"""Faults of every kind at random moments, under load: nothing is lost, nothing counts twice.

The whole system runs on a Kafka and a Redis of its own. While five thousand events a second come,
a hundredth of them spoilt, with a second stream and rows of items, and shoppers are
shown items and click, fault plans run at the same time. Producers stamp the records, and some of
their clocks are wrong. Each fault has to be reported within ten seconds. At the end the features of
users and of items, the examples and the dead letters must be those that the log determines, and the
labels those of the clicks; the weights that score must be the learner's, and must never have been
older than before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages import Version
from freshrank.benchmarks.chaos.chaos_shop import SteadyRows, chaos_shop
from freshrank.benchmarks.chaos.detection import Observer
from freshrank.benchmarks.chaos.fault_injector import FaultInjector
from freshrank.benchmarks.chaos.fault_plan import FaultPlan, fault_plans, last_plan
from freshrank.benchmarks.chaos.faults import TIMEOUT_S, Fault, Handles
from freshrank.benchmarks.chaos.label_truth import ClickLog, mislabelled
from freshrank.benchmarks.chaos.topic_admin import make_topic
from freshrank.benchmarks.polling import wait_for
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, must_be_zero
from freshrank.benchmarks.workloads.dead_letters import DeadLetters, read_dead_letters
from freshrank.benchmarks.workloads.expected_state import LogComparison, compare_with_log
from freshrank.benchmarks.workloads.impressions import logged_impressions
from freshrank.benchmarks.workloads.scored_answer import AnswerLog
from freshrank.benchmarks.workloads.shop_fixture import external_servers
from freshrank.benchmarks.workloads.shop_traffic import background, shoppers
from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import SystemProcess
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.servers.tasks import run_together
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.labels.definitions import Joined

PARTITIONS = 8
EVENTS_PER_S = 5_000.0
# Of the second stream, and rows of items.
VISITS_PER_S, ROWS_PER_S = 500.0, 100.0
USERS = 20_000
SPOILT_SHARE = 0.01
# Memory of Redis: some times what the rows need.
REDIS_BYTES = 128 << 20
# Seconds between two reads of the dead letters.
POLL_S = 1.0
# The last lines of the application's log that are printed when it does not come back, without those
# that it prints every five seconds.
LOG_LINES, PERIODIC = 40, "  lag "
# Seconds in which a round ends that is not stuck: three to four minutes on two cores.
ROUND_S = 420.0
# Seconds that shoppers go on after the last fault is mended: none of their impressions may be lost.
CALM_S = 3.0
# Seconds after which an answer to an observation counts as missing.
OBSERVE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class SystemAtEnd:
    """The system after the faults that it goes on after."""

    compared: LogComparison
    letters: DeadLetters
    logged: frozenset[str]
    """Ids of the requests whose impressions are in the log."""
    mislabelled: int
    """Items whose label differs from that which the shopper's clicks give."""
    checksum_mismatches: int
    """How often the replica's weights were not the learner's."""
    versions_apart: int
    """1 when the last version of the replica is not the learner's."""


@dataclass(frozen=True, slots=True)
class ChaosResults:
    """What was injected, and what became of it."""

    faults: list[Fault]
    silent: list[Fault]
    """Of the faults: those that nothing reported in time."""
    events: int
    """Events that were written to the topic at a steady rate."""
    answers: AnswerLog
    end: SystemAtEnd


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers and the system, inject the faults, compare, stop."""
    return figures(survive(options, console))


def survive(
    options: BenchOptions, console: Console, left_out: Collection[Fault] = ()
) -> ChaosResults:
    """Run `options.rounds` rounds of all faults but those that are `left_out`.

    Raises ConfigError for a broker or a Redis that the bench has not started itself, and
    Unavailable for a fault that is not mended.
    """
    if options.kafka or options.redis:
        raise ConfigError(
            "bench chaos", "it stops its broker and its Redis", "Leave out --kafka and --redis."
        )
    with external_servers(options, console, REDIS_BYTES) as (outside, folder):
        file, pipeline = chaos_shop(folder)
        for stream in pipeline.streams:
            asyncio.run(make_topic(outside.broker.bootstrap, stream.topic, PARTITIONS))
        process = SystemProcess(outside, file, folder)
        try:
            with console.status("starting the system"):
                process.start()
            chaos = _Chaos(pipeline, outside, process, console)
            plans = fault_plans(options.rounds, np.random.default_rng(0), left_out)
            return uvloop.run(chaos.run(plans, last_plan(), options.rounds))
        except Unavailable:
            lines = process.log.read_text(encoding="utf-8").splitlines()
            lines = [line for line in lines if PERIODIC not in line]
            console.print(*lines[-LOG_LINES:], sep="\n", markup=False)
            raise
        finally:
            process.stop()


class _Chaos:
    def __init__(
        self, pipeline: Pipeline, outside: ExternalServers, process: SystemProcess, console: Console
    ) -> None:
        self._pipeline = pipeline
        self._outside = outside
        self._port, self._state_folder = process.system.port, process.system.state
        self._client = StatusClient(self._port)
        self._console = console
        self._began = time.monotonic()
        rng = np.random.default_rng(1)
        # Its own client: it observes while another request waits for its answer.
        self._observing = StatusClient(self._port, OBSERVE_TIMEOUT_S)
        self._observer = Observer(self._observing, SystemClock())
        self._handles = Handles(
            pipeline,
            PARTITIONS,
            outside.broker.bootstrap,
            outside,
            process,
            self._client,
            self._observer,
            rng,
        )
        self._injector = FaultInjector(self._handles, self._log)
        assert isinstance(pipeline.label, Joined)  # the demo's
        self._clicks = ClickLog(pipeline.label.within_ms)

    async def run(self, plans: list[FaultPlan], last: FaultPlan, rounds: int) -> ChaosResults:
        """Inject the faults under load, compare the system with its log, inject the `last` ones."""
        bootstrap, answers = self._outside.broker.bootstrap, AnswerLog()
        events, visited = (stream.topic for stream in self._pipeline.streams)
        (table,) = self._pipeline.tables
        async with self._client, self._observing, background(self._observer.observe_forever()):
            with (
                SteadyStream(bootstrap, visited, VISITS_PER_S, USERS) as visits,
                SteadyRows(bootstrap, table.topic, ROWS_PER_S, USERS) as rows,
                SteadyStream(bootstrap, events, EVENTS_PER_S, USERS, SPOILT_SHARE) as stream,
            ):
                self._handles.delivered = lambda: stream.delivered
                write = partial(self._write, stream)
                async with shoppers(self._port, write, answers.add):
                    await self._inject_all(plans, rounds * ROUND_S)
                    self._log("waiting until the system is ready")
                    await self._handles.until_ready()
                    answers.faults_over = True
                    await asyncio.sleep(CALM_S)
                    await wait_for(
                        answers.enough_after_faults, ROUND_S, "the replica", "too few answers"
                    )
                self._handles.delivered = None
                for writer in (stream, visits, rows):
                    await asyncio.to_thread(writer.stop)
            results = ChaosResults(
                faults=[fault for plan in (*plans, last) for _, fault in plan],
                silent=self._injector.silent,
                events=stream.written,
                answers=answers,
                end=await self._compare(),
            )
            await self._injector.inject(last)
            return results

    async def _inject_all(self, plans: list[FaultPlan], most_s: float) -> None:
        """Raises Unavailable for faults that are not mended after `most_s` of all of them."""
        try:
            async with asyncio.timeout(most_s) as limit:
                await run_together(self._injector.inject(plan) for plan in plans)
        except TimeoutError as error:
            if not limit.expired():
                raise
            left = "; ".join(fault.line for fault in self._injector.under_way)
            raise Unavailable("the system", f"not mended after {most_s:g} s: {left}") from error

    async def _compare(self) -> SystemAtEnd:
        bootstrap, client = self._outside.broker.bootstrap, self._client
        compared = await compare_with_log(
            self._pipeline, self._outside, client, self._state_folder, TIMEOUT_S
        )
        self._log("compared with the log")
        learned = Version.parse((await client.statuses())["learner"]["version"])
        shown = await asyncio.to_thread(
            logged_impressions, bootstrap, self._pipeline.impressions_topic
        )
        wrong = mislabelled(compared.expected_rows, shown, self._clicks)
        for line in wrong:
            self._log(f"mislabelled: {line}")
        return SystemAtEnd(
            compared=compared,
            letters=await self._dead_letters(),
            logged=frozenset(impression.request_id for impression in shown),
            mislabelled=len(wrong),
            checksum_mismatches=await client.checksum_mismatches(),
            versions_apart=int(learned != await client.version()),
        )

    def _write(self, stream: SteadyStream, key: bytes, value: bytes) -> None:
        """Write the event of a shopper, whose clock may be wrong."""
        event = msgspec.json.decode(value, type=ShopEvent)
        ahead_ms = self._handles.shopper_clock_ms
        if ahead_ms and int(event.user_id[1:]) % 2:
            event = msgspec.structs.replace(event, ts=event.ts + ahead_ms)
            value = msgspec.json.encode(event)
        begun_ms = self._handles.clock.now_ms()
        stream.write(key, value)
        # Its record is stamped when there is room for it, which a slow broker may delay; and
        # writing takes a while where many deliveries are reported at once, as when it is back.
        self._clicks.add(event, begun_ms, self._handles.clock.now_ms())

    async def _dead_letters(self) -> DeadLetters:
        """Return the dead letters when none is missing, or as they are after `TIMEOUT_S`."""
        bootstrap, topics = self._outside.broker.bootstrap, self._pipeline.topics
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            letters = await asyncio.to_thread(read_dead_letters, bootstrap, topics)
            if not letters.lost or time.monotonic() > deadline:
                return letters
            await asyncio.sleep(POLL_S)

    def _log(self, line: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:6.1f} s  {line}")


def figures(found: ChaosResults) -> list[Figure]:
    """Return counts of what must not happen, then the amounts that they rest on."""
    end, answers = found.end, found.answers
    compared, letters = end.compared, end.letters
    zeros = {
        "silent": len(found.silent),
        "mislabelled": end.mislabelled,
        "positives_apart": abs(compared.expected_positives - compared.labelled_positives),
        "wrong_values": compared.wrong_rows,
        "lost_events": compared.lost_events,
        "doubled_events": compared.doubled_events,
        "lost_copies": compared.lost_copies,
        "doubled_copies": compared.doubled_copies,
        "lost_examples": compared.lost_examples,
        "doubled_examples": compared.doubled_examples,
        "lost_dead_letters": letters.lost,
        "strange_dead_letters": letters.strange,
        "lost_impressions": len(answers.after_faults - end.logged),
        "versions_back": answers.back,
        "disagreements": end.checksum_mismatches,
        "versions_apart": end.versions_apart,
    }
    amounts = {
        "faults": len(found.faults),
        "events": found.events,
        "copies": compared.expected_copies,
        "spoilt": len(letters.spoilt),
        "examples": compared.expected_examples,
        "positives": compared.expected_positives,
        "quarantined_examples": compared.quarantined_examples,
        "answers": answers.count,
        "not_logged_meanwhile": len(answers.during_faults - end.logged),
    }
    return [
        *(must_be_zero(name, count) for name, count in zeros.items()),
        *(count_of(name, count) for name, count in amounts.items()),
    ]
