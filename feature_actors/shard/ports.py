"""The collaborators of a feature shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freshrank.actors.alerts import AlertSink
from freshrank.actors.connectors import Connectors
from freshrank.actors.messages import Floats, Inputs
from freshrank.actors.parameters.source import Weights
from freshrank.actors.protocols import Differentiator, GradientSink
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.reading.rekeyer import Rekeyer


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """The name of a shard, and its partitions."""

    name: str
    partitions: Sequence[int]
    """Those that it owns."""
    process_id: int | None = None
    """For the status."""


@dataclass(frozen=True, slots=True)
class Training:
    """The learner, and how gradients for it are computed in the shard."""

    learner: GradientSink
    differentiator: Differentiator | None = None
    """None: the learner is sent examples, and computes the gradients itself."""
    weights: Weights | None = None
    """Those of the differentiator, which a follower keeps up to date."""
    predict: Callable[[Inputs], Floats] | None = None
    """Scores examples by these weights; None where there are none, or the score is no number."""


@dataclass(frozen=True, slots=True)
class ShardPorts:
    """The connections of a shard: source and sinks, learner, snapshots, alerts."""

    connectors: Connectors
    training: Training | None
    """None: nothing is learned."""
    snapshots: SnapshotStore
    alerts: AlertSink | None = None
    """None: alerts go to the log only."""
    rekeyers: Sequence[Rekeyer] = ()
    """Copy the topics whose records may lie in any partition, beside the shard."""
