"""What the terminal shows of events, from what the shards post."""

from __future__ import annotations

from freshrank.actors.protocols import Status
from freshrank.deploy.figures import Gauge


def shards(*statuses: Status) -> dict[str, Status]:
    return {f"shard-{index}": status for index, status in enumerate(statuses)}


def test_events_of_all_shards_become_a_rate() -> None:
    gauge = Gauge()
    assert gauge.read(1.0, shards({"events": 100}, {"events": 50})).events_per_s is None
    figures = gauge.read(3.0, shards({"events": 160}, {"events": 90}))
    assert (figures.events, figures.events_per_s) == (250, 50.0)


def test_a_shard_that_is_starting_is_no_burst_of_events_when_it_has_started() -> None:
    gauge = Gauge()
    gauge.read(1.0, shards({"events": 1_000_000}, {"events": 10}))
    starting: Status = {"starting": True, "health": {"start": "kafka: away"}}
    assert gauge.read(2.0, shards(starting, {"events": 12})).events_per_s is None
    assert gauge.read(3.0, {}).events_per_s is None
    figures = gauge.read(5.0, shards({"events": 1_000_010}, {"events": 20}))
    assert figures.events_per_s == 5.0
