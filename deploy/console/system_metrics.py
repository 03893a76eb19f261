"""The metrics of a system as a whole, computed from the statuses that its parts post."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshrank.actors.metrics.latency_histogram import LatencyHistogram
from freshrank.actors.metrics.rate_counter import RateCounter
from freshrank.actors.protocols import JsonValue, Status

# Seconds over which a rate is averaged: steady enough to read, short enough to show a stall.
RATE_S = 5.0


# Routes that tell how the system is.
_WATCHING = "/", "/healthz", "/readyz", "/metrics", "/v1/status", "/v1/model"


@dataclass(frozen=True, slots=True)
class Requests:
    """Score requests so far, counted by the generated traffic or by the replicas."""

    count: int
    errors: int
    latency: LatencyHistogram
    """In ms."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of a latency, in ms; None: not known (yet)."""

    p50_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, histogram: LatencyHistogram) -> Quantiles:
        """Read both out of a histogram in ms."""
        if not histogram.count:
            return cls()
        return cls(histogram.quantile(0.5), histogram.quantile(0.99))


@dataclass(frozen=True, slots=True)
class Compared:
    """A quality of the live model and of its frozen reference copy; None: not known (yet)."""

    live: float | None
    """Over the examples that the frozen copy has scored too; before it is frozen, over all."""
    frozen: float | None
    examples: int
    """Those that both have scored, since the copy was frozen. No checkpoint has the copy: another
    is frozen after each start, and the comparison begins anew."""


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """One moment of a running system. None: not known (yet)."""

    elapsed_s: float
    events: int
    events_per_s: float | None
    lag: int | None
    """Records of all source topics that no shard has read."""
    late: int
    rejected: int
    features: Quantiles
    """From an event's record to its row in the online store."""
    weights: Quantiles
    """From the event that completed an example to the published step that learned it."""
    version: str | None
    versions: int
    """Published since the learner started."""
    model_age_ms: float | None
    """Of the weights that a replica answers with."""
    examples: int
    measure: str
    """What tells the quality beside the loss: ``"auc"``, ``"accuracy"`` of classes,
    ``"mean_reciprocal_rank"`` of slates, or ``"mean_absolute_error"`` of numbers."""
    quality: Compared
    """By `measure`."""
    objective: str
    """Name of the model's loss (``"log_loss"``)."""
    loss: Compared
    by_route: Mapping[str, int]
    """Requests that the replicas answered, whatever the status of the answer."""
    requests: int | None
    """To score, and answered with scores."""
    requests_per_s: float | None
    request_errors: int | None
    """Of any route: answers with a status of 500 or more; to generated traffic, also none."""
    requests_refused: int | None
    """Of any route: answers with a status of 400 to 499."""
    scores: Quantiles
    """From a score request to its answer."""

    @property
    def asked(self) -> int:
        """The requests of clients, without those that only watch the system."""
        return sum(count for route, count in self.by_route.items() if route not in _WATCHING)

    def summary(self) -> dict[str, JsonValue]:
        """Return what is reported at the end of a run, as plain JSON."""
        return {
            "seconds": round(self.elapsed_s, 1),
            "events": self.events,
            "examples": self.examples,
            "versions": self.versions,
            "version": self.version,
            f"{self.measure}_live": self.quality.live,
            f"{self.measure}_frozen": self.quality.frozen,
            f"{self.objective}_live": self.loss.live,
            f"{self.objective}_frozen": self.loss.frozen,
            "compared_since_frozen": self.quality.examples,
            "feature_p50_ms": self.features.p50_ms,
            "feature_p99_ms": self.features.p99_ms,
            "weights_p50_ms": self.weights.p50_ms,
            "weights_p99_ms": self.weights.p99_ms,
            "late": self.late,
            "rejected": self.rejected,
            "score_requests": self.requests,
            "request_errors": self.request_errors,
            "requests_refused": self.requests_refused,
            "score_p50_ms": self.scores.p50_ms,
            "score_p99_ms": self.scores.p99_ms,
            "requests_by_route": self.by_route,
        }


