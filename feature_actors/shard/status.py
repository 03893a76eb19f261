"""The status of a shard: readiness, totals and metrics per partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import to_builtins

from freshrank.actors.protocols import JsonValue, Status
from freshrank.feature_actors.labels.unjoined import Unjoined
from freshrank.feature_actors.partition.outcome import TopicCounts
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.reading.backlog import Backlog, Lag
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.views.plan import FeaturePlan

# Window of a rate, in seconds.
RATE_S = 5.0


def not_ready(
    inputs: Mapping[str, JsonValue], outputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Of what is wrong with inputs and outputs: what keeps new events from the online features.

    >>> not_ready({"plays-3": "5 record(s) wait"}, {"learner": "no answer"})
    {'plays-3': '5 record(s) wait'}
    """
    return {**inputs, **{name: why for name, why in outputs.items() if name == "online store"}}


def unread_rows(plan: FeaturePlan, backlog: Backlog) -> dict[str, JsonValue]:
    """The entry of a shard's readiness while it reads the rows that its tables had at the start.

    Until then candidates lack rows that they have.
    """
    if not plan.latest or backlog.status() is None:
        return {}
    topics = ", ".join(latest.source.topic for latest in plan.latest)
    return {topics: f"{backlog.read} of {backlog.records} records are read"}


def totals(states: Mapping[int, PartitionState]) -> dict[str, int]:
    """Counters and sizes over all partitions."""
    found: dict[str, int] = {}
    for state in states.values():
        sizes = {
            "entities": sum(len(table) for table in state.row_tables),
            "bytes": state.nbytes,
            "outbox": state.example_queue.examples,
            "unsent": state.example_queue.unsent,
            "pending": state.pending,
            "label_events": state.joiner.labels if state.joiner else 0,
        }
        unjoined = state.joiner.unjoined if state.joiner else Unjoined()
        for name, value in {
            **to_builtins(state.counters),
            **to_builtins(unjoined),
            **sizes,
        }.items():
            found[name] = found.get(name, 0) + value
    return found


def topic_counts(states: Mapping[int, PartitionState]) -> dict[str, TopicCounts]:
    """What came of each topic of events and impressions over all partitions."""
    found: dict[str, TopicCounts] = {}
    for state in states.values():
        for topic, counts in state.topic_counts.items():
            found.setdefault(topic, TopicCounts()).add(counts)
    return found


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


def with_copies(status: Status, rekeyers: Sequence[Rekeyer]) -> Status:
    """Add to a shard's `status` the topics that are copied: what waits there waits for the shard.

    >>> with_copies({"lag_total": 3}, [])
    {'lag_total': 3}
    """
    if not rekeyers:
        return status
    errors = {name: why for one in rekeyers for name, why in one.errors().items()}
    health = {name: why for one in rekeyers for name, why in one.health().items()}
    behind = [one.backlog.status() for one in rekeyers if one.backlog.status() is not None]
    lag = status["lag_total"]
    return {
        **status,
        "health": {**_mapping(status["health"]), **health},
        "not_ready": {**_mapping(status["not_ready"]), **errors},
        "catching_up": behind[0] if behind else status["catching_up"],
        "lag_total": (lag if isinstance(lag, int) else 0) + sum(one.lag for one in rekeyers),
        "copied": sum(one.copied for one in rekeyers),
    }


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, Mapping) else {}
