"""The Ray helper against a real Ray: what the adapters promise when a peer answers, fails, dies."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest
from source_offsets import upto

from freshrank.actors.errors import Gone, PartFailed, StaleParameters, Unavailable
from freshrank.actors.messages import (
    BEGINNING,
    Delta,
    Examples,
    Gradient,
    Inputs,
    OffsetRange,
    Version,
)
from freshrank.actors.protocols import Progress
from freshrank.actors.runtime import (
    ActorOptions,
    BoxedDelta,
    ObjectRefCache,
    RemoteActor,
    RemoteLearner,
    RemoteRole,
    spawn,
)

pytestmark = pytest.mark.usefixtures("ray_cluster")

T = TypeVar("T")
TIMEOUT_S = 20.0


def delta(version: Version, width: int) -> Delta:
    return Delta(
        version=version,
        base=None,
        dense=np.full(width, version.step, dtype=np.float32),
        moments=np.zeros((3, 0)),
        keys=np.arange(3, dtype=np.int64),
        rows=np.ones((3, 2), dtype=np.float32),
        evicted=np.zeros(0, dtype=np.int64),
        applied={0: upto(5)},
    )


class Source:
    """A learner that has published one version."""

    def __init__(self, width: int) -> None:
        self.width = width

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        newest = Version(1, 7)
        return [] if version == newest else [delta(newest, self.width)]


class FakeLearner:
    """What a learner's host is to the adapters."""

    def __init__(self, width: int) -> None:
        self._object_refs = ObjectRefCache()
        self._source = Source(width)

    async def pid(self) -> int:
        return os.getpid()

    async def push(self, work: Gradient | Examples) -> Progress:
        raise StaleParameters("too old")

    async def progress(self, partition: int) -> Progress:
        if partition == 9:
            raise KeyError("a mistake of ours")
        return Progress(True, False, upto(partition), BEGINNING, Version(1, 7))

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[BoxedDelta]:
        deltas = await self._source.newer_than(version, timeout_s, refused)
        if refused is not None:
            self._object_refs.invalidate()
        return self._object_refs.box(deltas)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def start(name: str, width: int) -> RemoteActor:
    return spawn(FakeLearner, ActorOptions(name, "test-runtime"), width)


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return asyncio.run(main())


@pytest.mark.parametrize("width", [3, 200_000], ids=["inline", "boxed"])
def test_a_delta_arrives_whole_inline_and_by_reference(width: int) -> None:
    learner = RemoteLearner(start(f"learner-{width}", width), TIMEOUT_S)

    async def work() -> None:
        for _ in range(2):
            (got,) = await learner.newer_than(None, TIMEOUT_S)
            assert (got.version, got.base, got.applied) == (Version(1, 7), None, {0: upto(5)})
            np.testing.assert_array_equal(got.dense, np.full(width, 7, dtype=np.float32))
        assert await learner.newer_than(Version(1, 7), TIMEOUT_S) == []

    run(work)


def test_freshrank_errors_arrive_as_themselves_and_others_as_part_failed() -> None:
    learner = RemoteLearner(start("learner-errors", 3), TIMEOUT_S)
    work = Examples(
        offset_range=OffsetRange(0, upto(0), upto(1)),
        inputs=Inputs(np.zeros((1, 1), dtype=np.float32), np.zeros((1, 0), dtype=np.int64)),
        labels=np.ones(1, dtype=np.float32),
        event_times_ms=np.zeros(1, dtype=np.int64),
    )
    with pytest.raises(StaleParameters, match="too old"):
        run(lambda: learner.push(work))
    with pytest.raises(PartFailed, match="a mistake of ours"):
        run(lambda: learner.progress(9))


def test_an_actor_that_does_not_exist_or_is_too_slow_is_unavailable() -> None:
    async def absent() -> object:
        return await RemoteRole("nobody", "test-runtime").call("pid", timeout_s=TIMEOUT_S)

    with pytest.raises(Unavailable, match="nobody"):
        run(absent)
    slow = start("learner-slow", 3)

    async def too_slow() -> object:
        await slow.call("pid", timeout_s=TIMEOUT_S)
        return await slow.call("sleep", 30.0, timeout_s=0.2)

    with pytest.raises(Unavailable, match=r"no answer to sleep in 0\.2 s"):
        run(too_slow)


def test_a_killed_actor_is_gone_and_the_next_started_actor_has_its_role() -> None:
    first, second = start("learner-mortal", 3), start("learner-mortal", 3)
    role = RemoteRole("learner-mortal", "test-runtime")

    async def work() -> None:
        ids = [await actor.call("pid", timeout_s=TIMEOUT_S) for actor in (first, second)]
        assert await role.call("pid", timeout_s=TIMEOUT_S) == ids[0]
        first.kill()
        with pytest.raises(Gone):
            await first.call("sleep", TIMEOUT_S, timeout_s=TIMEOUT_S)
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        while True:
            try:
                assert await role.call("pid", timeout_s=TIMEOUT_S) == ids[1]
                break
            except Unavailable:  # known until the first call that it does not answer
                assert asyncio.get_running_loop().time() < deadline, "nobody took it over"
                await asyncio.sleep(0.05)

    run(work)


def test_the_address_of_a_role_works_in_another_process() -> None:
    actor = start("learner-far", 3)
    role: RemoteRole = pickle.loads(pickle.dumps(RemoteRole("learner-far", "test-runtime")))

    async def work() -> None:
        expected = await actor.call("pid", timeout_s=TIMEOUT_S)
        assert await role.call("pid", timeout_s=TIMEOUT_S) == expected

    run(work)
