"""Copies of the weights that follow a running learner."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from fake_clock import ManualClock
from learner_actor import MODEL, actor, core, scenario
from learning import NO_DENSE, examples, gradient
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import ChecksumMismatch
from freshrank.actors.messages import Version
from freshrank.actors.parameters.follower import Follower
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.reporters import Reporters
from freshrank.learner.settings import LearnerSettings


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
