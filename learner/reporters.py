"""Where a learner reports to, in addition to its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from freshrank.actors.alerts import AlertSink
from freshrank.actors.protocols import JsonValue


class StatusLog(Protocol):
    """Takes the learner's metrics over time (`TensorBoardLog`)."""

    def write(self, step: int, now_ms: int, status: Mapping[str, JsonValue]) -> None:
        """Add the metrics of this moment. Raises OSError: they are lost, and no others."""
        ...


@dataclass(frozen=True, slots=True)
class Reporters:
    """Where a learner reports to, in addition to its status."""

    alerts: AlertSink | None = None
    """None: alerts go to the process log and the status only."""
    log: StatusLog | None = None
    """None: no history of the metrics is written."""
