"""The metrics of one replica: for Prometheus, and for the status that it posts."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from freshrank.actors.features.service import RowLookup
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.responses import CandidateRows, FeatureInfo
from freshrank.serve.experiments.definitions import Experiment

# Seconds. Scoring takes a fraction of a millisecond; Prometheus' own buckets begin at 5 ms.
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0,
)  # fmt: skip
# Seconds since an entity's last event: from what just happened to yesterday.
FEATURE_AGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0)


class ServeMetrics:
    """The metrics of one replica, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._scores = self._latencies("score", "scores")
        self._recommendations = self._latencies("recommend", "recommendations")
        self._feature_age = Histogram(
            "freshrank_feature_age_seconds",
            "Seconds from an entity's last event to the scores that used it",
            buckets=FEATURE_AGE_BUCKETS,
            registry=self.registry,
        )
        self._candidates = self._counter("candidates", "Candidates that were scored")
        self._skipped = self._counter("candidates_skipped", "Wrong candidates that were left out")
        self._requests = self._labelled(
            "requests", "Requests by route and HTTP status", ("route", "status")
        )
        sources = "Requests by the source of their features: online, new, stale or outage"
        self._features = self._labelled("feature_rows", sources, ("source",))
        self._candidate_rows = self._labelled(
            "candidate_rows",
            "Candidates by the table that their rows are in: found, missing, or without a whole id",
            ("table", "outcome"),
        )
        self._repeatable = self._labelled(
            "idempotent_requests",
            "Requests with an idempotency key, and answers forgotten before their time",
            ("outcome",),
        )
        self._impressions = self._labelled(
            "impressions", "Impressions that were logged or lost", ("outcome",)
        )
        self._arms = self._labelled(
            "experiment_requests", "Requests that each arm answered", ("experiment", "arm")
        )
        self._drawn = self._labelled(
            "drawn_items", "Items drawn in lists that explore: greedy or explored", ("outcome",)
        )
        self._failures = self._refused = 0
        self._by_route = Counts[str]()
        self._by_arm = Counts[tuple[str, str]]()

    def scored(self, begun: float, ended: float, candidates: int, features: FeatureInfo) -> None:
        """Count a request that was scored; `begun` and `ended` are monotonic seconds."""
        self._scores.add(begun, ended)
        self._count(candidates, features)

    def recommended(
        self, begun: float, ended: float, candidates: int, features: FeatureInfo
    ) -> None:
        """Count a request for recommendations, which had so many `candidates`."""
        self._recommendations.add(begun, ended)
        self._count(candidates, features)

    def answered(self, route: str, status: int) -> None:
        """Count an answer of any route."""
        self._requests.count(route, str(status))
        self._by_route[route] += 1
        if status >= 500:
            self._failures += 1
        elif status >= 400:
            self._refused += 1

    def candidate_rows(
        self, candidates: int, rows: Mapping[str, CandidateRows], lookups: Sequence[RowLookup]
    ) -> None:
        """Count the candidates of a request that have a row in each table, and the others.

        Of compound entities also those of which a part of the id is not known.
        """
        unkeyed = {lookup.table: len(lookup.unkeyed) for lookup in lookups}
        for table, of_table in rows.items():
            missing = len(of_table.missing)
            self._candidate_rows.count(table, "found", by=candidates - missing)
            self._candidate_rows.count(table, "missing", by=missing - unkeyed[table])
            if unkeyed[table]:
                self._candidate_rows.count(table, "unkeyed", by=unkeyed[table])

    def assigned(self, arms: Mapping[str, str]) -> None:
        """Count a request for the arms that answer it, which are by experiment."""
        for arm in arms.items():
            self._arms.count(*arm)
            self._by_arm[arm] += 1

    def explored(self, drawn: int, others: int) -> None:
        """Count the items of a list that explores, of which so many are not the best ones."""
        self._drawn.count("greedy", by=drawn - others)
        self._drawn.count("explored", by=others)

    def skipped(self, candidates: int) -> None:
        """Count the candidates of a request that were left out because they are wrong."""
        self._skipped.inc(candidates)

    def repeatable(self, outcome: Literal["first", "repeated", "conflict", "forgotten"]) -> None:
        """Count a request with an idempotency key, or an answer that is kept no longer."""
        self._repeatable.count(outcome)

    def shown(self, logged: bool) -> None:
        """Count an impression that was queued, or lost because the queue was full."""
        self._impressions.count("logged" if logged else "lost")

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """For the status: counts since the start, and the recent latencies of scores."""
        # A list: `/metrics` has them by route and status.
        routes: list[JsonValue] = [
            {"route": route, "requests": requests}
            for route, requests in sorted(self._by_route.items())
        ]
        return {
            "errors": self._failures,
            "refused": self._refused,
            "routes": routes,
            **self._scores.status(monotonic),
        }

    def recommendations(self, monotonic: float) -> dict[str, JsonValue]:
        """The count of requests for recommendations, and their recent latencies."""
        return self._recommendations.status(monotonic)

    def experiments(self, declared: Sequence[Experiment]) -> list[JsonValue]:
        """Each arm of `declared`, with what it is pinned to and the requests that it answered.

        A list: no metric for each of the names.
        """
        return [
            {
                "experiment": experiment.name,
                "arm": arm.name,
                "share": arm.share,
                "pinned": arm.pinned,
                "requests": self._by_arm[experiment.name, arm.name],
            }
            for experiment in declared
            for arm in experiment.arms
        ]

    def expose(self) -> bytes:
        """These metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _count(self, candidates: int, features: FeatureInfo) -> None:
        self._candidates.inc(candidates)
        self._features.count(features.source)
        if features.age_ms is not None:
            self._feature_age.observe(features.age_ms / 1000.0)

    def _latencies(self, name: str, answer: str) -> _Latencies:
        text = f"Seconds from a decoded request to its {answer}, waits for weights included"
        return _Latencies(f"freshrank_{name}_seconds", text, self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"freshrank_{name}", text, registry=self.registry)

    def _labelled(self, name: str, text: str, labels: tuple[str, ...]) -> _Labelled:
        return _Labelled(Counter(f"freshrank_{name}", text, list(labels), registry=self.registry))


class _Latencies:
    """The latencies of one kind of request: all for Prometheus, the recent ones for the status."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._all = Histogram(name, text, buckets=LATENCY_BUCKETS, registry=registry)
        self._recent = RecentLatencies()
        self._requests = 0

    def add(self, begun: float, ended: float) -> None:
        """Count a request; both are monotonic seconds."""
        self._all.observe(ended - begun)
        self._requests += 1
        self._recent.add_one((ended - begun) * 1000.0, ended)

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        return {"requests": self._requests, "latency": self._recent.at(monotonic).to_json()}


class _Labelled:
    """A counter with labels; its children are kept, because looking them up costs most."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._children: dict[tuple[str, ...], Counter] = {}

    def count(self, *labels: str, by: int = 1) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._counter.labels(*labels)
        child.inc(by)
