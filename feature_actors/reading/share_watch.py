"""Alerts when records that are rejected for one reason are a share of all that come."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from freshrank.actors.alerts import AlertSink, Severity
from freshrank.feature_actors.partition.outcome import TopicCounts
from freshrank.feature_actors.reading.share_rules import COUNTED_BY, OF_TOPICS, RULES, ShareRule

# Seconds over which records are counted.
WITHIN_S = 60.0

_Shares: TypeAlias = dict[str, tuple[ShareRule, str]]
_NO_TOPICS: Mapping[str, TopicCounts] = MappingProxyType({})


class _Moment(NamedTuple):
    at_s: float
    counters: Mapping[str, int]
    topics: Mapping[str, TopicCounts]

    def of(self, topic: str) -> TopicCounts:
        """The counts of a topic; of a topic without records, zeros."""
        return self.topics.get(topic, TopicCounts())


class ShareWatch:
    """Compares a shard's counters of now with those of a minute ago.

    What is rejected of one topic is compared with what came of this topic too, so that a topic of
    few records is not lost among others; reasons that a rule has told of are not told again.

    >>> watch = ShareWatch()
    >>> none = dict.fromkeys([name for rule in RULES for name in rule.counters], 0)
    >>> watch.update(none, now_s=0.0)
    >>> watch.update({**none, "events": 90, "dead": 10, "dead_time_unit": 10}, now_s=1.0)
    >>> watch.exceeded["dead_time_unit"][:28]
    '10 % of 100 (in 60 s): event'
    """

    def __init__(self, alerts: AlertSink | None = None) -> None:
        self.exceeded: dict[str, str] = {}
        """By counter, or by topic and counter: the share that is too large, and the fix."""
        self._alerts = alerts
        self._moments: deque[_Moment] = deque()

    @property
    def not_ready(self) -> dict[str, str]:
        """Of those in `exceeded`: the ones for lack of whose records answers are wrong."""
        blocking = {rule.counter for rule in RULES if rule.blocks}
        return {name: share for name, share in self.exceeded.items() if name in blocking}

    def update(
        self,
        counters: Mapping[str, int],
        now_s: float,
        topics: Mapping[str, TopicCounts] = _NO_TOPICS,
    ) -> None:
        """Take the counters of now. A share that becomes too large is one alert."""
        names = {name for rule in RULES for name in rule.counters}
        now = _Moment(now_s, {name: counters[name] for name in names}, topics)
        self._moments.append(now)
        while len(self._moments) > 2 and now_s - self._moments[1].at_s >= WITHIN_S:
            self._moments.popleft()
        shares = _of_rules(now, self._moments[0])
        shares |= _of_topics(now, self._moments[0], shares)
        before, self.exceeded = self.exceeded, {name: share for name, (_, share) in shares.items()}
        for name, (rule, share) in shares.items():
            if name not in before and self._alerts is not None:
                self._alerts.emit(rule.kind, Severity.ERROR, share)


def _of_rules(now: _Moment, then: _Moment) -> _Shares:
    """By counter: the shares of all topics together that are too large."""
    found: _Shares = {}
    for rule in RULES:
        whole = sum(now.counters[name] - then.counters[name] for name in rule.of)
        part = now.counters[rule.counter] - then.counters[rule.counter]
        if rule.exceeded(part, whole):
            what = rule.explain(now.counters, then.counters)
            what = what.replace("{dead}", _dead_topics(rule.counter, now, then))
            found[rule.counter] = rule, f"{_share(part, whole)}: {what}"
    return found


def _dead_topics(counter: str, now: _Moment, then: _Moment) -> str:
    """The names of the topics that have the rejected records that `counter` counts."""
    kinds = [kind for kind, counted_by in COUNTED_BY.items() if counted_by == counter]
    topics = [
        topic
        for topic, counts in now.topics.items()
        if any(counts.dead[kind] > then.of(topic).dead[kind] for kind in kinds)
    ]
    return ", ".join(f"{topic}.dead" for topic in topics) or "the topic <name>.dead"


def _of_topics(now: _Moment, then: _Moment, told: Collection[str]) -> _Shares:
    """By topic and counter: the shares of a topic's records that are too large."""
    found: _Shares = {}
    for topic, counts in now.topics.items():
        before = then.of(topic)
        untold = [kind for kind in counts.dead if COUNTED_BY.get(kind) not in told]
        dead = sum(counts.dead[kind] - before.dead[kind] for kind in untold)
        whole = counts.records - before.records
        for rule, part in zip(OF_TOPICS, (dead, counts.late - before.late), strict=True):
            if rule.exceeded(part, whole):
                what = rule.what.format(topic=topic, reason=counts.reason)
                found[f"{topic}.{rule.counter}"] = rule, f"{_share(part, whole)}: {what}"
    return found


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % of {whole} (in {WITHIN_S:.0f} s)"
