"""The learner's metrics over time as TensorBoard event files, without torch or TensorFlow."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Disk

# The format version that every reader expects in the first record.
_FILE_VERSION = "brain.Event:2"


class TensorBoardLog:
    """One event file in `folder`, created with the first point.

    TensorBoard's own writer stops for good at the first write that fails. Here a point that cannot
    be written is lost whole, and the next one is written as usual.

    Parameters
    ----------
    folder
        Made where it is missing.
    disk
        Appends to files; by default the real one.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._name: str | None = None
        self._begun = False

    def write(self, step: int, now_ms: int, status: Mapping[str, JsonValue]) -> None:
        """Add every number of `status` under its own name. Raises OSError; that point is lost."""
        values = [
            Summary.Value(tag=f"learner/{name}", simple_value=float(value))
            for name, value in status.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        wall_time = now_ms / 1000.0
        records = _record(Event(step=step, wall_time=wall_time, summary=Summary(value=values)))
        if not self._begun:
            records = _record(Event(wall_time=wall_time, file_version=_FILE_VERSION)) + records
        if self._name is None:
            process = f"{socket.gethostname()}.{os.getpid()}"
            self._name = f"events.out.tfevents.{now_ms // 1000:010d}.{process}"
        self._disk.make_folder(self._folder)
        self._disk.append(self._folder / self._name, records)
        self._begun = True


def _record(event: Event) -> bytes:
    """The event as a record of the file, with its checksums."""
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
