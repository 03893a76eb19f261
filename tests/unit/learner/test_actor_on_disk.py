"""What a running learner writes down, and what it does while a disk takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from fake_clock import settle
from learner_actor import actor, core, scenario
from learning import NO_DENSE, Files, examples, gradient
from source_offsets import upto

from freshrank.actors.errors import SnapshotError, Unavailable
from freshrank.actors.messages import BEGINNING, InputLayout, Version
from freshrank.actors.protocols import Status
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.reporters import Reporters
from freshrank.learner.settings import LearnerSettings


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
        alerts = (await second.status())["alerts"]
        assert isinstance(alerts, dict)
        assert alerts["by_kind"] == {"passed_over": 1}
        await second.stop()

    scenario(play)


def test_inputs_that_differ_from_those_of_before_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        files = Files()
        first, _ = actor(core(batch_examples=1), files)
        await first.start()
        await first.push(gradient(0, 1))
        assert (await first.status())["changed_inputs"] is None
        await first.stop()
        wider = LogisticRegression().bind(InputLayout(("price",), NO_DENSE.fields))
        second, _ = actor(Learner(wider, SGD(0.1), LearnerSettings()), files)
        await second.start()
        told = {"kept": 1, "new": ["price"], "gone": [], "other": [], "examples_refused": 0}
        assert (await second.status())["changed_inputs"] == told
        assert "the model goes on with other inputs: 1 kept; new: price" in caplog.text
        assert (await second.progress(0)).durable == upto(1), "it is saved with these inputs"
        await second.stop()
        third, _ = actor(Learner(wider, SGD(0.1), LearnerSettings()), files)
        await third.start()
        assert (await third.status())["changed_inputs"] is None
        await third.stop()

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
