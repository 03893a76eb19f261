"""Alerts for people: written to the process log and to a topic, and counted by kind."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable, bounded
from freshrank.actors.protocols import JsonValue, RecordSink

_LOG = logging.getLogger("freshrank.alerts")

# Alerts of a kind that a component reports within `_WITHIN_S` seconds; further ones are counted.
MOST_AT_ONCE = 10
_WITHIN_S = 60.0


class AlertKind(StrEnum):
    """The kinds of alerts."""

    GUARD_TRIPPED = "guard_tripped"
    """The learner refused or holds back offset ranges that may harm the weights (see there)."""
    REGIME_ACCEPTED = "regime_accepted"
    """The world has changed: a model that learned what was held back predicts what comes better."""
    WEIGHTS_RESET = "weights_reset"
    """The weights predicted worse than the base rate of the labels does, and begin again."""
    WEIGHTS_DIFFER = "weights_differ"
    """A copy of the weights differed from the learner's; it is fetched again."""
    NOT_SAVED = "not_saved"
    """A snapshot or checkpoint could not be written; older files stay, and it is tried again."""
    PASSED_OVER = "passed_over"
    """A start could not use a snapshot or checkpoint, and went on from an earlier one."""
    CARRIED_OVER = "carried_over"
    """A start went on from a state of other definitions: what it keeps, begins and drops."""
    REJECTED = "rejected"
    """Records rejected for the same reason are a large share of all records."""
    CLOCKS = "clocks"
    """The clocks of producers or replicas are wrong for a share of the records."""
    UNJOINED = "unjoined"
    """A share of the label events makes no shown item positive."""
    LOST_TO_RETENTION = "lost_to_retention"
    """Records were deleted before they were read: answers lack them, and no example holds them."""
    BEGINS_LATE = "begins_late"
    """The oldest records of a topic had been deleted before a state began with it."""
    STALLED = "stalled"
    """Records of a partition wait, and none of them is read."""
    BEHIND = "behind"
    """More records come than a shard reads: what waits grows, and features get older."""
    STORE_FULL = "store_full"
    """The online store refuses rows for want of memory, or removes some to make room."""
    LOG_CHANGED = "log_changed"
    """A topic was deleted, created again or given other partitions while it was read."""
    CATALOGUE_FULL = "catalogue_full"
    """The catalogue has more items than a replica keeps: the others are not recommended."""
    OVERLOADED = "overloaded"
    """The requests need more replicas than `serve.max_replicas` allows: answers become slow."""
    REHEARSAL_FAILED = "rehearsal_failed"
    """A replica that starts could not score a candidate of its own: requests may fail, too."""
    UPDATE_REFUSED = "update_refused"
    """Replicas were to be updated and are not: those of before go on."""
    CERTIFICATE = "certificate"
    """The endpoint's certificate ends soon, or a renewed file cannot be used: the old stays."""
    SERVER_ENDED = "server_ended"
    """A Kafka, a Redis or a process of Ray that the run started has ended by itself."""


class Severity(StrEnum):
    """How soon a person should look."""

    WARNING = "warning"
    """The system has recovered by itself."""
    ERROR = "error"
    """A person has to decide."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A record of the topic ``<pipeline>.alerts``: JSON with these field names."""

    kind: AlertKind
    severity: Severity
    part: str
    """The component that reports it (``learner``, ``shard-0``)."""
    message: str
    at_ms: int
    details: Mapping[str, JsonValue] = field(default_factory=dict)


# Reported alerts that the status lists: all that a minute can bring.
NAMED = MOST_AT_ONCE * len(AlertKind)


class AlertSink(Protocol):
    """Takes the alerts of a component."""

    def emit(
        self,
        kind: AlertKind,
        severity: Severity,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Report an alert; never waits and never fails."""
        ...

    def status(self) -> Mapping[str, JsonValue]:
        """The alerts so far, for the component's own status."""
        ...


class Alerts:
    """The alerts of a component; implements `AlertSink`.

    All alerts are counted. At most `MOST_AT_ONCE` of a kind are reported in a minute, so that an
    error that comes with every batch fills neither the log nor the topic. An alert that the broker
    does not take is in the log, is counted as lost, and is not sent again.

    Parameters
    ----------
    part
        Name of the component.
    clock
        Dates the alerts.
    sink, topic
        Where the records go; None: alerts go to the process log only.
    """

    def __init__(
        self, part: str, clock: Clock, sink: RecordSink | None = None, topic: str = "alerts"
    ) -> None:
        self._part = part
        self._clock = clock
        self._sink = sink
        self._topic = topic
        self._counts: dict[str, int] = {}
        self._reported_at: dict[str, deque[float]] = {}
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
        """Count an alert, and report it unless its kind was reported too often in a minute."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if not self._may_report(kind):
            self._held_back += 1
            return
        alert = Alert(kind, severity, self._part, message, self._clock.now_ms(), details or {})
        self._newest.append(_summary(alert))
        level = logging.ERROR if alert.severity is Severity.ERROR else logging.WARNING
        _LOG.log(level, "%s: %s: %s", alert.part, kind, message)
        if self._sink is None:
            return
        try:
            self._sink.send_nowait(self._topic, alert.part.encode(), msgspec.json.encode(alert))
        except Unavailable:
            self._refused += 1

    def status(self) -> dict[str, JsonValue]:
        """The newest alerts, and counts since the start: by kind, of unreported, of lost alerts.

        `lost` counts all records that the sink has lost; other components may share the sink.
        """
        lost = self._refused + (self._sink.failures if self._sink else 0)
        return {
            "by_kind": dict(self._counts),
            "held_back": self._held_back,
            "lost": lost,
            "newest": list(self._newest),
        }

    def _may_report(self, kind: str) -> bool:
        now, reported = self._clock.monotonic(), self._reported_at.setdefault(kind, deque())
        while reported and reported[0] <= now - _WITHIN_S:
            reported.popleft()
        if len(reported) >= MOST_AT_ONCE:
            return False
        reported.append(now)
        return True


def tell_passed_over(alerts: AlertSink, problems: Iterable[str]) -> None:
    """Report each snapshot or checkpoint that a start could not use, with the reason."""
    for problem in problems:
        alerts.emit(AlertKind.PASSED_OVER, Severity.WARNING, problem)


def _summary(alert: Alert) -> dict[str, JsonValue]:
    """The fields of an alert that the status shows."""
    return {
        "part": alert.part,
        "kind": alert.kind,
        "severity": alert.severity,
        "message": bounded(alert.message),
        "at_ms": alert.at_ms,
    }
