"""The files that say how far the source partitions of copies are copied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from freshrank.actors.errors import SnapshotError
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import MadeFor, pack, unpack_for
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.reading.record_copies import CopyProgress
from freshrank.feature_actors.streams.copies.origin import generation_of
from freshrank.feature_actors.streams.stream import Stream

KIND = "rekeying"
"""Of the files."""


class CopyFiles:
    """Reads the files of a stream's copies for a state, and writes them while copying goes on.

    Parameters
    ----------
    partitions
        Of the copies.
    """

    def __init__(
        self, stream: Stream, state: str, partitions: int, snapshots: SnapshotStore
    ) -> None:
        self.error: str | None = None
        """Why the last file could not be written."""
        self._stream = stream
        self._made_for = made_for(stream, state)
        self._partitions = partitions
        self._snapshots = snapshots
        self._unsaved: dict[int, CopyProgress] = {}

    def note(self, partition: int, progress: CopyProgress) -> None:
        """All copies of a source partition up to there are acknowledged."""
        self._unsaved[partition] = progress

    async def save(self) -> None:
        """Write what was noted; where the disk fails it is tried again at the next call.

        Until then a crash costs more copies that are made again. One call at a time.
        """
        for partition in sorted(self._unsaved):
            progress = self._unsaved.pop(partition)  # it may get on while its file is written
            pieces = packed(self._made_for, partition, progress)
            name = progress_name(self._stream, partition)
            try:
                await asyncio.to_thread(self._snapshots.save, name, pieces)
            except SnapshotError as error:
                self._unsaved.setdefault(partition, progress)
                self.error = str(error)
                return
        self.error = None

    def restored(self, partition: int) -> CopyProgress:
        """How far the newest whole file says that a source partition is copied."""
        for stored in self._snapshots.candidates(progress_name(self._stream, partition)):
            try:
                meta, arrays = unpack_for(KIND, self._made_for, stored.read())
            except SnapshotError:
                continue  # an older one, or none, costs copies that are made again
            if len(arrays["previous"]) == self._partitions:
                return CopyProgress(meta["offset"], arrays["previous"].copy())
        return CopyProgress.nothing(self._partitions)


def made_for(stream: Stream, state: str) -> MadeFor:
    """What the files of a stream's copies for a state are made for."""
    return MadeFor(f"{stream.log_topic} {generation_of(state):016x}")


def progress_name(stream: Stream, partition: int) -> str:
    """The name of the files that say how far a source partition is copied."""
    return f"{stream.topic}-{partition}"


def topic_of_progress(name: str) -> str:
    """Return the source topic that a `progress_name` is of.

    >>> topic_of_progress("plays-2-17")
    'plays-2'
    """
    return name.rpartition("-")[0]


def packed(made: MadeFor, partition: int, at: CopyProgress) -> Iterator[Piece]:
    """Such a file (`made_for`), which says that a source partition is copied up to `at`."""
    meta: dict[str, JsonValue] = {"partition": partition, "offset": at.next_offset}
    return pack(KIND, made, meta, {"previous": at.previous.copy()})
