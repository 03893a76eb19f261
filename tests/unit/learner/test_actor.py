"""Pushes, steps and loops of a running learner."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import ANY

import pytest
from fake_clock import ManualClock, settle
from learner_actor import MODEL, actor, core, scenario
from learning import Files, gradient
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Delta, Version
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.learner.core import Learner
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.reporters import Reporters
from freshrank.learner.settings import LearnerSettings


def test_a_push_that_fills_the_batch_is_published_before_it_is_answered() -> None:
    async def play() -> None:
        learner, _ = actor(core(batch_examples=4))
        await learner.start()
        first = await learner.push(gradient(0, 3))
        assert (first.accepted, first.version) == (True, Version(1, 0))
        second = await learner.push(gradient(3, 4))
        assert second.version == Version(1, 1)
        (delta,) = await learner.newer_than(Version(1, 0), timeout_s=0.0)
        assert delta.applied == await learner.applied() == {0: upto(4)}
        await learner.stop()

    scenario(play)


def test_few_examples_are_learned_when_they_have_waited_long_enough() -> None:
    async def play() -> None:
        learner, clock = actor(core(batch_examples=100, max_wait_ms=50))
        await learner.start()
        await learner.push(gradient(0, 1))
        await settle()
        await clock.tick(0.049)
        assert await learner.newer_than(Version(1, 0), timeout_s=0.0) == []
        await clock.tick(0.002)
        assert len(await learner.newer_than(Version(1, 0), timeout_s=0.0)) == 1
        await learner.stop()

    scenario(play)


def test_nothing_is_taken_before_the_start_and_after_the_stop() -> None:
    async def play() -> None:
        learner, _ = actor(core())
        for reason in ("not started yet", "stopped"):
            for call in (
                learner.push(gradient(0, 1)),
                learner.progress(0),
                learner.applied(),
                learner.newer_than(None, 0.0),
            ):
                with pytest.raises(Unavailable, match=f"learner: {reason}"):
                    await call
            await learner.start()
            await learner.stop()
            await learner.stop()

    scenario(play)


class BrokenDisk(Files):
    """Has a mistake in it, from the second file on."""

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        if self.payloads:
            raise ValueError("a mistake")
        return super().save(name, pieces)


def test_a_loop_that_died_is_seen_by_everyone() -> None:
    async def play() -> None:
        learner, clock = actor(core(), BrokenDisk())
        await learner.start()
        await settle()
        await learner.ping()
        await clock.tick(10.001)
        for call in (
            learner.ping(),
            learner.push(gradient(0, 1)),
            learner.newer_than(None, 0.0),
        ):
            with pytest.raises(ValueError, match="a mistake"):
                await call

    scenario(play)


def test_whoever_gives_up_a_push_leaves_no_half_taken_step() -> None:
    async def play() -> None:
        release = asyncio.Event()

        async def slow(function: Callable[..., Any], *args: object) -> Any:
            await release.wait()
            return function(*args)

        learner, _ = actor(core(batch_examples=1), offload=slow)
        await learner.start()
        given_up = asyncio.create_task(learner.push(gradient(0, 2)))
        await settle()
        given_up.cancel()
        await settle()
        release.set()
        await settle()
        assert await learner.applied() == {0: upto(2)}
        assert len(await learner.newer_than(Version(1, 0), timeout_s=0.0)) == 1

    scenario(play)


class Watched(Learner):
    """Remembers which threads stepped it."""

    stepped_on: tuple[threading.Thread, ...] = ()

    def step(self, now_ms: int, monotonic: float) -> Delta | None:
        self.stepped_on += (threading.current_thread(),)
        return super().step(now_ms, monotonic)


def test_heavy_work_leaves_the_event_loop() -> None:
    async def play() -> None:
        learner_core = Watched(MODEL, SGD(0.1), LearnerSettings(batch_examples=1))
        learner, _ = actor(learner_core, offload=asyncio.to_thread)
        await learner.start()
        await learner.push(gradient(0, 1))
        await learner.stop()
        assert set(learner_core.stepped_on) != set()
        assert threading.main_thread() not in learner_core.stepped_on

    scenario(play)


def test_what_the_guard_refuses_becomes_an_alert_and_learning_goes_on() -> None:
    async def play() -> None:
        clock, log = ManualClock(), MemoryLog(1)
        alerts = Alerts("learner", clock, MemorySink(log, clock), "shop.alerts")
        learner_core = core(batch_examples=2)
        learner, _ = actor(learner_core, reporters=Reporters(alerts=alerts))
        await learner.start()
        await learner.push(gradient(0, 2))
        await learner.push(gradient(2, 4, base=Version(1, 1), value=float("nan")))
        assert (await learner.push(gradient(4, 6, base=Version(1, 1)))).accepted
        assert await learner.applied() == {0: upto(6)}
        (record,) = log.read("shop.alerts", 0, 0, 10).values
        assert record is not None
        told = json.loads(record)
        assert (told["kind"], told["part"]) == ("guard_tripped", "learner")
        assert told["details"] == {"quarantined": [[0, {"events": 2}, {"events": 4}]]}
        status = await learner.status()
        counts = {"by_kind": {"guard_tripped": 1}, "held_back": 0, "lost": 0}
        assert status["alerts"] == {**counts, "newest": ANY}
        assert (status["examples"], status["examples_quarantined"]) == (4, 2)
        await learner.stop()

    scenario(play)
