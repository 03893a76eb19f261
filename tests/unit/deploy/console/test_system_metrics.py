"""What the terminal shows of events and requests, from what the parts post."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console, RenderableType

from freshrank.actors.metrics.latency_histogram import LatencyHistogram
from freshrank.actors.protocols import Status
from freshrank.deploy.console.status_table import status_line, status_table, summary_table
from freshrank.deploy.console.system_metrics import Compared, MetricsReader, Requests
from freshrank.serve.api.responses import FeatureInfo
from freshrank.serve.monitoring.metrics import ServeMetrics


def shards(*statuses: Status) -> dict[str, Status]:
    return {f"shard-{index}": status for index, status in enumerate(statuses)}


def test_events_of_all_shards_become_a_rate() -> None:
    reader = MetricsReader()
    assert reader.read(1.0, shards({"events": 100}, {"events": 50})).events_per_s is None
    metrics = reader.read(3.0, shards({"events": 160}, {"events": 90}))
    assert (metrics.events, metrics.events_per_s) == (250, 50.0)


def test_a_shard_that_is_starting_is_no_burst_of_events_when_it_has_started() -> None:
    reader = MetricsReader()
    reader.read(1.0, shards({"events": 1_000_000}, {"events": 10}))
    starting: Status = {"starting": True, "health": {"start": "kafka: away"}}
    assert reader.read(2.0, shards(starting, {"events": 12})).events_per_s is None
    assert reader.read(3.0, {}).events_per_s is None
    metrics = reader.read(5.0, shards({"events": 1_000_010}, {"events": 20}))
    assert metrics.events_per_s == 5.0


def test_what_the_shards_of_items_reject_is_shown_and_their_events_count_once() -> None:
    users, items = (
        {"events": 7, "dead": 1, "lag_total": 2},
        {"events": 7, "dead": 3, "lag_total": 4},
    )
    metrics = MetricsReader().read(1.0, {"shard-0": users, "entity-item-0": items})
    assert (metrics.events, metrics.rejected, metrics.lag) == (7, 4, 6)


def replica(scores: int, failures: int = 0, took_s: float = 0.004) -> Status:
    metrics, features = ServeMetrics(), FeatureInfo("online", None, None, None)
    for _ in range(scores):
        metrics.scored(0.0, took_s, 10, features)
    for _ in range(failures):
        metrics.answered("/v1/score", 500)
    return metrics.status(1.0)


def test_scores_that_clients_ask_for_are_shown_from_what_the_replicas_count() -> None:
    reader = MetricsReader()
    reader.read(1.0, {"replica": replica(10), "replica-1f": replica(20)})
    metrics = reader.read(3.0, {"replica": replica(30), "replica-1f": replica(40, failures=2)})
    assert (metrics.requests, metrics.requests_per_s, metrics.request_errors) == (70, 20.0, 2)
    assert metrics.scores.p50_ms == pytest.approx(4.0, rel=0.05)
    assert metrics.scores.p99_ms == pytest.approx(4.0, rel=0.05)


def test_requests_are_counted_by_route_whoever_else_counts_scores() -> None:
    metrics = ServeMetrics()
    for route in ["/v1/recommend", "/v1/similar", "/v1/recommend"]:
        metrics.answered(route, 200)
    metrics.answered("/v1/recommend", 422)
    other = ServeMetrics()
    other.answered("/v1/similar", 200)
    statuses = {"replica": metrics.status(1.0), "replica-1f": other.status(1.0)}
    found = MetricsReader().read(1.0, statuses, Requests(9, 0, LatencyHistogram()))
    counted = {"/v1/recommend": 3, "/v1/similar": 2}
    assert (found.by_route, found.summary()["requests_by_route"]) == (counted, counted)
    assert found.summary()["score_requests"] == 9
    assert "requests" not in found.summary(), "no name of some requests that reads as if of all"
    shown = printed(summary_table(found))
    assert "/v1/recommend 3" in shown and "/v1/similar 2" in shown
    assert MetricsReader().read(1.0, {}).by_route == {}


def test_refused_requests_and_failed_ones_are_counted_apart() -> None:
    served = ServeMetrics()
    for status in (200, 404, 422, 503):
        served.answered("/v1/score", status)
    served.answered("/v1/status", 200)
    found = MetricsReader().read(1.0, {"replica": served.status(1.0)})
    summary = found.summary()
    assert (summary["request_errors"], summary["requests_refused"]) == (1, 2)
    assert "1 errors, 2 refused" in printed(status_table("shop", found))
    assert found.asked == 4


def test_what_a_driver_of_traffic_saw_goes_before_what_the_replicas_count() -> None:
    latency = LatencyHistogram()
    latency.add(np.array([9.0]))
    metrics = MetricsReader().read(1.0, {"replica": replica(10)}, Requests(3, 1, latency))
    assert (metrics.requests, metrics.request_errors) == (3, 1)


def test_before_a_replica_has_answered_nothing_is_known_of_requests() -> None:
    metrics = MetricsReader().read(1.0, {"learner": {"examples": 1}})
    assert (metrics.requests, metrics.requests_per_s, metrics.scores.p50_ms) == (None, None, None)


def learner(**quality: float | str) -> dict[str, Status]:
    return {"learner": {"examples": 9, "compared": 5, **quality}}


def printed(renderable: RenderableType) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_quality_of_labels_is_their_auc() -> None:
    metrics = MetricsReader().read(1.0, learner(auc_live=0.75, auc_frozen=0.5))
    assert (metrics.measure, metrics.quality) == ("auc", Compared(0.75, 0.5, 5))
    assert metrics.summary()["auc_live"] == 0.75
    (line,) = [one for one in printed(status_table("x", metrics)).splitlines() if "AUC" in one]
    assert line.split() == ["AUC", "live", "0.750", "frozen", "0.500", "+0.250"]
    assert "9 examples learned, 5 since frozen" in printed(status_table("x", metrics))
    assert metrics.summary()["compared_since_frozen"] == 5
    assert status_line(metrics).endswith("auc live 0.750 frozen 0.500 of 5 examples")


def test_the_quality_of_numbers_is_their_error_of_which_less_is_better() -> None:
    posted = learner(
        measure="mean_absolute_error",
        objective="quantile_loss",
        mean_absolute_error_live=1.5,
        mean_absolute_error_frozen=2.0,
        quantile_loss_live=0.5,
    )
    metrics = MetricsReader().read(1.0, posted)
    assert metrics.quality == Compared(1.5, 2.0, 5)
    summary = metrics.summary()
    assert (summary["mean_absolute_error_live"], summary["quantile_loss_live"]) == (1.5, 0.5)
    assert "auc_live" not in summary
    shown = printed(status_table("x", metrics))
    assert "AUC" not in shown
    (line,) = [one for one in shown.splitlines() if "mean absolute error" in one]
    assert line.split()[3:] == ["live", "1.500", "frozen", "2.000", "+0.500"]
    assert status_line(metrics).endswith(
        "mean absolute error live 1.500 frozen 2.000 of 5 examples"
    )
