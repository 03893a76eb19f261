from __future__ import annotations

import asyncio
from collections import deque

import pytest
from learning import NO_DENSE, FakeClock, delta

from freshrank.actors.errors import ProgressError, StaleParameters, Unavailable
from freshrank.actors.follower import Follower
from freshrank.actors.messages import Cut, Delta, Version
from freshrank.learner.models import LogisticRegression
from freshrank.learner.weights import ModelWeights


class Script:
    """A source that gives prepared answers, then waits for ever."""

    def __init__(self, *answers: list[Delta] | Exception) -> None:
        self.answers = deque(answers)
        self.asked: list[Version | None] = []
        self.exhausted = asyncio.Event()

    async def newer_than(self, version: Version | None, timeout_s: float) -> list[Delta]:
        self.asked.append(version)
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


def follow(
    *answers: list[Delta] | Exception, hold_epochs: bool = False
) -> tuple[Follower, Script, FakeClock]:
    source, clock = Script(*answers), FakeClock()
    weights = ModelWeights(LogisticRegression().bind(NO_DENSE))
    return Follower(source, weights, clock, hold_epochs=hold_epochs), source, clock


async def run_through(follower: Follower, source: Script) -> None:
    """Let the follower take every prepared answer."""
    source.exhausted = asyncio.Event()
    running = asyncio.create_task(follower.run())
    exhausted = asyncio.create_task(source.exhausted.wait())
    await asyncio.wait({running, exhausted}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    running.cancel()


def whole(epoch: int, step: int, applied: dict[int, Cut], created_ms: int = 0) -> Delta:
    return delta(Version(epoch, step), None, applied=applied, created_ms=created_ms)


def on(epoch: int, step: int, applied: dict[int, Cut]) -> Delta:
    """The delta that leads to this version."""
    return delta(Version(epoch, step), Version(epoch, step - 1), applied=applied)


def test_it_takes_a_snapshot_and_then_every_delta() -> None:
    follower, source, _ = follow(
        [whole(1, 3, {0: (5,)}), on(1, 4, {0: (6,)})], [], [on(1, 5, {0: (7,)})]
    )
    asyncio.run(run_through(follower, source))
    assert source.asked[:3] == [None, Version(1, 4), Version(1, 4)]
    assert follower.version == Version(1, 5)
    assert follower.applied == {0: (7,)}
    assert not follower.holding_back


def test_what_is_unavailable_is_asked_again_after_growing_bounded_waits() -> None:
    failure = Unavailable("learner", "restarting")
    follower, source, clock = follow(*[failure] * 12, [whole(1, 0, {})])
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(1, 0)
    assert follower.error is None
    assert follower.status()["failures"] == 12
    assert len(clock.slept) == 12
    assert 0.05 <= clock.slept[0] <= 0.1
    assert 1.5 <= min(clock.slept[-3:]) <= max(clock.slept) <= 3.0
    assert len(set(clock.slept[-3:])) == 3, "followers must not knock all at once"


def test_the_last_failure_shows_until_the_learner_answers() -> None:
    follower, source, _ = follow([whole(1, 0, {})], Unavailable("learner", "it is gone"))
    asyncio.run(run_through(follower, source))
    assert follower.error == "learner: it is gone"
    assert follower.version == Version(1, 0)


def test_a_gap_ends_the_following_and_is_raised() -> None:
    follower, source, _ = follow([whole(1, 0, {})], [on(1, 2, {})])
    with pytest.raises(ProgressError, match=r"1\.1 -> 1\.2 does not continue 1\.0"):
        asyncio.run(run_through(follower, source))


def test_an_older_version_is_never_taken() -> None:
    follower, source, _ = follow([whole(3, 7, {})], [whole(2, 9, {})])
    with pytest.raises(ProgressError, match="never goes back"):
        asyncio.run(run_through(follower, source))
    assert follower.version == Version(3, 7)


def test_ages_are_told_from_publication_and_from_the_last_answer() -> None:
    follower, source, clock = follow([whole(1, 0, {}, created_ms=999_000)])
    assert (follower.age_ms(), follower.silence_ms()) == (None, None)
    asyncio.run(run_through(follower, source))
    clock.ms += 500
    assert follower.age_ms() == 1_500
    assert follower.silence_ms() == 500


def test_a_shard_takes_a_new_epoch_at_once() -> None:
    follower, source, _ = follow([whole(1, 9, {0: (9,)})], [whole(2, 0, {0: (4,)})])
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(2, 0)


def test_a_replica_keeps_its_weights_until_the_new_epoch_has_learned_as_much() -> None:
    follower, source, _ = follow(
        [whole(1, 9, {0: (9,), 1: (3,)})],
        [whole(2, 0, {0: (4,), 1: (3,)}), on(2, 1, {0: (8,), 1: (3,)})],
        hold_epochs=True,
    )
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(1, 9)
    assert follower.holding_back

    source.answers.extend(
        [
            [on(2, 2, {0: (9,)})],  # partition 1 is not contained
            [on(2, 3, {0: (10,), 1: (3,)})],
            [whole(2, 3, {0: (10,), 1: (3,)}), on(2, 4, {0: (11,), 1: (3,)})],
        ]
    )
    source.asked.clear()
    asyncio.run(run_through(follower, source))
    assert source.asked[:3] == [Version(2, 1), Version(2, 2), None]
    assert follower.version == Version(2, 4)
    assert not follower.holding_back


def test_a_replica_takes_a_new_epoch_that_has_lost_nothing() -> None:
    follower, source, _ = follow(
        [whole(1, 9, {0: (9,)})], [whole(2, 0, {0: (9,), 1: (1,)})], hold_epochs=True
    )
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(2, 0)


def test_an_old_snapshot_and_the_deltas_after_it_are_one_answer() -> None:
    follower, source, _ = follow(
        [whole(1, 5, {0: (50,)})],
        [whole(2, 0, {0: (30,)}), on(2, 1, {0: (40,)})],
        [on(2, 2, {0: (60,)})],
        [whole(2, 0, {0: (30,)}), on(2, 1, {0: (40,)}), on(2, 2, {0: (60,)})],
        hold_epochs=True,
    )
    asyncio.run(run_through(follower, source))
    assert source.asked[:4] == [None, Version(1, 5), Version(2, 1), None]
    assert (follower.version, follower.applied) == (Version(2, 2), {0: (60,)})
    assert not follower.holding_back


def test_who_waits_for_a_version_is_woken_by_it() -> None:
    async def scenario() -> None:
        follower, source, _ = follow([whole(1, 0, {})], [on(1, 1, {})], [on(1, 2, {})])
        waiting = asyncio.create_task(follower.wait_for(Version(1, 2), timeout_s=30.0))
        await asyncio.sleep(0)
        await run_through(follower, source)
        await waiting
        await follower.wait_for(Version(1, 1), timeout_s=0.0)

    asyncio.run(scenario())


def test_who_waits_in_vain_is_told_what_there_is() -> None:
    follower, _, _ = follow()
    with pytest.raises(StaleParameters, match=r"version 1\.4 is wanted, None is the newest"):
        asyncio.run(follower.wait_for(Version(1, 4), timeout_s=0.0))
