"""The states of a shard, and the events that change them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class ShardState(Enum):
    """The states of a shard."""

    NEW = "new"
    STARTING = "starting"
    """It waits for the learner or the broker, or restores its partitions."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It takes no new records, gives away what it has taken, and writes snapshots."""
    STOPPED = "stopped"
    FAILED = "failed"
    """An error ended it: its snapshots stay as they are."""


class ShardEvent(Enum):
    """The events that change the state of a shard."""

    START = "start"
    STARTED = "started"
    STOP = "stop"
    STOPPED = "stopped"
    FAIL = "fail"


TRANSITIONS: Mapping[ShardState, Mapping[ShardEvent, ShardState]] = {
    ShardState.NEW: {
        ShardEvent.START: ShardState.STARTING,
        ShardEvent.STOP: ShardState.STOPPING,
    },
    ShardState.STARTING: {
        ShardEvent.START: ShardState.STARTING,  # a start that failed is tried again
        ShardEvent.STARTED: ShardState.RUNNING,
        ShardEvent.STOP: ShardState.STOPPING,
        ShardEvent.FAIL: ShardState.FAILED,
    },
    ShardState.RUNNING: {
        ShardEvent.STOP: ShardState.STOPPING,
        ShardEvent.FAIL: ShardState.FAILED,
    },
    ShardState.STOPPING: {
        ShardEvent.STARTED: ShardState.STOPPING,  # a start that was under way comes to its end
        ShardEvent.STOP: ShardState.STOPPING,
        ShardEvent.STOPPED: ShardState.STOPPED,
        ShardEvent.FAIL: ShardState.FAILED,
    },
    ShardState.STOPPED: {ShardEvent.STOP: ShardState.STOPPED},
    ShardState.FAILED: {ShardEvent.STOP: ShardState.FAILED},
}
