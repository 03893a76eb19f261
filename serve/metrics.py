"""What a replica counts, in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from freshrank.actors.protocols import JsonValue, Status

# Seconds. A score takes a fraction of a millisecond: Prometheus' own buckets begin at 5 ms.
LATENCY_BUCKETS = (
    0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
)  # fmt: skip

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


class ServeMetrics:
    """The figures of one replica, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.latency = Histogram(
            "freshrank_score_seconds",
            "Time from a decoded request to its scores",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.requests = Counter(
            "freshrank_requests",
            "Requests by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self.candidates = Counter(
            "freshrank_candidates", "Candidates scored", registry=self.registry
        )
        self.features = Counter(
            "freshrank_feature_rows",
            "Rows used for scores, by where they came from",
            ["source"],
            registry=self.registry,
        )
        self.impressions = Counter(
            "freshrank_impressions",
            "Impressions logged, and those lost",
            ["outcome"],
            registry=self.registry,
        )

    def expose(self, statuses: Mapping[str, Status]) -> bytes:
        """The text of /metrics: this replica's own, and what the other parts posted."""
        posted = CollectorRegistry(auto_describe=False)
        posted.register(_Posted(statuses))
        return generate_latest(self.registry) + generate_latest(posted)


class _Posted(Collector):
    """The numbers of all posted statuses as gauges ``freshrank_<name>{part=...}``."""

    def __init__(self, statuses: Mapping[str, Status]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for part, status in self._statuses.items():
            for name, value in _numbers(status, ()):
                family = families.setdefault(
                    name, GaugeMetricFamily(name, "As posted by the part", labels=["part"])
                )
                family.add_metric([part], value)
        return families.values()


def _numbers(status: Status, above: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Names and values of all numbers of a status; lists are left to the page."""
    for key, value in status.items():
        path = (*above, _NOT_IN_A_NAME.sub("_", key))
        if isinstance(value, bool | int | float):
            yield "_".join(("freshrank", *path)), float(value)
        elif isinstance(value, Mapping) and not _by_id(value):
            yield from _numbers(value, path)


def _by_id(value: Mapping[str, JsonValue]) -> bool:
    """Whether the keys are ids (partitions): they would make a metric each, and never go away."""
    return any(not key[:1].isalpha() for key in value)
