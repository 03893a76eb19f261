"""What a person should look at: one record, to the log, to a counter and to a topic."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable, bounded
from freshrank.actors.protocols import JsonValue, RecordSink

_LOG = logging.getLogger("freshrank.alerts")

# Of one kind, from one part, within so many seconds: what goes on is then told by the counter.
MOST_AT_ONCE = 10
_WITHIN_S = 60.0


class AlertKind(StrEnum):
    """What has happened."""

    GUARD_TRIPPED = "guard_tripped"
    """The learner refused what would have harmed the weights; the offsets are in the details."""
    REGIME_ACCEPTED = "regime_accepted"
    """The loss stayed high through so many trips that it counts as the new normal."""
    WEIGHTS_DIFFER = "weights_differ"
    """A copy of the weights was not what the learner published; it is fetched anew."""
    NOT_SAVED = "not_saved"
    """A snapshot or checkpoint could not be written; older ones stay, and it is tried again."""


class Severity(StrEnum):
    """How soon a person should look."""

    WARNING = "warning"
    """It has mended itself."""
    ERROR = "error"
    """Somebody has to decide."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One record of the topic ``<pipeline>.alerts``, as JSON with these names."""

    kind: AlertKind
    severity: Severity
    part: str
    """Who tells (``learner``, ``shard-0``)."""
    message: str
    at_ms: int
    details: Mapping[str, JsonValue] = field(default_factory=dict)


# That many told alerts are named in the status: all that a minute can bring.
NAMED = MOST_AT_ONCE * len(AlertKind)


class AlertSink(Protocol):
    """Where a part tells of it."""

    def emit(
        self,
        kind: AlertKind,
        severity: Severity,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Tell; never waits and never fails."""
        ...

    def status(self) -> Mapping[str, JsonValue]:
        """What was told so far, for the part's own status."""
        ...


class Alerts:
    """The alerts of one part; satisfies `AlertSink`.

    All are counted. Of each kind at most `MOST_AT_ONCE` in a minute are told, so that a trouble
    which comes with every batch fills neither log nor topic. An alert that the broker does not
    take is lost to the topic, counted, and in the log all the same: nobody waits for it.

    Parameters
    ----------
    part
        Whose they are.
    sink, topic
        Where the records go; None: to the log alone.
    """

    def __init__(
        self, part: str, clock: Clock, sink: RecordSink | None = None, topic: str = "alerts"
    ) -> None:
        self._part = part
        self._clock = clock
        self._sink = sink
        self._topic = topic
        self._counts: dict[str, int] = {}
        self._told: dict[str, deque[float]] = {}
        self._newest: deque[dict[str, JsonValue]] = deque(maxlen=NAMED)
        self._held_back = 0
        self._refused = 0

    def emit(
        self,
        kind: AlertKind,
        severity: Severity,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Count it, and tell of it unless its kind has been told of too often of late."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if not self._may_tell(kind):
            self._held_back += 1
            return
        alert = Alert(kind, severity, self._part, message, self._clock.now_ms(), details or {})
        self._newest.append(_in_short(alert))
        level = logging.ERROR if alert.severity is Severity.ERROR else logging.WARNING
        _LOG.log(level, "%s: %s: %s", alert.part, kind, message)
        if self._sink is None:
            return
        try:
            self._sink.send_nowait(self._topic, alert.part.encode(), msgspec.json.encode(alert))
        except Unavailable:
            self._refused += 1

    def status(self) -> dict[str, JsonValue]:
        """Counts by kind since the start, what did not reach the topic, and the newest told.

        `lost` counts all records that the sink lost, where it is shared.
        """
        lost = self._refused + (self._sink.failures if self._sink else 0)
        return {
            "by_kind": dict(self._counts),
            "held_back": self._held_back,
            "lost": lost,
            "newest": list(self._newest),
        }

    def _may_tell(self, kind: str) -> bool:
        now, told = self._clock.monotonic(), self._told.setdefault(kind, deque())
        while told and told[0] <= now - _WITHIN_S:
            told.popleft()
        if len(told) >= MOST_AT_ONCE:
            return False
        told.append(now)
        return True


def _in_short(alert: Alert) -> dict[str, JsonValue]:
    """What a person is shown of it."""
    return {
        "part": alert.part,
        "kind": alert.kind,
        "severity": alert.severity,
        "message": bounded(alert.message),
        "at_ms": alert.at_ms,
    }
