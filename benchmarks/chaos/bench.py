"""Whatever is killed, stopped or away under load, at random moments: nothing is lost or doubled.

The whole system is up on a Kafka and a Redis of its own. While five thousand events a second come,
some of them of no use, and shoppers are shown items and click, two hands do what `faults` has.
In the end all that is kept has to be what the log says: the features, the examples, the dead
letters; and the weights that answer are the learner's, and were never older than before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.impressions import decode_impression
from freshrank.actors.messages import Version
from freshrank.benchmarks.chaos.fault_injector import PATIENCE_S, Harm
from freshrank.benchmarks.chaos.fault_plan import Fault, Plan, plans
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.workloads.dead_letters import DeadLetters, read_dead_letters, records
from freshrank.benchmarks.workloads.expected_state import Compared, compare
from freshrank.benchmarks.workloads.shop_fixture import own_shop, running_outside
from freshrank.benchmarks.workloads.shop_traffic import shoppers
from freshrank.benchmarks.workloads.status_client import LiveView
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.benchmarks.workloads.system_process import Application
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import Outside

EVENTS_PER_S = 5_000.0
USERS = 20_000
SPOILT_SHARE = 0.01
# Seconds between two looks for the last dead letters.
LOOK_S = 1.0
# So much of what the application has printed is shown where it does not come back.
LOG_LINES = 40
# Seconds that shoppers go on after all is well: by then nothing of theirs may be lost.
CALM_S = 3.0

# Before any weights.
_NONE = Version(0, 0)


class _Model(msgspec.Struct):
    version: str | None


class _Answer(msgspec.Struct):
    request_id: str
    model: _Model


@dataclass(slots=True)
class Answers:
    """The answers to scores, one after another."""

    count: int = 0
    back: int = 0
    """Those of weights older than the ones of an answer before, or of none."""
    storm: set[str] = field(default_factory=set)
    """Requests that were answered while something went wrong."""
    calm: set[str] = field(default_factory=set)
    """Those that were answered after all was well again."""
    is_calm: bool = False
    _newest: Version = _NONE

    def heard(self, status: int, body: bytes) -> None:
        """Take one answer."""
        if status != 200:
            return
        answer = msgspec.json.decode(body, type=_Answer)
        found = Version.parse(answer.model.version) if answer.model.version else _NONE
        self.count += 1
        self.back += found < self._newest
        self._newest = max(found, self._newest)
        (self.calm if self.is_calm else self.storm).add(answer.request_id)


@dataclass(frozen=True, slots=True)
class Survived:
    """What there was in the end."""

    faults: list[Fault]
    events: int
    compared: Compared
    letters: DeadLetters
    answers: Answers
    logged: frozenset[str]
    """The requests whose impressions are in the log."""
    disagreements: int
    """Checksums of the replica that were not the learner's."""
    versions_apart: int
    """1 when the last version of the replica is not the learner's."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka, Redis and the system, hurt them, compare, stop."""
    return figures(survive(options, console))


def survive(options: BenchOptions, console: Console) -> Survived:
    """All of it. Raises ConfigError for a broker or a Redis of others, Unavailable."""
    if options.kafka or options.redis:
        raise ConfigError(
            "bench chaos", "it stops its broker and its Redis", "Leave out --kafka and --redis."
        )
    with running_outside(options, console) as (outside, folder):
        file, pipeline = own_shop(folder)
        application = Application(outside, file, folder)
        try:
            with console.status("starting the system"):
                application.start()
            chaos = _Chaos(pipeline, outside, application, console)
            return uvloop.run(chaos.run(plans(options.rounds, np.random.default_rng(0))))
        except Unavailable:
            lines = application.log.read_text(encoding="utf-8").splitlines()
            console.print(*lines[-LOG_LINES:], sep="\n", markup=False)
            raise
        finally:
            application.stop()


class _Chaos:
    def __init__(
        self, pipeline: Pipeline, outside: Outside, application: Application, console: Console
    ) -> None:
        self._pipeline = pipeline
        self._outside = outside
        self._port = application.system.port
        self._view = LiveView(self._port)
        self._console = console
        self._began = time.monotonic()
        rng = np.random.default_rng(1)
        self._harm = Harm(outside, application, self._view, rng, self._say)

    async def run(self, hands: list[Plan]) -> Survived:
        """Hurt it under load, and look at what is left."""
        bootstrap, topic = self._outside.broker.bootstrap, self._pipeline.stream.topic
        answers = Answers()
        async with self._view:
            with SteadyStream(bootstrap, topic, EVENTS_PER_S, USERS, SPOILT_SHARE) as stream:
                async with shoppers(self._port, stream.write, answers.heard):
                    await _all(self._harm.inflict(plan) for plan in hands)
                    self._say("waiting until all is well")
                    await self._harm.until_ready()
                    answers.is_calm = True
                    await asyncio.sleep(CALM_S)
                await asyncio.to_thread(stream.stop)
            compared = await compare(self._pipeline, self._outside, self._view, PATIENCE_S)
            self._say("compared with the log")
            learner, replica = (await self._view.statuses())["learner"], await self._view.version()
            return Survived(
                faults=[fault for plan in hands for _, fault in plan],
                events=stream.written,
                compared=compared,
                letters=await self._letters(),
                answers=answers,
                logged=await asyncio.to_thread(_logged, bootstrap, self._pipeline.topics[1]),
                disagreements=await self._view.disagreements(),
                versions_apart=int(Version.parse(learner["version"]) != replica),
            )

    async def _letters(self) -> DeadLetters:
        """The dead letters, as soon as none is missing or the patience ends."""
        bootstrap, topics = self._outside.broker.bootstrap, self._pipeline.topics
        deadline = time.monotonic() + PATIENCE_S
        while True:
            letters = await asyncio.to_thread(read_dead_letters, bootstrap, topics)
            if not letters.lost or time.monotonic() > deadline:
                return letters
            await asyncio.sleep(LOOK_S)

    def _say(self, line: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:6.1f} s  {line}")


def _logged(bootstrap: str, topic: str) -> frozenset[str]:
    """The requests whose impressions are there. Raises Unavailable, BadRecord."""
    found = (decode_impression(one.value() or b"") for one in records(bootstrap, topic))
    return frozenset(one.request_id for one in found)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Let all run; raises what ends one of them, and ends the others then."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def figures(found: Survived) -> list[Figure]:
    """How much was done, and what must not be."""
    compared, letters, answers = found.compared, found.letters, found.answers
    never = {
        "wrong_values": compared.wrong_rows,
        "lost_events": compared.lost_events,
        "doubled_events": compared.doubled_events,
        "lost_examples": compared.lost_examples,
        "doubled_examples": compared.doubled_examples,
        "lost_dead_letters": letters.lost,
        "strange_dead_letters": letters.strange,
        "lost_impressions": len(answers.calm - found.logged),
        "versions_back": answers.back,
        "disagreements": found.disagreements,
        "versions_apart": found.versions_apart,
    }
    amounts = {
        "faults": len(found.faults),
        "events": found.events,
        "spoilt": len(letters.spoilt),
        "examples": compared.expected_examples,
        "quarantined_examples": compared.quarantined_examples,
        "answers": answers.count,
        "not_logged_meanwhile": len(answers.storm - found.logged),
    }
    return [
        *(Figure(name, value, "count", "lower", 0.0) for name, value in never.items()),
        *(Figure(name, value, "count", "higher") for name, value in amounts.items()),
    ]
