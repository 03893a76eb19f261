"""The status of a shard: backlog, broker, totals and metrics per partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.partition.partition import PartitionState

# Window of a rate, in seconds.
RATE_S = 5.0
# Seconds without an answer after which a broker counts as away, as it does for every other call.
AWAY_S = 10.0

Lag = Mapping[tuple[str, int], int]


@dataclass(slots=True)
class Backlog:
    """The records that were unread when a shard started, and how many of them it has read."""

    records: int = 0
    """Unread at the start; 0 once they are read."""
    read: int = 0
    """Read since the start."""

    def update(self, lag: int) -> None:
        """Note the present `lag`. At 0 all has been read: offsets may have gaps."""
        if lag == 0:
            self.records = 0

    def status(self) -> JsonValue:
        """Records read and unread at the start; None once it has caught up."""
        return {"done": self.read, "of": self.records} if self.read < self.records else None


def broker_error(fetch_age_s: float) -> dict[str, JsonValue]:
    """The entry of the health for a broker that does not answer; empty while it answers.

    >>> broker_error(0.02), broker_error(12.3)
    ({}, {'kafka': 'no fetch has been answered for 12 s'})
    """
    if fetch_age_s <= AWAY_S:
        return {}
    return {"kafka": f"no fetch has been answered for {fetch_age_s:.0f} s"}


def not_ready(
    inputs: Mapping[str, JsonValue], outputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Of what is wrong with inputs and outputs: what keeps new events from the online features.

    >>> not_ready({"plays-3": "5 record(s) wait"}, {"learner": "no answer"})
    {'plays-3': '5 record(s) wait'}
    """
    return {**inputs, **{name: why for name, why in outputs.items() if name == "online store"}}


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
