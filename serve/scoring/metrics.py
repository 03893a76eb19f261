"""What a replica counts: in Prometheus' text format, and as figures for the status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from freshrank.actors.latency_histogram import RecentLatencies
from freshrank.actors.protocols import JsonValue, Status

# Seconds. A score takes a fraction of a millisecond: Prometheus' own buckets begin at 5 ms.
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0,
)  # fmt: skip
# Seconds since an entity's last event: from what just happened to yesterday.
FEATURE_AGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0)

# Latencies are counted so many at a time: one by one NumPy would cost more than a score.
_BATCH = 1_000

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


class ServeMetrics:
    """The figures of one replica, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._latency = Histogram(
            "freshrank_score_seconds",
            "Time from a decoded request to its scores, waits that it asked for included",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._feature_age = Histogram(
            "freshrank_feature_age_seconds",
            "Time from an entity's last event to the score that used it",
            buckets=FEATURE_AGE_BUCKETS,
            registry=self.registry,
        )
        self._candidates = Counter(
            "freshrank_candidates", "Candidates scored", registry=self.registry
        )
        self.requests = self._labelled("requests", "Requests", ("route", "status"))
        self._features = self._labelled(
            "feature_rows", "Rows used for scores, by where they came from", ("source",)
        )
        self._impressions = self._labelled(
            "impressions", "Impressions logged, and those lost", ("outcome",)
        )
        self._latencies_ms: list[float] = []
        self._recent = RecentLatencies()
        self._scores = 0
        self._failures = 0

    def scored(
        self, begun: float, ended: float, candidates: int, source: str, age_ms: int | None
    ) -> None:
        """One request was answered; `begun` and `ended` are monotonic seconds."""
        self._latency.observe(ended - begun)
        self._candidates.inc(candidates)
        self._features.count(source)
        if age_ms is not None:
            self._feature_age.observe(age_ms / 1000.0)
        self._scores += 1
        self._latencies_ms.append((ended - begun) * 1000.0)
        if len(self._latencies_ms) >= _BATCH:
            self._collect(ended)

    def answered(self, route: str, status: int) -> None:
        """One request of any kind got an answer."""
        self.requests.count(route, str(status))
        if status >= 500:
            self._failures += 1

    def shown(self, logged: bool) -> None:
        """One impression was queued, or lost at once."""
        self._impressions.count("logged" if logged else "lost")

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """For the status: counts since the start, and the latencies of late."""
        self._collect(monotonic)
        return {
            "requests": self._scores,
            "errors": self._failures,
            "latency": self._recent.at(monotonic).to_json(),
        }

    def expose(self, statuses: Mapping[str, Status]) -> bytes:
        """The text of /metrics: this replica's own, and what the other parts posted."""
        posted = CollectorRegistry(auto_describe=False)
        posted.register(_Posted(statuses))
        return generate_latest(self.registry) + generate_latest(posted)

    def _collect(self, monotonic: float) -> None:
        if self._latencies_ms:
            self._recent.add(np.array(self._latencies_ms), monotonic)
            self._latencies_ms.clear()

    def _labelled(self, name: str, meaning: str, labels: tuple[str, ...]) -> _Labelled:
        return _Labelled(
            Counter(f"freshrank_{name}", meaning, list(labels), registry=self.registry)
        )


class _Labelled:
    """A counter with labels, whose children are looked up once: that costs most of counting."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._children: dict[tuple[str, ...], Counter] = {}

    def count(self, *labels: str) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._counter.labels(*labels)
        child.inc()


class _Posted(Collector):
    """The numbers of all posted statuses as ``freshrank_<name>{part=...}``.

    Counts and moments are posted alike, so none is said to be the one or the other.
    """

    def __init__(self, statuses: Mapping[str, Status]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        families: dict[str, UnknownMetricFamily] = {}
        for part, status in self._statuses.items():
            for name, value in _numbers(status, ()):
                family = families.setdefault(
                    name, UnknownMetricFamily(name, "As posted by the part", labels=["part"])
                )
                family.add_metric([part], value)
        return families.values()


def _numbers(status: Status, above: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Names and values of all numbers of a status; lists are left to the page."""
    for key, value in status.items():
        path = (*above, _NOT_IN_A_NAME.sub("_", key))
        if isinstance(value, bool | int | float):
            # Beneath a word of their own: names of the registry's metrics are not met again.
            yield "_".join(("freshrank_part", *path)), float(value)
        elif isinstance(value, Mapping) and not _by_id(value):
            yield from _numbers(value, path)


def _by_id(value: Mapping[str, JsonValue]) -> bool:
    """Whether the keys are ids (partitions): they would make a metric each, and never go away."""
    return any(not key[:1].isalpha() for key in value)
