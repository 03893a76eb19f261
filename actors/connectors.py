"""The connections of a process to the broker, the online store and the status registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from freshrank.actors.clock import Clock
from freshrank.actors.protocols import EventSource, OnlineStore, RecordSink, StatusRegistry


@dataclass(frozen=True, slots=True)
class Connectors:
    """The connections of a process, to real systems or to their implementations in memory."""

    partitions: int
    """The number of partitions of each topic of the request's entity."""
    source: Callable[[], EventSource]
    """Makes a reader of the broker, not started yet."""
    sink: RecordSink
    store: OnlineStore
    status_registry: StatusRegistry
    clock: Clock
    close: Callable[[], Awaitable[None]]
    """Flushes `sink` and closes all connections except those of the sources."""
    further_partitions: Mapping[str, int] = field(default_factory=dict)
    """By entity that candidates name: the number of partitions of each of its topics."""

    @property
    def claims(self) -> int:
        """The number of partitions of all entities, each of which the online store has a claim."""
        return self.partitions + sum(self.further_partitions.values())

    def of_entity(self, entity: str) -> Connectors:
        """The same connections, for the partitions of an entity that candidates name."""
        return replace(self, partitions=self.further_partitions[entity])
