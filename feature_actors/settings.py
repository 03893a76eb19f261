"""The settings of the shards. Light to import: the command line reads them without NumPy."""

from __future__ import annotations

from pydantic import Field

from freshrank.actors.settings import Section

# Rows of the online store expire after so many sweeps (an hour by default): they outlast a shard
# that is away for a while, and those of definitions and states that no longer are go by themselves.
EXPIRY_SWEEPS = 60


class ShardSettings(Section):
    """The actors that turn events into features, and examples into gradients."""

    count: int = Field(default=1, ge=1)
    """One keeps up with 100,000 events/s on one core; more need more cores."""
    max_entities_per_partition: int = Field(default=225_000, ge=1)
    """Beyond it, the entities of a table that were without events for longest are dropped. Bounds
    the memory: times `bytes_per_entity` of the plan, times the partitions."""
    max_event_ids_per_partition: int = Field(default=500_000, ge=1)
    """Remembered to tell an event that is sent twice: those of the last ten minutes at 800 events/s
    a partition, 55 MB. Beyond it the oldest are forgotten before the stream's `dedup_within` has
    passed, and counted (`ids_forgotten`)."""
    poll_max_records: int = Field(default=4096, ge=1)
    """Records of a batch. Rows go out and answers come in between two batches, some 40 ms apart."""
    poll_timeout_ms: int = Field(default=50, ge=1)
    """How long an idle shard waits for records before it turns to its other tasks."""
    snapshot_interval_s: float = Field(default=10.0, gt=0)
    """A crash replays at most this much of the stream."""
    sweep_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds in which a shard looks for each of its rows in Redis, and puts back those that are
    missing. A row that no shard has looked for in `EXPIRY_SWEEPS` such times expires."""
    outbox_max_examples: int = Field(default=200_000, ge=1)
    """Examples of a partition that wait for a durable checkpoint; beyond it its events are not
    read."""
    push_timeout_s: float = Field(default=5.0, gt=0)
    """After that a push counts as lost and is repeated."""
