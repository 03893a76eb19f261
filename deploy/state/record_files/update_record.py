"""What became of the newest update of a run's replicas, for `freshrank update` to read."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.deploy.state.record_files.json_record import JsonRecord


@dataclass(frozen=True, slots=True)
class UpdateRefusal:
    """Why replicas are not updated."""

    reason: str
    mistake: bool
    """Whether the pipeline's file or the settings are the reason, which the user can mend."""


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """The end of one update."""

    began_s: float
    """Seconds of the machine's monotonic clock, before the file and the settings were read."""
    file: str
    """Path of the pipeline's file that was read."""
    refusal: UpdateRefusal | None = None
    """None: all replicas answer by what was read."""


RECORD = JsonRecord("update.json", UpdateOutcome)
"""The newest outcome; there is none before the first update."""
