from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from fake_clock import ManualClock, settle
from learning import NO_DENSE, Files, examples, gradient
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import ChecksumMismatch, SnapshotError, Unavailable
from freshrank.actors.messages import BEGINNING, Delta, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import SnapshotStore, Status
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySink
from freshrank.learner.actor import LearnerActor, inline
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.reporters import Reporters
from freshrank.learner.settings import LearnerSettings

MODEL = LogisticRegression().bind(NO_DENSE)


def core(**settings: int) -> Learner:
    made = LearnerSettings.model_validate(settings)
    return Learner(MODEL, SGD(0.1), made, differentiate=CompiledDifferentiator)


def actor(
    learner: Learner, store: SnapshotStore | None = None, **parts: Any
) -> tuple[LearnerActor, ManualClock]:
    clock = ManualClock(1_000_000)
    return LearnerActor(learner, clock, store, **{"offload": inline, **parts}), clock


def scenario(play: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await play()

    asyncio.run(bounded())


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


def test_a_follower_of_the_actor_holds_its_weights() -> None:
    async def play() -> None:
        learner_core = core(batch_examples=10)
        learner, clock = actor(learner_core)
        await learner.start()
        weights = ModelWeights(MODEL)
        follower = Follower(learner, weights, clock, hold_epochs=False)
        await follower.step()
        for number in range(5):
            await learner.push(examples(NO_DENSE, 10, begin=10 * number, seed=number))
            await follower.step()
            assert weights.version == learner_core.version
            assert weights.checksum() == learner_core.weights.checksum()
        assert weights.version == Version(1, 5)
        await learner.stop()

    scenario(play)


def test_only_what_is_on_disk_is_called_durable() -> None:
    async def play() -> None:
        files = Files()
        learner, clock = actor(core(batch_examples=1), files)
        await learner.start()
        assert len(files.payloads) == 1
        await settle()
        assert (await learner.push(gradient(0, 2))).durable == BEGINNING
        await clock.tick(10.001)
        assert len(files.payloads) == 2
        assert (await learner.progress(0)).durable == upto(2)
        status = await learner.status()
        assert status["checkpoint_age_s"] == 0.0
        await learner.stop()

    scenario(play)


def test_a_second_start_goes_on_where_the_first_stopped() -> None:
    async def play() -> None:
        files = Files()
        first, _ = actor(core(), files)
        await first.start()
        await first.push(gradient(0, 2))
        await first.stop()
        second_core = core()
        second, _ = actor(second_core, files)
        await second.start()
        assert (await second.progress(0)).applied == upto(2)
        (snapshot,) = await second.newer_than(Version(1, 1), timeout_s=0.0)
        assert (snapshot.base, snapshot.version) == (None, Version(2, 0))
        assert snapshot.keys.tolist() == [7]
        await second.stop()

    scenario(play)


async def feed(learner: LearnerActor, spans: range) -> None:
    """Spans of 100 examples; number 58 has no gradient, the labels of 60 to 62 are flipped."""
    for number in spans:
        work = examples(NO_DENSE, 100, begin=100 * number, seed=number)
        labels = 1.0 - work.labels if 60 <= number <= 62 else work.labels
        spoilt = replace(work, labels=np.full_like(labels, np.nan) if number == 58 else labels)
        assert (await learner.push(spoilt)).accepted


def memory_of(learner: Learner) -> dict[str, Any]:
    """All that the guard remembers, but for the versions, whose epochs differ after a restart."""
    meta: dict[str, Any] = learner.rollback_log.meta()
    steps = [{**step, "base": None, "version": None} for step in meta["steps"]]
    return {**meta, "steps": steps}


@pytest.mark.parametrize("saved", range(56, 64))
def test_a_learner_killed_amid_a_batch_has_judged_each_span_as_often_as_one_that_was_not(
    saved: int,
) -> None:
    async def play() -> None:
        files, straight_core, resumed_core = Files(), *(core(batch_examples=300) for _ in range(2))
        straight, killed, resumed = (
            actor(one, store)[0]
            for one, store in (
                (straight_core, Files()),
                (core(batch_examples=300), files),
                (resumed_core, files),
            )
        )
        for learner in (straight, killed):
            await learner.start()
            await feed(learner, range(saved))
            await learner.save()
        await resumed.start()
        for learner in (straight, resumed):
            await feed(learner, range(saved, 80))
        assert straight_core.metrics.guard_trips >= 2, "of both kinds"
        assert memory_of(resumed_core) == memory_of(straight_core)
        assert resumed_core.weights.checksum() == straight_core.weights.checksum()
        for learner in (straight, killed, resumed):
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


class FullDisk(Files):
    """Takes files while there is space."""

    def __init__(self, *payloads: bytes, space: int) -> None:
        super().__init__(*payloads)
        self.space = space

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        if self.space == 0:
            raise SnapshotError("no space left")
        self.space -= 1
        return super().save(name, pieces)


def test_a_full_disk_is_survived_and_told_and_nothing_is_durable_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        disk = FullDisk(space=1)
        learner, clock = actor(core(batch_examples=1), disk)
        await learner.start()
        await settle()
        assert (await learner.push(gradient(0, 1))).accepted
        for _ in range(2):
            await clock.tick(10.001)
        await learner.ping()
        status = await learner.status()
        assert status["health"] == {"checkpoints": "no space left"}
        counts = {"by_kind": {"not_saved": 1}, "held_back": 0, "lost": 0}
        assert status["alerts"] == {**counts, "newest": ANY}
        assert (await learner.push(gradient(1, 2, base=Version(1, 1)))).durable == BEGINNING
        disk.space = 9
        await clock.tick(10.001)
        assert (await learner.status())["health"] == {}
        assert (await learner.progress(0)).durable == upto(2)
        assert len(disk.payloads) == 2
        await learner.stop()

    scenario(play)
    assert [record.getMessage() for record in caplog.records] == [
        "learner: not_saved: no space left; the older ones stay, and it is tried again",
        "checkpoints can be written again",
    ]


def test_an_epoch_is_heard_of_only_once_it_is_on_disk() -> None:
    async def play() -> None:
        disk = FullDisk(space=0)
        learner, clock = actor(core(), disk)
        starting = asyncio.create_task(learner.start())
        await settle()
        with pytest.raises(Unavailable, match="not started yet"):
            await learner.newer_than(None, 0.0)
        disk.space = 9
        await clock.tick(1.001)
        await starting
        await learner.stop()

    scenario(play)


def test_a_learner_waits_for_space_to_begin_and_says_so_to_whoever_looks_after_it() -> None:
    async def play() -> None:
        disk = FullDisk(space=0)
        learner, clock = actor(core(), disk)
        starting = asyncio.create_task(learner.start())
        for _ in range(100):
            await settle()
            await clock.tick(1.001)
        with pytest.raises(Unavailable, match="learner: cannot begin: no space left"):
            await learner.ping()
        disk.space = 9
        await clock.tick(1.001)
        await starting
        await learner.ping()
        await learner.stop()

    scenario(play)


def test_a_damaged_checkpoint_that_was_passed_over_is_told() -> None:
    async def play() -> None:
        files = Files()
        first, _ = actor(core(batch_examples=1), files)
        await first.start()
        await first.push(gradient(0, 1))
        await first.stop()
        files.payloads.insert(0, files.payloads[0][:-1])
        second, _ = actor(core(), files)
        await second.start()
        assert (await second.progress(0)).applied == upto(1)
        told = str((await second.status())["passed_over"])
        assert "file 0 was passed over: truncated or damaged" in told
        await second.stop()

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


class Curves:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, Status]] = []
        self.full = False

    def write(self, step: int, now_ms: int, status: Status) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append((step, now_ms, status))


