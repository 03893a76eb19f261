from __future__ import annotations

import asyncio

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.crashes.recorded_stream import recorded_log, recorded_pipeline
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World

SETTINGS = Settings.model_validate(
    {"shards": {"count": 2, "snapshot_interval_s": 1e-6}, "learner": {"checkpoint_interval_s": 60}}
)


class Held(SystemClock):
    """Nothing happens in the background."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def weights_after(
    steps: int, *, checkpoint_at: int, carried: bool = False
) -> tuple[str | None, int]:
    """The weights' checksum and the examples, of a system that crashes after so many steps."""
    world = World(recorded_log(recorded_pipeline(), seconds=120), Held())
    first = LocalSystem(recorded_pipeline(), SETTINGS, world)
    await first.start()
    for step in range(steps):
        if step == checkpoint_at:
            await first.learner.save()
        assert await first.step()
    second = LocalSystem(recorded_pipeline(), SETTINGS, world, carried=carried)
    await second.start()
    await second.drain()
    assert not await second.step()
    applied = await second.learner.applied()
    newest = (await second.learner.newer_than(None, 0.0))[-1]
    return newest.checksum, sum(sum(offsets.values()) for offsets in applied.values())


def test_a_system_that_crashed_in_lock_step_ends_at_the_same_weights() -> None:
    wanted = asyncio.run(weights_after(0, checkpoint_at=0))
    assert wanted[1] > 300
    for steps, checkpoint_at in ((2, 1), (5, 2), (5, 9)):
        assert asyncio.run(weights_after(steps, checkpoint_at=checkpoint_at)) == wanted


def test_a_learner_that_is_held_as_by_other_processes_ends_at_the_same_weights() -> None:
    wanted = asyncio.run(weights_after(0, checkpoint_at=0))
    assert asyncio.run(weights_after(2, checkpoint_at=1, carried=True)) == wanted
