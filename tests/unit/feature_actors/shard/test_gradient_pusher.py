import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from fake_clock import FakeClock
from shard_world import PARTITIONS, FakeLearner
from small_shop import LABELLED, batch, event, spec
from source_offsets import upto

from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.messages import BEGINNING, Examples, Gradient, Version
from freshrank.actors.protocols import Progress
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.gradient_pusher import GradientPusher
from freshrank.feature_actors.shard.ports import Training

MADE = spec(LABELLED)
USERS = ("u1", "u5")
"""A user of each partition."""


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 300))


def filled(partition: int = 0, count: int = 3) -> PartitionState:
    state = PartitionState(MADE, partition, PARTITIONS)
    values = [event(n, USERS[partition], "order", 7, 1_000 + n) for n in range(count)]
    state.process(batch("events", values, partition=partition))
    return state


def pusher(learner: FakeLearner, *states: PartitionState, timeout_s: float = 5.0) -> GradientPusher:
    return GradientPusher(
        {one.partition: one for one in states}, Training(learner), FakeClock(), timeout_s
    )


def test_every_partition_gives_what_it_has() -> None:
    async def test() -> None:
        learner = FakeLearner()
        one = pusher(learner, filled(0), filled(1))
        await one.push()
        assert learner.applied == {0: upto(3), 1: upto(3)}
        assert (one.ranges, one.error) == (2, None)
        await one.push()
        assert one.ranges == 2

    run(test)


def test_in_lock_step_one_span_of_one_partition_is_given() -> None:
    async def test() -> None:
        learner, state = FakeLearner(), filled(1)
        one = pusher(learner, filled(0), state)
        state.example_queue.close()
        state.process(batch("events", [event(9, USERS[1], "view", 7, 5_000)], begin=3, partition=1))
        await one.push_next(1)
        assert learner.applied == {1: upto(3)}
        await one.push_next(1)
        await one.push_next(1)
        assert learner.applied == {1: upto(4)}

    run(test)


def test_a_learner_that_went_back_gets_again_what_it_lost() -> None:
    async def test() -> None:
        learner, state = FakeLearner(), filled()
        one = pusher(learner, state)
        await one.push()
        learner.checkpoint()
        state.process(batch("events", [event(9, "u1", "view", 7, 5_000)], begin=3))
        await one.push()
        wanted = learner.examples()
        learner.crash()
        state.process(batch("events", [event(10, "u1", "view", 7, 6_000)], begin=4))
        await one.push()
        assert learner.applied == {0: upto(5)}
        assert len(learner.examples()) == 5
        assert wanted <= learner.examples()

    run(test)


def test_a_lost_answer_does_not_teach_twice() -> None:
    class Forgetful(FakeLearner):
        async def push(self, work: Gradient | Examples) -> Progress:
            answer = await super().push(work)
            if len(self.learned[0]) == 1 and answer.accepted:
                raise Unavailable("learner", "the answer was lost")
            return answer

    async def test() -> None:
        learner, state = Forgetful(), filled()
        one = pusher(learner, state)
        with pytest.raises(Unavailable):
            await one.push()
        await one.push()
        assert set(learner.examples().values()) == {1}
        assert state.example_queue.unsent == 0

    run(test)


def test_a_stale_gradient_is_computed_again() -> None:
    class Picky(FakeLearner):
        refused = 0

        async def push(self, work: Gradient | Examples) -> Progress:
            assert isinstance(work, Gradient)
            if work.base < Version(1, 3):
                self.refused += 1
                return Progress(
                    False, True, self.applied.get(0, BEGINNING), BEGINNING, Version(1, 3)
                )
            self.applied[0] = work.offset_range.end
            return Progress(True, False, work.offset_range.end, BEGINNING, Version(1, 3))

    class Catching:
        step = 0

        def gradient(self, examples: Examples) -> Gradient:
            self.step += 1
            none = np.zeros((0, 1), dtype=np.float32)
            scores = np.zeros(len(examples), dtype=np.float32)
            base, keys = Version(1, self.step), np.zeros(0, dtype=np.int64)
            offset_range, labels = examples.offset_range, examples.labels
            return Gradient(
                offset_range,
                base,
                dense=none[:, 0],
                keys=keys,
                rows=none,
                dense_squares=none[:, 0],
                row_squares=none,
                row_counts=none[:, 0],
                labels=labels,
                scores=scores,
                reference_scores=None,
                newest_event_ms=0,
                moments=np.zeros((3, 0)),
            )

        def freeze_reference(self) -> None:
            raise NotImplementedError

    async def test() -> None:
        learner, state = Picky(), filled()
        one = GradientPusher({0: state}, Training(learner, Catching()), FakeClock(), 5.0)
        await one.push()
        assert (learner.refused, one.stale, one.ranges) == (2, 2, 1)
        assert learner.applied == {0: upto(3)}

    run(test)


def test_a_learner_that_does_not_answer_is_unavailable_in_time() -> None:
    class Silent(FakeLearner):
        async def push(self, work: Gradient | Examples) -> Progress:
            await asyncio.Event().wait()
            raise AssertionError

        async def progress(self, partition: int) -> Progress:
            await asyncio.Event().wait()
            raise AssertionError

    async def test() -> None:
        one = pusher(Silent(), filled(), timeout_s=0.01)
        with pytest.raises(Unavailable, match=r"no answer within 0.01 s"):
            await one.push()
        with pytest.raises(Unavailable, match=r"no answer within 0.01 s"):
            await one.ask(0)

    run(test)


def test_nothing_is_pushed_while_a_partition_reads_again() -> None:
    async def test() -> None:
        learner, state = FakeLearner(applied={0: upto(9)}), PartitionState(MADE, 0)
        state.example_queue.resume(await learner.progress(0))
        state.process(batch("events", [event(1, "u1", "order", 7, 1_000)]))
        await pusher(learner, state).push()
        assert learner.learned == {}

    run(test)


def test_what_became_durable_is_asked_for_and_forgotten() -> None:
    async def test() -> None:
        learner, state = FakeLearner(), filled()
        one = pusher(learner, state)
        await one.push()
        await one.refresh()
        assert state.example_queue.examples == 3
        learner.checkpoint()
        await one.refresh()
        assert state.example_queue.examples == 0

    run(test)


def test_the_loop_shows_what_is_wrong_retries_and_stops_for_what_is_ours() -> None:
    async def test() -> None:
        learner, state = FakeLearner(away=True), filled()
        one = pusher(learner, state)
        loop = asyncio.create_task(one.run())
        one.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert "learner" in str(one.error)
        learner.away = False
        for _ in range(10):
            await asyncio.sleep(0)
        assert one.error is None and state.example_queue.unsent == 0
        learner.applied[0] = upto(2)
        state.process(batch("events", [event(9, "u1", "view", 7, 5_000)], begin=3))
        one.wake()
        with pytest.raises(ProgressError, match="no bound of a range"):
            await loop

    run(test)
