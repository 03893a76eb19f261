"""What a learner does beside learning, and where it tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from freshrank.actors.alerts import AlertSink
from freshrank.actors.protocols import JsonValue


class StatusLog(Protocol):
    """Where curves go (`TensorBoardLog`)."""

    def write(self, step: int, now_ms: int, status: Mapping[str, JsonValue]) -> None:
        """Add the figures of one moment. Raises OSError; those are lost then, and no others."""
        ...


@dataclass(frozen=True, slots=True)
class Reporters:
    """Where a learner tells of itself, beside its status."""

    alerts: AlertSink | None = None
    """None: to the log and the status alone."""
    log: StatusLog | None = None
    """Takes the curves."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """What a learner does beside learning, and how often (seconds)."""

    checkpoint_interval_s: float = 10.0
    log_interval_s: float = 5.0
