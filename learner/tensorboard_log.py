"""The learner's curves as TensorBoard event files, written without torch or TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from freshrank.actors.protocols import JsonValue


class TensorBoardLog:
    """One event file in `folder`; a thread of the writer's own puts it on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))

    def write(self, step: int, now_ms: int, status: Mapping[str, JsonValue]) -> None:
        """Add every figure of `status` that is a number, under its own name."""
        values = [
            Summary.Value(tag=f"learner/{name}", simple_value=float(value))
            for name, value in status.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        event = Event(step=step, wall_time=now_ms / 1000.0, summary=Summary(value=values))
        self._writer.add_event(event)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
