"""What a system as a whole is doing, out of what its parts report of themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshrank.actors.latency_histogram import LatencyHistogram
from freshrank.actors.protocols import JsonValue, Status

# Seconds over which a rate is shown: steady enough to read, quick enough to show a stall.
RATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Requests:
    """What a driver of traffic saw of the endpoint, or what the replicas say of themselves."""

    count: int
    errors: int
    latency: LatencyHistogram


@dataclass(frozen=True, slots=True)
class Figures:
    """One moment of a running system. None: not known (yet)."""

    elapsed_s: float
    events: int
    events_per_s: float | None
    lag: int | None
    """Records of all source topics that no shard has read."""
    late: int
    rejected: int
    feature_p50_ms: float | None
    """From an event's record to its row in the online store."""
    feature_p99_ms: float | None
    weights_p50_ms: float | None
    """From the event that completed an example to the published step that learned it."""
    weights_p99_ms: float | None
    version: str | None
    versions: int
    """Published since the learner started."""
    model_age_ms: float | None
    """Of the weights that a replica answers with."""
    examples: int
    auc_live: float | None
    """Over the examples that the frozen copy has scored too; before there is one, over all."""
    auc_frozen: float | None
    objective: str
    """What the model's loss is called: ``log_loss``."""
    loss_live: float | None
    """Its mean, as `auc_live`."""
    loss_frozen: float | None
    requests: int | None
    requests_per_s: float | None
    request_errors: int | None
    score_p50_ms: float | None
    score_p99_ms: float | None

    def summary(self) -> dict[str, JsonValue]:
        """What remains to be told when it has ended."""
        return {
            "seconds": round(self.elapsed_s, 1),
            "events": self.events,
            "examples": self.examples,
            "versions": self.versions,
            "version": self.version,
            "auc_live": self.auc_live,
            "auc_frozen": self.auc_frozen,
            f"{self.objective}_live": self.loss_live,
            f"{self.objective}_frozen": self.loss_frozen,
            "feature_p50_ms": self.feature_p50_ms,
            "feature_p99_ms": self.feature_p99_ms,
            "weights_p50_ms": self.weights_p50_ms,
            "weights_p99_ms": self.weights_p99_ms,
            "late": self.late,
            "rejected": self.rejected,
            "requests": self.requests,
            "request_errors": self.request_errors,
            "score_p50_ms": self.score_p50_ms,
            "score_p99_ms": self.score_p99_ms,
        }


class Gauge:
    """Turns the statuses of the parts into `Figures`, and counts into rates."""

    def __init__(self) -> None:
        self._events = _Rate()
        self._requests = _Rate()

    def read(
        self,
        elapsed_s: float,
        statuses: Mapping[str, Status],
        requests: Requests | None = None,
    ) -> Figures:
        """The figures at `elapsed_s` seconds after the start.

        Without `requests` of a driver, those are told that the replicas have answered.
        """
        shards = [status for part, status in statuses.items() if part.startswith("shard")]
        learner = statuses.get("learner", {})
        model = _inner(statuses.get("replica", {}), "model")
        features = _merged([_inner(shard, "freshness") for shard in shards])
        weights = _merged([_inner(learner, "freshness")])
        events = _total(shards, "events")
        all_tell = bool(shards) and all("events" in one for one in shards)  # none is starting
        requests = requests or _answered(statuses)
        compared = (_number(learner, "compared") or 0) > 0
        objective = _text(learner, "objective") or "log_loss"
        return Figures(
            elapsed_s=elapsed_s,
            events=events,
            events_per_s=self._events.at(elapsed_s, events) if all_tell else None,
            lag=_total(shards, "lag_total") if shards else None,
            late=_total(shards, "late"),
            rejected=_total(shards, "dead"),
            feature_p50_ms=_quantile(features, 0.5),
            feature_p99_ms=_quantile(features, 0.99),
            weights_p50_ms=_quantile(weights, 0.5),
            weights_p99_ms=_quantile(weights, 0.99),
            version=_text(model, "version") or _text(learner, "version"),
            versions=int(_number(learner, "steps") or 0),
            model_age_ms=_number(model, "age_ms"),
            examples=int(_number(learner, "examples") or 0),
            auc_live=_number(learner, "auc_live" if compared else "auc"),
            auc_frozen=_number(learner, "auc_frozen"),
            objective=objective,
            loss_live=_number(learner, f"{objective}_live" if compared else objective),
            loss_frozen=_number(learner, f"{objective}_frozen"),
            requests=requests.count if requests else None,
            requests_per_s=self._requests.at(elapsed_s, requests.count) if requests else None,
            request_errors=requests.errors if requests else None,
            score_p50_ms=_quantile(requests.latency, 0.5) if requests else None,
            score_p99_ms=_quantile(requests.latency, 0.99) if requests else None,
        )


class _Rate:
    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, seconds: float, count: int) -> float | None:
        """Per second, over the last `RATE_S`."""
        self._seen.append((seconds, count))
        while len(self._seen) > 2 and self._seen[1][0] <= seconds - RATE_S:
            self._seen.popleft()
        began, before = self._seen[0]
        # A part that was restarted may count from its last snapshot again.
        return max(0.0, (count - before) / (seconds - began)) if seconds > began else None


def _answered(statuses: Mapping[str, Status]) -> Requests | None:
    """What the replicas count; one that was started again counts anew."""
    replicas = [status for part, status in statuses.items() if part.startswith("replica")]
    if not replicas:
        return None
    return Requests(
        _total(replicas, "requests"),
        _total(replicas, "errors"),
        _merged([_inner(one, "latency") for one in replicas]),
    )


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
    for one in histograms:
        if one:
            merged.merge(LatencyHistogram.from_json(one))
    return merged


def _quantile(histogram: LatencyHistogram, share: float) -> float | None:
    return histogram.quantile(share) if histogram.count else None