class MetricsReader:
    """Computes `SystemMetrics` from statuses, and rates from counts over time."""

    def __init__(self) -> None:
        self._events = RateCounter(RATE_S)
        self._requests = RateCounter(RATE_S)

    def read(
        self,
        elapsed_s: float,
        statuses: Mapping[str, Status],
        requests: Requests | None = None,
    ) -> SystemMetrics:
        """Compute the metrics at `elapsed_s` seconds after the start.

        Without `requests` of generated traffic, those that the replicas count are shown.
        """
        shards = _parts(statuses, "shard")
        all_shards = [*shards, *_parts(statuses, "entity-")]  # of items: they read events again
        learner = statuses.get("learner", {})
        model = _inner(statuses.get("replica", {}), "model")
        events = _total(shards, "events")
        replicas = _parts(statuses, "replica")
        requests = requests or _answered(replicas)
        objective = _text(learner, "objective") or "log_loss"
        measure = _text(learner, "measure") or "auc"
        return SystemMetrics(
            elapsed_s=elapsed_s,
            events=events,
            events_per_s=_rate(self._events, events, elapsed_s) if _all_count(shards) else None,
            lag=_total(all_shards, "lag_total") if shards else None,
            late=_total(all_shards, "late"),
            rejected=_total(all_shards, "dead"),
            features=Quantiles.of(_merged([_inner(shard, "freshness") for shard in shards])),
            weights=Quantiles.of(_merged([_inner(learner, "freshness")])),
            version=_text(model, "version") or _text(learner, "version"),
            versions=int(_number(learner, "steps") or 0),
            model_age_ms=_number(model, "age_ms"),
            examples=int(_number(learner, "examples") or 0),
            measure=measure,
            quality=_compared(learner, measure),
            objective=objective,
            loss=_compared(learner, objective),
            by_route=_by_route(replicas),
            requests=requests.count if requests else None,
            requests_per_s=(_rate(self._requests, requests.count, elapsed_s) if requests else None),
            request_errors=requests.errors if requests else None,
            requests_refused=_total(replicas, "refused") if replicas else None,
            scores=Quantiles.of(requests.latency) if requests else Quantiles(),
        )


def _parts(statuses: Mapping[str, Status], prefix: str) -> list[Status]:
    return [status for part, status in statuses.items() if part.startswith(prefix)]


def _rate(counter: RateCounter, total: int, elapsed_s: float) -> float | None:
    counter.observe(total, elapsed_s)
    return counter.per_second(elapsed_s)


def _compared(learner: Status, name: str) -> Compared:
    compared = int(_number(learner, "compared") or 0)
    live = _number(learner, f"{name}_live" if compared else name)
    return Compared(live, _number(learner, f"{name}_frozen"), compared)


def _all_count(shards: Sequence[Status]) -> bool:
    """Whether none is starting: the count of the others would not be the total."""
    return bool(shards) and all("events" in shard for shard in shards)


def _answered(replicas: Sequence[Status]) -> Requests | None:
    """Sum the requests that the replicas count; a restarted replica counts from 0 again."""
    if not replicas:
        return None
    return Requests(
        _total(replicas, "requests"),
        _total(replicas, "errors"),
        _merged([_inner(replica, "latency") for replica in replicas]),
    )


def _by_route(replicas: Sequence[Status]) -> dict[str, int]:
    """Requests to each route, the most frequent first."""
    found = Counter[str]()
    for replica in replicas:
        listed = replica.get("routes")
        for one in listed if isinstance(listed, Sequence) else ():
            if isinstance(one, Mapping):
                found[str(one["route"])] += int(_number(one, "requests") or 0)
    return dict(found.most_common())


def _inner(status: Status, name: str) -> Mapping[str, JsonValue]:
    value = status.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(status: Status, name: str) -> float | None:
    value = status.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(status: Status, name: str) -> str | None:
    value = status.get(name)
    return value if isinstance(value, str) else None


def _total(statuses: Sequence[Status], name: str) -> int:
    return int(sum(_number(status, name) or 0 for status in statuses))


def _merged(histograms: Sequence[Mapping[str, JsonValue]]) -> LatencyHistogram:
    merged = LatencyHistogram()
    for histogram in histograms:
        if histogram:
            merged.merge(LatencyHistogram.from_json(histogram))
    return merged
