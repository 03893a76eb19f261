from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import NO_DENSE, delta

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Delta, Version
from freshrank.actors.parameters.delta_log import DeltaLog
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.parameters.weights import ModelWeights

LONG_S = 30.0
BYTES = delta(Version(1, 1), Version(1, 0), {1: 0.0}).nbytes


class Publisher:
    """A log whose snapshots are those of weights that took every delta appended."""

    def __init__(self, kept: int = 1000) -> None:
        self.truth = ModelWeights(LogisticRegression().bind(NO_DENSE))
        self.truth.apply(delta(Version(1, 0), None))
        self.log = DeltaLog(Version(1, 0), self.snapshot, keep_bytes=kept * BYTES)
        self.snapshots = 0

    async def snapshot(self) -> Delta:
        self.snapshots += 1
        version = self.truth.version
        assert version is not None
        await asyncio.sleep(0)
        keys = self.truth.table.keys.tolist()
        rows = self.truth.table.rows[:, 0].tolist()
        return delta(version, None, dict(zip(keys, rows, strict=True)))

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            step = self.log.newest.step
            one = delta(Version(1, step + 1), Version(1, step), {step % 7 + 1: float(step)})
            self.truth.apply(one)
            self.log.append(one)


def versions(deltas: list[Delta]) -> list[int]:
    return [one.version.step for one in deltas]


def test_who_has_the_newest_waits_for_the_next() -> None:
    async def scenario() -> None:
        publisher = Publisher()
        waiting = asyncio.create_task(publisher.log.newer_than(Version(1, 0), LONG_S))
        await asyncio.sleep(0)
        assert not waiting.done()
        publisher.publish()
        assert versions(await waiting) == [1]

    asyncio.run(scenario())


def test_who_waits_in_vain_is_told_of_nothing() -> None:
    async def scenario() -> None:
        assert await Publisher().log.newer_than(Version(1, 0), timeout_s=0.0) == []

    asyncio.run(scenario())


class Counted(Delta):
    """A delta that counts how often its versions are read."""

    reads = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("base", "version"):
            Counted.reads += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize("kept", [10, 5_000])
def test_an_answer_reads_no_other_deltas_than_those_in_it(kept: int) -> None:
    async def scenario() -> None:
        log = DeltaLog(Version(1, 0), Publisher().snapshot, keep_bytes=100_000 * BYTES)
        for step in range(kept):
            log.append(Counted(**fields(delta(Version(1, step + 1), Version(1, step), {1: 0.5}))))
        Counted.reads = 0
        for behind in (1, 3):
            assert len(await log.newer_than(Version(1, kept - behind), LONG_S)) == behind
        assert await log.newer_than(Version(1, kept), timeout_s=0.0) == []
        assert Counted.reads <= 2 * (1 + 3)

    asyncio.run(scenario())


def fields(one: Delta) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in dataclasses.fields(Delta)}


def test_who_is_behind_gets_what_is_missing_in_order() -> None:
    async def scenario() -> None:
        publisher = Publisher()
        publisher.publish(5)
        got = await publisher.log.newer_than(Version(1, 2), LONG_S)
        assert versions(got) == [3, 4, 5]
        assert all(one.base is not None for one in got)
        assert publisher.snapshots == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("version", [None, Version(0, 9), Version(1, 1), Version(1, 99)])
def test_who_cannot_be_reached_by_deltas_gets_a_snapshot(version: Version | None) -> None:
    async def scenario() -> None:
        publisher = Publisher(kept=2)
        publisher.publish(5)
        (whole,) = await publisher.log.newer_than(version, LONG_S)
        assert (whole.base, whole.version) == (None, Version(1, 5))

    asyncio.run(scenario())


def test_followers_that_come_together_share_one_snapshot() -> None:
    async def scenario() -> None:
        publisher = Publisher(kept=3)
        first = await asyncio.gather(*(publisher.log.newer_than(None, LONG_S) for _ in range(5)))
        publisher.publish(3)
        later = await publisher.log.newer_than(None, LONG_S)
        assert versions(later) == [0, 1, 2, 3]
        assert all(one[0] is later[0] for one in first)
        assert publisher.snapshots == 1
        publisher.publish(1)  # now the log leads on from 1, not from the snapshot
        assert versions(await publisher.log.newer_than(None, LONG_S)) == [4]
        assert publisher.snapshots == 2

    asyncio.run(scenario())


def test_who_refused_something_gets_a_snapshot_of_later_or_made_later() -> None:
    async def scenario() -> None:
        publisher = Publisher()
        await publisher.log.newer_than(None, LONG_S)
        publisher.publish(2)
        fresh = await publisher.log.newer_than(None, LONG_S, Version(1, 1))
        assert versions(fresh) == [2], "what was refused is not in it"
        assert publisher.snapshots == 2
        assert (await publisher.log.newer_than(None, LONG_S, Version(1, 1)))[0] is fresh[0]
        assert versions(await publisher.log.newer_than(None, LONG_S, Version(1, 2))) == [2]
        assert publisher.snapshots == 3, "it may be the snapshot itself that was refused"

    asyncio.run(scenario())


def test_a_snapshot_is_not_given_away_for_ever() -> None:
    async def scenario() -> None:
        publisher = Publisher()
        await publisher.log.newer_than(None, LONG_S)
        publisher.publish(64)
        assert len(await publisher.log.newer_than(None, LONG_S)) == 65
        publisher.publish(1)
        assert versions(await publisher.log.newer_than(None, LONG_S)) == [65]
        assert publisher.snapshots == 2

    asyncio.run(scenario())


def test_the_newest_delta_is_kept_however_large() -> None:
    async def scenario() -> None:
        publisher = Publisher(kept=0)
        publisher.publish(2)
        assert versions(await publisher.log.newer_than(Version(1, 1), LONG_S)) == [2]
        assert publisher.snapshots == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("version", "base"),
    [((1, 2), (1, 1)), ((1, 0), (1, 0)), ((2, 1), (2, 0)), ((1, 1), None)],
)
def test_a_delta_that_does_not_lead_on_is_refused(
    version: tuple[int, int], base: tuple[int, int] | None
) -> None:
    wrong = delta(Version(*version), Version(*base) if base else None)
    log = Publisher().log
    with pytest.raises(ProgressError, match=r"does not lead on from 1\.0"):
        log.append(wrong)
    assert log.newest == Version(1, 0)


@given(st.lists(st.integers(0, 4), max_size=25), st.integers(0, 3))
def test_whoever_polls_whenever_ends_with_the_learners_weights(
    bursts: list[int], kept: int
) -> None:
    """0 is a poll of the follower, any other number a burst of so many deltas."""

    async def scenario() -> None:
        publisher = Publisher(kept)
        follower = ModelWeights(publisher.truth.model)
        for burst in [*bursts, 0]:
            publisher.publish(burst)
            if burst == 0:
                for one in await publisher.log.newer_than(follower.version, timeout_s=0.0):
                    follower.apply(one)  # raises on any gap
                assert follower.version == publisher.log.newest
                assert follower.checksum() == publisher.truth.checksum()

    asyncio.run(scenario())


def test_a_poll_that_is_cancelled_just_as_a_version_appears_is_cancelled() -> None:
    async def scenario() -> None:
        publisher = Publisher()
        poll = asyncio.create_task(publisher.log.newer_than(Version(1, 0), LONG_S))
        await asyncio.sleep(0)
        publisher.publish(1)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll

    asyncio.run(scenario())
