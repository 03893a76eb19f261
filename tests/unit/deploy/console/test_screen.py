"""What a person is told of a running system, with a terminal and without."""

from __future__ import annotations

import io

import pytest
from fake_clock import FakeClock
from rich.console import Console

from freshrank.actors.alerts import MOST_AT_ONCE, AlertKind, Alerts, Severity
from freshrank.actors.protocols import JsonValue, Status
from freshrank.deploy.console.alert_lines import AlertLines
from freshrank.deploy.console.screen import Screen
from freshrank.deploy.console.system_metrics import MetricsReader, SystemMetrics


class Learner:
    """What one posts of its alerts."""

    def __init__(self) -> None:
        self._clock = FakeClock(1_000_000)
        self.alerts = Alerts("learner", self._clock)

    def trips(self, why: str) -> None:
        self._clock.ms += 1
        self.alerts.emit(AlertKind.GUARD_TRIPPED, Severity.WARNING, why)

    def statuses(self) -> dict[str, Status]:
        return {"learner": {"alerts": self.alerts.status()}, "shard-0": {"starting": True}}


def test_each_alert_is_shown_once_whatever_is_posted_in_between() -> None:
    learner, lines = Learner(), AlertLines()
    assert lines.new(learner.statuses()) == []
    learner.trips("one")
    learner.trips("two")
    assert lines.new(learner.statuses()) == [
        "alert of learner: guard tripped: one",
        "alert of learner: guard tripped: two",
    ]
    assert lines.new({}) == [], "the endpoint did not answer"
    learner.trips("three")
    assert lines.new(learner.statuses()) == ["alert of learner: guard tripped: three"]
    assert lines.new(Learner().statuses()) == [], "another has taken over"


def test_no_alert_of_a_burst_between_two_reads_is_lost() -> None:
    learner, lines = Learner(), AlertLines()
    for number in range(MOST_AT_ONCE):
        learner.trips(str(number))
    assert len(lines.new(learner.statuses())) == MOST_AT_ONCE


def test_an_alert_that_two_replicas_post_is_shown_once() -> None:
    learner, lines = Learner(), AlertLines()
    learner.trips("one")
    status: Status = {"alerts": learner.alerts.status()}
    assert len(lines.new({"replica": status, "replica-1f": status})) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_warning_is_a_line_of_its_own_above_the_table(terminal: bool) -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written, force_terminal=terminal, width=60, no_color=True))
    metrics = MetricsReader().read(1.0, {})
    with screen.table():
        screen.show("shop", metrics)
        screen.warn("alert of learner: guard tripped: [red] " + "long " * 20)
        screen.show("shop", metrics)
    line = next(one for one in written.getvalue().splitlines() if "guard tripped" in one)
    assert "[red] long" in line
    assert "events" not in line


def test_a_log_of_a_run_in_which_nothing_happens_has_a_line_a_minute() -> None:
    def read(elapsed_s: float, events: int, requests: int) -> SystemMetrics:
        routes: list[JsonValue] = [
            {"route": "/v1/score", "requests": requests},
            {"route": "/readyz", "requests": int(elapsed_s)},
        ]
        statuses: dict[str, Status] = {
            "shard-0": {"events": events},
            "replica": {"routes": routes},
        }
        return MetricsReader().read(elapsed_s, statuses)

    written = io.StringIO()
    screen = Screen(Console(file=written, force_terminal=False, width=200))
    for elapsed_s in range(0, 200):
        screen.show("shop", read(elapsed_s, 7 if elapsed_s >= 90 else 3, int(elapsed_s >= 100)))
    shown = [line.split()[0] for line in written.getvalue().splitlines()]
    assert shown == ["0:00", "1:00", "1:30", "1:40", "2:40"]
