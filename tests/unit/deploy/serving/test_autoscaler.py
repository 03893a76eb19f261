"""What Serve's controller is told, and what the autoscaler tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fake_clock import FakeClock

from freshrank.deploy.serving.autoscaler import Autoscaling, autoscaler_arguments
from freshrank.serve.autoscaling.policy import ScalingBounds
from freshrank.serve.monitoring.posted_metrics import POSTED, expose
from freshrank.serve.settings import ServeSettings

BOUNDS = ScalingBounds(least=1, most=2, ongoing=10.0, p99_ms=50.0, down_after_s=60.0)


@dataclass
class View:
    """What Serve shows of a deployment."""

    target_num_replicas: int = 1
    current_num_replicas: int = 1
    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None = field(default_factory=dict)


def seen(ongoing: float, p99_ms: float | None = None) -> Mapping[str, Mapping[Any, float]]:
    slow = {} if p99_ms is None else {"p99_ms": {"a": p99_ms}}
    return {"running_requests": {"a": 0.0}, "ongoing_requests": {"a": ongoing}, **slow}


def decided(scaling: Autoscaling, clock: FakeClock, view: View, seconds: int) -> int:
    for _ in range(seconds):
        clock.advance(1.0)
        view.target_num_replicas = scaling.decide(view)
    return view.target_num_replicas


def test_the_reports_of_replicas_decide_and_the_change_is_told_with_its_reason() -> None:
    clock = FakeClock(1_000)
    scaling = Autoscaling(BOUNDS, clock)
    assert decided(scaling, clock, View(aggregated_metrics=seen(18.0, 7.0)), 5) == 2
    status = scaling.status()
    assert status["replicas"] == {"wanted": 2, "running": 1, "needed": 2, "least": 1, "most": 2}
    assert status["load"] == {"ongoing": 18.0, "p99_ms": 7.0}
    reason = "18.0 ongoing requests of 1 replica(s), more than 10 each"
    assert status["changes"] == [{"at_ms": 5_000, "from": 1, "to": 2, "reason": reason}]


def test_a_deployment_that_has_reported_nothing_stays_as_it_is() -> None:
    clock = FakeClock()
    for metrics in (None, {}, {"running_requests": {"a": 900.0}}):
        scaling = Autoscaling(BOUNDS, clock)
        view = View(2, 2, metrics)
        assert decided(scaling, clock, view, 600) == 2
        assert scaling.status()["changes"] == []


def test_too_few_replicas_for_a_minute_are_told_until_they_do_again() -> None:
    clock = FakeClock()
    scaling = Autoscaling(BOUNDS, clock)
    full = View(2, 2, seen(90.0))

    def told() -> Any:
        return scaling.status()["overloaded"]

    decided(scaling, clock, full, 59)
    assert told() is None
    decided(scaling, clock, full, 300)
    assert "9 replicas would do, and there may be 2" in told()
    full.aggregated_metrics = seen(15.0)
    decided(scaling, clock, full, 1)
    assert told() is None
    full.aggregated_metrics = seen(90.0)
    decided(scaling, clock, full, 59)
    assert told() is None
    decided(scaling, clock, full, 11)
    assert "9 replicas would do" in told()


def test_each_number_of_the_status_is_a_described_metric() -> None:
    clock = FakeClock()
    scaling = Autoscaling(BOUNDS, clock)
    decided(scaling, clock, View(aggregated_metrics=seen(18.0, 7.0)), 5)
    text = expose({"autoscaler": scaling.status()}).decode()
    for name in POSTED:
        if name.startswith(("replicas_", "load_")):
            assert f'freshrank_part_{name}{{part="autoscaler"}}' in text
    assert "untyped" not in text


def test_the_arguments_that_serve_keeps_are_plain_json() -> None:
    settings = ServeSettings(replicas=2, max_replicas=5)
    arguments = autoscaler_arguments(settings, "statuses", "freshrank-shop")
    assert json.loads(json.dumps(arguments)) == arguments
    assert ScalingBounds(**arguments["bounds"]) == ScalingBounds(2, 5, 16.0, 50.0, 300.0)
