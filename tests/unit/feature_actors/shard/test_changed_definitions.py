"""The start of a shard on snapshots of other definitions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from changing_shop import shop, view
from shard_world import PARTITIONS, World, run

from freshrank import Count, TimeSince
from freshrank.actors.errors import SnapshotError
from freshrank.actors.snapshots.file_format import unpack
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.shard.shard import Shard

VIEWS = Count(windows=["1m", "1h"])
BEFORE, NOW = shop(view(views=VIEWS)), shop(view(views=VIEWS, idle=TimeSince()))
TOLD = "rows of user/events: kept: views_1m, views_1h; new, empty so far: idle"


async def changed(snapshots: MemorySnapshots | None = None) -> tuple[World, Shard]:
    """A world whose definitions change after some records, and the new shard, not started."""
    world = World(BEFORE)
    world.snapshots = snapshots or world.snapshots
    world.fill(20)
    shard = world.shard()
    await shard.start()
    await world.until_read(shard)
    await shard.stop()
    world.spec = replace(NOW, settings=world.spec.settings)
    return world, world.shard()


def test_what_was_carried_over_is_in_files_before_anything_is_read() -> None:
    async def test() -> None:
        world, shard = await changed()
        await shard.start()
        for partition in range(PARTITIONS):
            newest, *_ = world.snapshots.candidates(f"partition-{partition}")
            file = unpack(newest.read())
            assert file.made_for == NOW.made_for
            assert file.meta["offsets"] == dict(shard.states[partition].offsets)
            assert file.meta["offsets"]["events"] > 10

    run(test)


def test_what_is_kept_and_what_begins_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world, shard = await changed()
        await shard.start()
        assert (await shard.status())["carried_over"] == [TOLD]
        assert (await shard.status())["health"] == {}
        again = world.shard()
        await again.start()
        assert (await again.status())["carried_over"] == []

    run(test)
    (alert,) = [record.getMessage() for record in caplog.records]
    assert alert == (
        f"shard: carried_over: the definitions have changed since the snapshots: {TOLD}"
    )


def test_other_inputs_of_the_same_rows_are_no_alert_of_the_shard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        world, _ = await changed()
        crossed = shop(view(views=VIEWS), crosses=[("user", "item")])
        world.spec = replace(crossed, settings=world.spec.settings)
        shard = world.shard()
        await shard.start()
        assert (await shard.status())["carried_over"] == []
        newest, *_ = world.snapshots.candidates("partition-0")
        assert unpack(newest.read()).made_for == crossed.made_for

    run(test)
    assert caplog.records == []


def test_a_disk_that_takes_no_file_is_told_of_and_keeps_no_shard_from_its_start() -> None:
    class Disk(MemorySnapshots):
        full = False

        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            if self.full:
                raise SnapshotError("no space left")
            return super().save(name, pieces)

    async def test() -> None:
        disk = Disk()
        world, shard = await changed(disk)
        disk.full = True
        await shard.start()
        assert "no space left" in str((await shard.status())["health"])
        disk.full = False
        again = world.shard()
        await again.start()
        assert again.states[0].changes == shard.states[0].changes == [TOLD]
        assert again.states[0].offsets == shard.states[0].offsets

    run(test)
