from __future__ import annotations

import json
import logging

import pytest
from fake_clock import FakeClock

from freshrank.actors.alerts import MOST_AT_ONCE, NAMED, AlertKind, Alerts, Severity
from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.serve.monitoring.posted_metrics import expose

TOPIC = "shop.alerts"


def tell(alerts: Alerts, kind: AlertKind = AlertKind.GUARD_TRIPPED) -> None:
    alerts.emit(kind, Severity.WARNING, "a row is not finite", {"partition": 3})


def records(log: MemoryLog) -> list[dict[str, object]]:
    found = []
    for partition in range(log.partitions):
        found += [json.loads(one or b"") for one in log.read(TOPIC, partition, 0, 100).values]
    return found


def test_an_alert_is_logged_counted_and_written_as_json(caplog: pytest.LogCaptureFixture) -> None:
    clock, log = FakeClock(1_000_000), MemoryLog(2)
    alerts = Alerts("learner", clock, MemorySink(log, clock), TOPIC)
    with caplog.at_level(logging.WARNING):
        tell(alerts)
    assert caplog.messages == ["learner: guard_tripped: a row is not finite"]
    assert records(log) == [
        {
            "kind": "guard_tripped",
            "severity": "warning",
            "part": "learner",
            "message": "a row is not finite",
            "at_ms": 1_000_000,
            "details": {"partition": 3},
        }
    ]
    named = {name: value for name, value in records(log)[0].items() if name != "details"}
    assert alerts.status() == {
        "by_kind": {"guard_tripped": 1}, "held_back": 0, "lost": 0, "newest": [named],
    }  # fmt: skip


def test_the_status_names_all_that_a_minute_can_tell_in_short() -> None:
    alerts = Alerts("learner", FakeClock(1_000_000))
    for kind in AlertKind:
        for number in range(MOST_AT_ONCE + 3):
            alerts.emit(kind, Severity.WARNING, f"{number} " + "long " * 1_000)
    newest = alerts.status()["newest"]
    assert isinstance(newest, list)
    assert len(newest) == NAMED == MOST_AT_ONCE * len(AlertKind)
    assert max(len(json.dumps(one)) for one in newest) < 700


def test_a_trouble_that_comes_with_every_batch_is_counted_and_told_now_and_then() -> None:
    clock, log = FakeClock(1_000_000), MemoryLog(1)
    alerts = Alerts("learner", clock, MemorySink(log, clock), TOPIC)
    for _ in range(MOST_AT_ONCE + 5):
        tell(alerts)
    tell(alerts, AlertKind.REGIME_ACCEPTED)
    assert len(records(log)) == MOST_AT_ONCE + 1, "another kind has a bound of its own"
    assert alerts.status()["held_back"] == 5
    clock.ms += 60_001
    tell(alerts)
    assert len(records(log)) == MOST_AT_ONCE + 2
    assert alerts.status()["by_kind"] == {"guard_tripped": MOST_AT_ONCE + 6, "regime_accepted": 1}


class Away(MemorySink):
    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        raise Unavailable("kafka", "10000 records wait for the broker")


def test_a_broker_that_is_away_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(1_000_000)
    alerts = Alerts("learner", clock, Away(MemoryLog(1), clock), TOPIC)
    tell(alerts)
    assert alerts.status()["lost"] == 1
    assert len(caplog.records) == 1, "the log has it all the same"


def test_without_a_sink_the_log_and_the_counter_remain(caplog: pytest.LogCaptureFixture) -> None:
    alerts = Alerts("learner", FakeClock(1_000_000))
    tell(alerts)
    assert alerts.status()["lost"] == 0
    assert len(caplog.records) == 1


def test_the_counter_of_each_kind_is_a_metric() -> None:
    alerts = Alerts("learner", FakeClock(1_000_000))
    tell(alerts)
    tell(alerts)
    exposed = expose({"learner": {"alerts": alerts.status()}}).decode()
    assert 'freshrank_part_alerts_by_kind_guard_tripped{part="learner"} 2.0' in exposed
    assert "# TYPE freshrank_part_alerts_by_kind_guard_tripped counter" in exposed
