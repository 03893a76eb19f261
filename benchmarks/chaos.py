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
from dataclasses import dataclass

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Version
from freshrank.benchmarks.dead_letters import DeadLetters, read_dead_letters
from freshrank.benchmarks.faults import Fault, Plan, plans
from freshrank.benchmarks.harm import PATIENCE_S, Harm
from freshrank.benchmarks.live_system import Application
from freshrank.benchmarks.live_view import LiveView
from freshrank.benchmarks.log_truth import Compared, compare
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.shop_site import own_shop, running_outside
from freshrank.benchmarks.shop_traffic import shoppers
from freshrank.benchmarks.steady_stream import SteadyStream
from freshrank.deploy.outside import Outside
from freshrank.deploy.pipeline import Pipeline

EVENTS_PER_S = 5_000.0
USERS = 20_000
SPOILT_SHARE = 0.01
# Seconds between two looks for the last dead letters.
LOOK_S = 1.0

# Before any weights.
_NONE = Version(0, 0)


class _Model(msgspec.Struct):
    version: str | None


class _Answer(msgspec.Struct):
    model: _Model


@dataclass(slots=True)
class Versions:
    """The weights that answered, one answer after another."""

    answers: int = 0
    back: int = 0
    """Answers of weights older than those of an answer before, or of none."""
    _newest: Version = _NONE

    def heard(self, status: int, body: bytes) -> None:
        """Take one answer to a score."""
        if status != 200:
            return
        version = msgspec.json.decode(body, type=_Answer).model.version
        found = _NONE if version is None else Version.parse(version)
        self.answers += 1
        self.back += found < self._newest
        self._newest = max(found, self._newest)


@dataclass(frozen=True, slots=True)
class Survived:
    """What there was in the end."""

    faults: list[Fault]
    events: int
    compared: Compared
    letters: DeadLetters
    versions: Versions
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
        versions = Versions()
        async with self._view:
            with SteadyStream(bootstrap, topic, EVENTS_PER_S, USERS, SPOILT_SHARE) as stream:
                async with shoppers(self._port, stream.write, versions.heard):
                    await _all(self._harm.inflict(plan) for plan in hands)
                    self._say("waiting until all is well")
                    await self._harm.until_ready()
                await asyncio.to_thread(stream.stop)
            compared = await compare(self._pipeline, self._outside, self._view, PATIENCE_S)
            self._say("compared with the log")
            learner, replica = (await self._view.statuses())["learner"], await self._view.version()
            return Survived(
                faults=[fault for plan in hands for _, fault in plan],
                events=stream.written,
                compared=compared,
                letters=await self._letters(),
                versions=versions,
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
    compared, letters, versions = found.compared, found.letters, found.versions
    never = {
        "wrong_values": compared.wrong_rows,
        "lost_examples": compared.lost_examples,
        "doubled_examples": compared.doubled_examples,
        "lost_dead_letters": letters.lost,
        "strange_dead_letters": letters.strange,
        "versions_back": versions.back,
        "disagreements": found.disagreements,
        "versions_apart": found.versions_apart,
    }
    amounts = {
        "faults": len(found.faults),
        "events": found.events,
        "spoilt": len(letters.spoilt),
        "examples": compared.expected_examples,
        "answers": versions.answers,
    }
    return [
        *(Figure(name, value, "count", "lower", 0.0) for name, value in never.items()),
        *(Figure(name, value, "count", "higher") for name, value in amounts.items()),
    ]
