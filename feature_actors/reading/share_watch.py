"""Alerts when records that are rejected for one reason are a share of all that come."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from freshrank.actors.alerts import AlertKind, AlertSink, Severity

# Seconds over which records are counted, the least records that make a share, and the greatest
# share that is no alert.
WITHIN_S = 60.0
LEAST_RECORDS = 100
GREATEST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class ShareRule:
    """A counter of a shard's status that may be a small share of others only."""

    counter: str
    of: tuple[str, ...]
    """The counters that together are the whole."""
    kind: AlertKind
    what: str
    """What the counter counts, and the fix."""


_EVENTS = ("events", "duplicates", "late", "dead")

RULES = (
    ShareRule(
        "dead_time_unit",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because their time is not in milliseconds: "
        "mend the producer (the topic .dead has each with its unit)",
    ),
    ShareRule(
        "dead_time_ahead",
        _EVENTS,
        AlertKind.REJECTED,
        "events are rejected because their time is too far ahead of the log: "
        "set the clocks of their producers right, or allow more with Stream.max_ahead",
    ),
    ShareRule(
        "dead_other_layout",
        ("impressions", "dead_other_layout"),
        AlertKind.REJECTED,
        "impressions are not learned from because they were served with other features: after a "
        "change of features only those served since are, and this ends by itself; else replicas "
        "of another version write to this topic",
    ),
    ShareRule(
        "impressions_outage",
        ("impressions", "impressions_outage"),
        AlertKind.REJECTED,
        "impressions are not learned from because the online store did not answer when they were "
        "scored: see that it is up, near, and not busy with others (serve.read_timeout_ms)",
    ),
)


class ShareWatch:
    """Compares a shard's counters of now with those of a minute ago.

    >>> watch = ShareWatch()
    >>> none = dict.fromkeys([name for rule in RULES for name in (rule.counter, *rule.of)], 0)
    >>> watch.update(none, now_s=0.0)
    >>> watch.update({**none, "events": 90, "dead": 10, "dead_time_unit": 10}, now_s=1.0)
    >>> watch.exceeded["dead_time_unit"][:28]
    '10 % of 100 (in 60 s): event'
    """

    def __init__(self, alerts: AlertSink | None = None) -> None:
        self.exceeded: dict[str, str] = {}
        """By counter: the share that is too large, and the fix."""
        self._alerts = alerts
        self._counts: deque[tuple[float, dict[str, int]]] = deque()

    def update(self, counters: Mapping[str, int], now_s: float) -> None:
        """Take the counters of now. A share that becomes too large is one alert."""
        names = {name for rule in RULES for name in (rule.counter, *rule.of)}
        now = {name: counters[name] for name in names}
        self._counts.append((now_s, now))
        while len(self._counts) > 2 and now_s - self._counts[1][0] >= WITHIN_S:
            self._counts.popleft()
        before, then = self.exceeded, self._counts[0][1]
        self.exceeded = {}
        for rule in RULES:
            whole = sum(now[name] - then[name] for name in rule.of)
            part = now[rule.counter] - then[rule.counter]
            if whole < LEAST_RECORDS or part <= GREATEST_SHARE * whole:
                continue
            share = f"{100 * part / whole:.0f} % of {whole} (in {WITHIN_S:.0f} s): {rule.what}"
            self.exceeded[rule.counter] = share
            if rule.counter not in before and self._alerts is not None:
                self._alerts.emit(rule.kind, Severity.ERROR, share)
