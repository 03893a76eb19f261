"""What a shard tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.partition.partition import PartitionState

# Seconds over which a rate is taken.
RATE_S = 5.0
# Seconds without an answer after which a broker counts as away, as it does for every other call.
AWAY_S = 10.0

Lag = Mapping[tuple[str, int], int]


@dataclass(slots=True)
class Backlog:
    """How far a shard has come with what lay in its topics when it started."""

    records: int = 0
    """That lay there."""
    read: int = 0
    """Since the start."""

    def update(self, lag: int) -> None:
        """Take the present `lag`: without one, all has been read (offsets may have gaps)."""
        if lag == 0:
            self.records = 0

    def status(self) -> JsonValue:
        """None when it has caught up."""
        return {"done": self.read, "of": self.records} if self.read < self.records else None


def broker_error(fetch_age_s: float) -> dict[str, JsonValue]:
    """What health says of a broker that does not answer; nothing while it does.

    >>> broker_error(0.02), broker_error(12.3)
    ({}, {'kafka': 'no fetch has been answered for 12 s'})
    """
    if fetch_age_s <= AWAY_S:
        return {}
    return {"kafka": f"no fetch has been answered for {fetch_age_s:.0f} s"}


def totals(states: Mapping[int, PartitionState]) -> dict[str, JsonValue]:
    """Counters and sizes over all partitions."""
    found: dict[str, int] = {}
    for state in states.values():
        sizes = {
            "entities": sum(len(table) for table in state.tables),
            "bytes": state.nbytes,
            "outbox": state.example_queue.examples,
            "unsent": state.example_queue.unsent,
            "pending": state.joiner.pending if state.joiner else 0,
            "label_events": state.joiner.labels if state.joiner else 0,
        }
        for name, value in {**asdict(state.counters), **sizes}.items():
            found[name] = found.get(name, 0) + value
    return dict(found)


def partition_metrics(states: Mapping[int, PartitionState], lag: Lag) -> dict[str, JsonValue]:
    """Offsets and lag of each partition by topic, and whether it replays what the learner has."""
    return {
        str(partition): {
            "offsets": dict(state.offsets),
            "lag": {topic: lag.get((topic, partition), 0) for topic in state.spec.topics},
            "replaying": state.replaying,
        }
        for partition, state in states.items()
    }