def test_curves_are_written_now_and_then() -> None:
    async def play() -> None:
        curves = Curves()
        learner, clock = actor(
            core(batch_examples=1),
            reporters=Reporters(log=curves),
        )
        await learner.start()
        await learner.push(gradient(0, 2))
        await settle()
        await clock.tick(5.001)
        await learner.stop()
        ((step, now_ms, status),) = curves.written
        assert (step, now_ms, status["version"]) == (1, 1_005_001, "1.1")

    scenario(play)


def test_a_point_of_the_curves_that_a_full_disk_refuses_is_told_and_ends_nothing() -> None:
    async def play() -> None:
        curves = Curves()
        learner, clock = actor(
            core(),
            reporters=Reporters(log=curves),
        )
        await learner.start()
        curves.full = True
        for _ in range(2):
            await clock.tick(5.001)
        await learner.ping()
        health = (await learner.status())["health"]
        assert health == {"curves": "a point is lost: [Errno 28] No space left on device"}
        curves.full = False
        await clock.tick(5.001)
        assert (await learner.status())["health"] == {}
        assert len(curves.written) == 1
        await learner.stop()

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


def test_after_a_trip_the_restored_weights_are_published_before_the_push_is_answered() -> None:
    async def play() -> None:
        learner_core = Learner(MODEL, SGD(0.1), LearnerSettings(batch_examples=100))
        learner, clock = actor(learner_core)
        await learner.start()
        weights = ModelWeights(MODEL)
        follower = Follower(learner, weights, clock, hold_epochs=True)
        shard = CompiledDifferentiator(MODEL, weights)
        await follower.step()
        for number in range(50):
            await learner.push(shard.gradient(examples(NO_DENSE, 100, begin=100 * number)))
            await follower.step()
        work = examples(NO_DENSE, 100, begin=5_000)
        progress = await learner.push(shard.gradient(replace(work, labels=1.0 - work.labels)))
        assert (progress.accepted, progress.applied, progress.version) == (
            True,
            upto(5_100),
            Version(1, 51),
        )
        held = weights.checksum()
        await follower.step()
        assert weights.version == Version(1, 51)
        assert weights.checksum() == learner_core.weights.checksum() != held
        assert follower.applied == {0: upto(5_100)}
        await learner.stop()

    scenario(play)


