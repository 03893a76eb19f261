"""How far partitions are copied is written while they are copied further."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import numpy as np
from small_shop import events

from freshrank.actors.errors import SnapshotError
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.reading.copy_files import CopyFiles
from freshrank.feature_actors.reading.record_copies import CopyProgress

PARTITIONS = 3


class SlowSnapshots(MemorySnapshots):
    """Snapshots whose writing takes until `goes_on`, and fails while they are `full`."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.full = full

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        self.begun.set()
        assert self.goes_on.wait(300)
        if self.full:
            raise SnapshotError("the disk is full")
        return super().save(name, pieces)


def up_to(offset: int) -> CopyProgress:
    return CopyProgress(offset, np.full(PARTITIONS, offset - 1, dtype=np.int64))


def of(snapshots: MemorySnapshots) -> CopyFiles:
    return CopyFiles(events, "1f", PARTITIONS, snapshots)


def restored(snapshots: MemorySnapshots) -> list[int | None]:
    return [of(snapshots).restored(partition).next_offset for partition in range(2)]


def test_what_is_copied_while_a_file_is_written_is_in_the_next() -> None:
    snapshots = SlowSnapshots()

    async def story() -> None:
        files = of(snapshots)
        files.note(0, up_to(7))
        saving = asyncio.create_task(files.save())
        await asyncio.to_thread(snapshots.begun.wait, 300)
        files.note(0, up_to(9))
        snapshots.goes_on.set()
        await saving
        assert restored(snapshots) == [7, None]
        await files.save()
        assert restored(snapshots) == [9, None]

    asyncio.run(story())


def test_what_a_full_disk_does_not_take_is_written_later_and_that_is_told() -> None:
    snapshots = SlowSnapshots(full=True)
    snapshots.goes_on.set()

    async def story() -> None:
        files = of(snapshots)
        files.note(0, up_to(7))
        files.note(1, up_to(3))
        await files.save()
        told = [files.error]
        files.note(1, up_to(4))
        assert restored(snapshots) == [None, None]
        snapshots.full = False
        await files.save()
        assert [*told, files.error] == ["the disk is full", None]
        assert restored(snapshots) == [7, 4]

    asyncio.run(story())


def test_what_failed_does_not_replace_what_was_noted_meanwhile() -> None:
    snapshots = SlowSnapshots(full=True)

    async def story() -> None:
        files = of(snapshots)
        files.note(0, up_to(7))
        saving = asyncio.create_task(files.save())
        await asyncio.to_thread(snapshots.begun.wait, 300)
        files.note(0, up_to(9))
        snapshots.goes_on.set()
        await saving
        assert files.error == "the disk is full"
        snapshots.full = False
        await files.save()
        assert restored(snapshots) == [9, None]

    asyncio.run(story())
