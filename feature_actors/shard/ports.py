"""What a feature shard is given: how it works, and who it works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.protocols import (
    Differentiator,
    EventSource,
    GradientSink,
    OnlineStore,
    RecordSink,
    SnapshotStore,
    StatusRegistry,
    Weights,
)
from freshrank.feature_actors.partition.backpressure import Limits


@dataclass(frozen=True, slots=True)
class ShardPorts:
    """Who a shard works with."""

    source: EventSource
    sink: RecordSink
    store: OnlineStore
    learner: GradientSink | None
    """None: nothing is learned."""
    differentiator: Differentiator | None
    """Computes the gradients here; None: the learner is sent examples."""
    weights: Weights | None
    """Those that the differentiator uses; somebody else keeps them fresh."""
    snapshots: SnapshotStore
    status_registry: StatusRegistry
    clock: Clock
    alerts: AlertSink | None = None
    """None: to the log alone."""


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """How a shard works."""

    name: str = "shard-0"
    process_id: int | None = None
    """For the status: which process has the partitions at present."""
    poll_max_records: int = 4096
    """At once. Rows go out and answers come in between two batches, some 40 ms apart."""
    poll_timeout_s: float = 0.05
    snapshot_interval_s: float = 10.0
    push_timeout_s: float = 5.0
    limits: Limits = field(default_factory=Limits)
    lock_step: bool = False
    """Each step waits for its own writes, pushes and snapshots, and starts no thread: what
    happens then follows from the records alone. For simulation and replay."""