def test_a_delta_that_was_damaged_in_the_learners_log_costs_its_followers_one_more_poll() -> None:
    async def play() -> None:
        learner_core = core(batch_examples=1)
        learner, clock = actor(learner_core)
        await learner.start()
        copies = [ModelWeights(MODEL) for _ in range(3)]
        followers = [Follower(learner, one, clock, hold_epochs=True) for one in copies]
        for follower in followers[:2]:
            await follower.step()
        await learner.push(gradient(0, 2, keys=(7, 8)))
        (kept,) = await learner.newer_than(Version(1, 0), timeout_s=0.0)
        kept.rows[:] += 1.0
        await learner.push(gradient(2, 4, base=Version(1, 1), keys=(8, 9)))
        for follower in followers:
            with contextlib.suppress(ChecksumMismatch):
                await follower.step()
            await follower.step(timeout_s=0.0)
        for one, follower in zip(copies, followers, strict=True):
            assert one.version == Version(1, 2)
            assert one.checksum() == learner_core.weights.checksum()
            assert not follower.differs
        assert [follower.status()["mismatches"] for follower in followers] == [1, 1, 0]
        await learner.stop()

    scenario(play)


def test_rows_that_were_changed_outside_of_a_step_are_noticed_and_followers_agree_again() -> None:
    async def play() -> None:
        learner_core = core(batch_examples=1)
        alerts = Alerts("learner", ManualClock())
        learner, clock = actor(learner_core, reporters=Reporters(alerts=alerts))
        await learner.start()
        await learner.push(gradient(0, 2, keys=(7, 8)))
        weights = ModelWeights(MODEL)
        follower = Follower(learner, weights, clock, hold_epochs=True)
        await follower.step()
        learner_core.weights.table.rows[:] += 1.0
        await learner.push(gradient(2, 4, base=Version(1, 1), keys=(7,)))
        with pytest.raises(ChecksumMismatch):
            await follower.step()
        await follower.step()
        assert not follower.differs
        assert weights.checksum() == learner_core.weights.checksum()
        assert alerts.status()["by_kind"] == {"weights_differ": 1}
        await learner.stop()

    scenario(play)
