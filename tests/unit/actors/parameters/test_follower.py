from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fake_clock import FakeClock
from learning import NO_DENSE, delta
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import ProgressError, StaleParameters, Unavailable
from freshrank.actors.messages import Delta, SourceOffsets, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.parameters.weights import ModelWeights


class Script:
    """A source that gives prepared answers, then waits for ever."""

    def __init__(self, *answers: list[Delta] | Exception) -> None:
        self.answers = deque(answers)
        self.asked: list[Version | None] = []
        self.refused: list[Version | None] = []
        self.exhausted = asyncio.Event()

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        self.asked.append(version)
        self.refused.append(refused)
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


MODEL = LogisticRegression().bind(NO_DENSE)


def follow(
    *answers: list[Delta] | Exception, hold_epochs: bool = False
) -> tuple[Follower, Script, FakeClock]:
    source, clock = Script(*answers), FakeClock(1_000_000)
    return Follower(source, ModelWeights(MODEL), clock, hold_epochs=hold_epochs), source, clock


async def run_through(follower: Follower, source: Script) -> None:
    """Let the follower take every prepared answer."""
    source.exhausted = asyncio.Event()
    running = asyncio.create_task(follower.run())
    exhausted = asyncio.create_task(source.exhausted.wait())
    await asyncio.wait({running, exhausted}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    running.cancel()


def whole(epoch: int, step: int, applied: dict[int, SourceOffsets], created_ms: int = 0) -> Delta:
    return delta(Version(epoch, step), None, applied=applied, created_ms=created_ms)


def on(epoch: int, step: int, applied: dict[int, SourceOffsets]) -> Delta:
    """The delta that leads to this version."""
    return delta(Version(epoch, step), Version(epoch, step - 1), applied=applied)


def test_it_takes_a_snapshot_and_then_every_delta() -> None:
    follower, source, _ = follow(
        [whole(1, 3, {0: upto(5)}), on(1, 4, {0: upto(6)})], [], [on(1, 5, {0: upto(7)})]
    )
    asyncio.run(run_through(follower, source))
    assert source.asked[:3] == [None, Version(1, 4), Version(1, 4)]
    assert follower.version == Version(1, 5)
    assert follower.applied == {0: upto(7)}
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
    follower, source, _ = follow([whole(1, 9, {0: upto(9)})], [whole(2, 0, {0: upto(4)})])
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(2, 0)


def test_a_replica_keeps_its_weights_until_the_new_epoch_has_learned_as_much() -> None:
    follower, source, _ = follow(
        [whole(1, 9, {0: upto(9), 1: upto(3)})],
        [whole(2, 0, {0: upto(4), 1: upto(3)}), on(2, 1, {0: upto(8), 1: upto(3)})],
        hold_epochs=True,
    )
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(1, 9)
    assert follower.holding_back

    source.answers.extend(
        [
            [on(2, 2, {0: upto(9)})],  # partition 1 is not contained
            [on(2, 3, {0: upto(10), 1: upto(3)})],
            [whole(2, 3, {0: upto(10), 1: upto(3)}), on(2, 4, {0: upto(11), 1: upto(3)})],
        ]
    )
    source.asked.clear()
    asyncio.run(run_through(follower, source))
    assert source.asked[:3] == [Version(2, 1), Version(2, 2), None]
    assert follower.version == Version(2, 4)
    assert not follower.holding_back


def test_a_snapshot_from_before_the_new_epoch_caught_up_is_taken_with_what_follows_it() -> None:
    # The learner makes a snapshot once, and gives it as long as its deltas lead on from it.
    caught_up = [whole(2, 0, {0: upto(4)}), on(2, 1, {0: upto(9)})]
    follower, source, _ = follow(
        [whole(1, 9, {0: upto(9)})],
        [whole(2, 0, {0: upto(4)})],
        [on(2, 1, {0: upto(9)})],
        caught_up,
        hold_epochs=True,
    )
    asyncio.run(run_through(follower, source))
    assert source.asked == [None, Version(1, 9), Version(2, 0), None, Version(2, 1)]
    assert follower.version == Version(2, 1)
    assert not follower.holding_back


def test_a_replica_takes_a_new_epoch_that_has_lost_nothing() -> None:
    follower, source, _ = follow(
        [whole(1, 9, {0: upto(9)})], [whole(2, 0, {0: upto(9), 1: upto(1)})], hold_epochs=True
    )
    asyncio.run(run_through(follower, source))
    assert follower.version == Version(2, 0)


def test_an_old_snapshot_and_the_deltas_after_it_are_one_answer() -> None:
    follower, source, _ = follow(
        [whole(1, 5, {0: upto(50)})],
        [whole(2, 0, {0: upto(30)}), on(2, 1, {0: upto(40)})],
        [on(2, 2, {0: upto(60)})],
        [whole(2, 0, {0: upto(30)}), on(2, 1, {0: upto(40)}), on(2, 2, {0: upto(60)})],
        hold_epochs=True,
    )
    asyncio.run(run_through(follower, source))
    assert source.asked[:4] == [None, Version(1, 5), Version(2, 1), None]
    assert (follower.version, follower.applied) == (Version(2, 2), {0: upto(60)})
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


class Copy:
    """A follower, its weights, its alerts, and a publisher of what it should hold."""

    def __init__(self, hold_epochs: bool = False) -> None:
        self.source, self.clock = Script(), FakeClock(1_000_000)
        self.weights, self.truth = ModelWeights(MODEL), ModelWeights(MODEL)
        self.alerts = Alerts("replica", self.clock)
        self.follower = Follower(
            self.source, self.weights, self.clock, hold_epochs=hold_epochs, alerts=self.alerts
        )

    def whole(self, epoch: int, step: int) -> Delta:
        keys = range(1, 30)
        self.truth = ModelWeights(MODEL)
        return self._published(Version(epoch, step), None, {key: key / 7 for key in keys})

    def next(self, key: int, end: int = 0) -> Delta:
        version = self.truth.version
        assert version is not None
        following = Version(version.epoch, version.step + 1)
        return self._published(following, version, {key: following.step / 3}, end)

    def snapshot(self) -> Delta:
        version, table = self.truth.version, self.truth.table
        assert version is not None
        rows = dict(zip(table.keys.tolist(), table.rows[:, 0].tolist(), strict=True))
        return replace(delta(version, None, rows), checksum=self.truth.checksum())

    def _published(
        self, version: Version, base: Version | None, rows: dict[int, float], end: int = 0
    ) -> Delta:
        made = delta(version, base, rows, applied={0: upto(end)})
        self.truth.apply(made)
        return replace(made, checksum=self.truth.checksum())

    def give(self, *answers: list[Delta] | Exception) -> None:
        self.source.answers.extend(answers)
        asyncio.run(run_through(self.follower, self.source))

    def damage(self, key: int) -> None:
        self.weights.table.rows[self.weights.table.find(np.array([key]))] += 1.0

    def check_equal(self) -> None:
        assert self.weights.version == self.truth.version
        assert self.weights.checksum() == self.truth.checksum()
        assert not self.follower.differs


def test_a_delta_that_was_damaged_on_its_way_is_not_applied_and_a_snapshot_is_fetched() -> None:
    copy = Copy()
    copy.give([copy.whole(1, 0)], [copy.next(5)])
    good = copy.next(6)
    copy.give([replace(good, rows=good.rows * 1.5)])
    assert copy.follower.differs
    assert copy.weights.version == Version(1, 1), "what it holds is still that version, and tells"
    assert (copy.source.asked[-1], copy.source.refused[-1]) == (None, Version(1, 2))
    assert copy.alerts.status()["by_kind"] == {"weights_differ": 1}
    copy.give([copy.snapshot(), copy.next(7)])
    copy.check_equal()
    assert copy.follower.status()["mismatches"] == 1
    copy.give([copy.next(8)])
    copy.check_equal()


def test_a_damaged_row_is_found_when_a_delta_touches_it_and_repaired() -> None:
    copy = Copy()
    copy.give([copy.whole(1, 0)])
    copy.damage(6)
    copy.give([copy.next(5)])
    assert copy.follower.status()["mismatches"] == 0, "nobody has looked at that row yet"
    copy.give([copy.next(6)])
    assert copy.follower.differs
    copy.give([copy.snapshot()])
    copy.check_equal()


def test_a_damaged_row_that_nothing_touches_is_found_within_a_minute() -> None:
    copy = Copy()
    copy.give([copy.whole(1, 0)])
    copy.damage(6)
    copy.clock.ms += 61_000
    copy.give([])
    assert copy.follower.differs
    assert copy.follower.error == "weights held as 1.0 were damaged"
    copy.give([copy.snapshot()])
    copy.check_equal()


def test_repair_never_leads_to_an_older_version_in_between() -> None:
    """The learner's snapshot is older than what is held; the deltas after it lead beyond."""
    copy = Copy()
    copy.give([copy.whole(1, 0)])
    early = copy.snapshot()
    tail = [copy.next(3), copy.next(4), copy.next(5)]
    copy.give(tail)
    seen: list[Version | None] = []
    replaced = ModelWeights.replace

    class Watching(ModelWeights):
        def replace(self, deltas: Sequence[Delta]) -> None:
            replaced(self, deltas)
            seen.append(self.version)

    copy.weights.__class__ = Watching
    copy.damage(6)
    bad = copy.next(6)
    copy.give([bad], [early, *tail, bad])
    assert seen == [Version(1, 4)]
    copy.check_equal()


def test_a_snapshot_that_is_damaged_too_is_asked_for_again_after_growing_waits() -> None:
    copy = Copy()
    copy.give([copy.whole(1, 0)])
    good = copy.next(6)
    damaged = replace(good, rows=good.rows * 1.5)
    broken = replace(copy.snapshot(), dense=np.array([7.0], np.float32))
    copy.give([damaged], *[[broken]] * 8)
    assert copy.weights.version == Version(1, 0)
    assert copy.follower.status()["mismatches"] == 9
    assert copy.clock.slept[-1] > 10 * copy.clock.slept[0]
    copy.give([copy.snapshot()])
    copy.check_equal()


def test_weights_that_differ_again_and_again_are_repaired_at_growing_intervals() -> None:
    """Each snapshot fits, and no delta that follows it does."""
    copy = Copy()
    copy.give([copy.whole(1, 0)])
    for _ in range(12):
        good = copy.next(6)
        copy.give([replace(good, rows=good.rows * 1.5)], [copy.snapshot()])
    copy.check_equal()
    first, *_, last = copy.clock.slept
    assert 0.05 <= first <= 0.1, "the first repair is soon"
    assert 15.0 <= last <= 30.0
    copy.clock.ms += 61_000
    good = copy.next(6)
    copy.give([replace(good, rows=good.rows * 1.5)], [copy.snapshot()])
    copy.check_equal()
    assert copy.clock.slept[-1] <= 0.1, "a minute without any is a new beginning"


def test_a_damaged_replica_still_waits_for_a_new_epoch_to_have_learned_as_much() -> None:
    copy = Copy(hold_epochs=True)
    copy.give([copy.whole(1, 0)], [copy.next(4, end=9)])
    copy.damage(6)
    copy.give([copy.next(6, end=10)])
    assert copy.follower.differs
    copy.give([copy.whole(2, 0)], [copy.next(3, end=8)])
    assert copy.weights.version == Version(1, 1)
    assert copy.follower.differs and copy.follower.holding_back
    caught_up = copy.next(3, end=10)
    copy.give([caught_up], [replace(copy.snapshot(), applied={0: upto(10)})])
    copy.check_equal()


def test_how_long_an_answer_took_to_be_applied_is_told() -> None:
    copy = Copy()
    assert copy.follower.lag_ms() is None
    apply = ModelWeights.apply
    clock = copy.clock

    class Slow(ModelWeights):
        def apply(self, delta: Delta) -> None:
            clock.ms += 2_500
            apply(self, delta)

    copy.weights.__class__ = Slow
    copy.give([copy.whole(1, 0)])
    assert copy.follower.lag_ms() == 2_500
    copy.give([])
    assert copy.follower.lag_ms() == 0
