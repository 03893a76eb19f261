"""The same parts in one process, in lock-step, with any clock: for simulation and for replay.

All work is done in `step`, and nothing depends on real time: the same records give the same
features, weights and metrics, bit for bit, with any crashes in between (`lock_step`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Protocol

import msgspec

from freshrank.actors.alerts import Alerts
from freshrank.actors.clock import Clock
from freshrank.actors.connectors import Connectors
from freshrank.actors.kernels.partitioner import assign
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.parameters.source import ParameterSource
from freshrank.actors.protocols import GradientSink, JsonValue
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring import assembly
from freshrank.deploy.wiring.carried_learner import CarriedLearner
from freshrank.deploy.wiring.lock_step import BATCH_EVENTS, BatchSource, DeterministicBatches
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import (
    MemorySnapshots,
    MemoryStatusRegistry,
    MemoryStore,
)
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor, inline
from freshrank.learner.core import Learner
from freshrank.serve.api.responses import ScoreAnswer
from freshrank.serve.scoring.service import ScoringService


@dataclass
class World:
    """What survives a crash of all our processes: the log, the online store, the disk."""

    log: MemoryLog
    clock: Clock
    store: MemoryStore = field(default_factory=MemoryStore)
    snapshots: SnapshotStore = field(default_factory=MemorySnapshots)
    """Of the shards."""
    checkpoints: SnapshotStore = field(default_factory=MemorySnapshots)
    """Of the learner."""
    entity_snapshots: Callable[[str], SnapshotStore] = field(
        default_factory=lambda: cache(lambda folder: MemorySnapshots())
    )
    """By folder: those of entities that candidates name."""


class LearnerHandle(GradientSink, ParameterSource, Protocol):
    """The learner, as shards and replicas hold it."""


class LocalParts:
    """Builds parts over a `World`; a part is built again for each start after a crash."""

    def __init__(self, pipeline: Pipeline, settings: Settings, world: World) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.world = world
        self.sink = MemorySink(world.log, world.clock, pipeline.partitioners)
        self.status_registry = MemoryStatusRegistry(world.clock)

    def learner(self) -> tuple[Learner, LearnerActor]:
        """Build the core and the actor around it, not started."""
        core = assembly.learner(self.pipeline, self.settings.learner)
        world = self.world
        actor = LearnerActor(core, world.clock, world.checkpoints, offload=inline)
        return core, actor

    def shard(
        self, index: int, learner: LearnerHandle, source: MemorySource
    ) -> tuple[Shard, Follower]:
        """Build a shard and the follower of its weights, not started."""
        world, settings, name = self.world, self.settings.shards, f"shard-{index}"
        alerts = Alerts(name, world.clock)
        training, follower = assembly.training(self.pipeline, learner, learner, world.clock, alerts)
        assert follower is not None  # there are parameters to follow
        shard = Shard(
            self.pipeline.spec(settings),
            ShardIdentity(name, assign(world.log.partitions, settings.count)[index]),
            ShardPorts(self._connectors(lambda: source), training, world.snapshots, alerts),
            lock_step=True,
        )
        return shard, follower

    def candidate_shards(
        self, index: int, source: Callable[[], MemorySource] | None = None
    ) -> list[Shard]:
        """Build the shards of the entities that candidates name, not started."""
        world, settings = self.world, self.settings.shards
        around = assembly.ShardSurroundings(
            index,
            settings,
            self._connectors(source or partial(MemorySource, world.log)),
            world.entity_snapshots,
            partial(Alerts, clock=world.clock),
        )
        return assembly.candidate_shards(self.pipeline, around, lock_step=True)

    def replica(self, learner: LearnerHandle) -> ScoringService:
        """Build a replica, not started."""
        connectors = self._connectors(partial(MemorySource, self.world.log))
        alerts = Alerts("replica", self.world.clock)
        return assembly.scoring_service(
            self.pipeline, self.settings.serve, learner, connectors, alerts
        )

    def _connectors(self, source: Callable[[], MemorySource]) -> Connectors:
        world = self.world
        return Connectors(
            partitions=world.log.partitions,
            source=source,
            sink=self.sink,
            store=world.store,
            status_registry=self.status_registry,
            clock=world.clock,
            close=_nothing,
            further_partitions={
                entity: world.log.partitions_of(topics[0])
                for entity, topics in self.pipeline.candidate_topics.items()
            },
        )


class LocalSystem:
    """A learner, its shards and a replica over a `World`, in lock-step.

    There are `batch_events` events of a partition between two versions of the weights. Where
    nothing is scored by requests (`serving`), no rows are kept of what candidates name, and no
    status is posted. Where the learner is `carried`, shards and replica hold it as those in other
    processes do.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        world: World,
        batch_events: int = BATCH_EVENTS,
        *,
        serving: bool = True,
        carried: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.world = world
        self._serving = serving
        self._parts = LocalParts(pipeline, in_lock_step(settings), world)
        self.sink = self._parts.sink
        """Keeps the rejected records."""
        self._batches = DeterministicBatches(world.log, pipeline.topics, batch_events)
        self._sources = [
            BatchSource(world.log, pipeline.topics) for _ in range(settings.shards.count)
        ]
        self._core, self.learner = self._parts.learner()
        held: LearnerHandle = CarriedLearner(self.learner) if carried else self.learner
        self.validation = self._core.validation
        """The quality of the learner's scores."""
        made = [
            self._parts.shard(index, held, source) for index, source in enumerate(self._sources)
        ]
        self.shards = [shard for shard, _ in made]
        self.candidate_shards = [
            shard
            for index in range(settings.shards.count)
            for shard in (self._parts.candidate_shards(index) if serving else ())
        ]
        """Of the entities that candidates name: they read whatever there is."""
        self._followers = [follower for _, follower in made]
        self.replica = self._parts.replica(held)
        self._replica_started = False

    async def start(self) -> None:
        """Load the state that the world keeps. Raises as the starts of the parts do."""
        await self.learner.start()
        await self._follow()
        for shard in (*self.shards, *self.candidate_shards):
            await shard.start()
        for shard in self.candidate_shards:
            for rekeyer in shard.rekeyers:
                await rekeyer.start()

    async def step(self) -> bool:
        """Do the next `BatchStep`, then let the shards follow the weights.

        Returns False, having done nothing, when nothing is left to do.
        """
        for shard in self.shards:
            await poll_progress(shard.states.values(), self.learner)
        step = self._batches.next_step(
            state for shard in self.shards for state in shard.states.values()
        )
        if step is None:
            return False
        for shard, source in zip(self.shards, self._sources, strict=True):
            if step.partition in shard.states:
                source.give(step)
                await shard.step(step.partition)
        await self._follow()
        return True

    async def drain(self) -> None:
        """Step until every record has been read and every example has been learned."""
        for shard in self.candidate_shards:
            for rekeyer in shard.rekeyers:
                while await rekeyer.unread():
                    await rekeyer.step()
                await rekeyer.save()
        for shard in self.candidate_shards:
            while self._unread(shard):
                await shard.step()
        while await self.step():
            pass
        if self._serving:  # its AUC is of 20,000 examples: too much work after each of many chunks
            await self._parts.status_registry.post("learner", await self.status())

    async def score(self, request: Mapping[str, JsonValue]) -> ScoreAnswer:
        """Answer POST /v1/score with the newest weights. Raises RequestError."""
        if not self._replica_started:
            self.replica.start()
            self._replica_started = True
        newest = {"min_version": self.newest}
        return await self.replica.score(msgspec.json.encode({**request, **newest}))

    @property
    def newest(self) -> str:
        """The version of the learner's newest weights, as a request's `min_version` takes it."""
        return str(self._core.version)

    async def freeze(self) -> None:
        """Make the reference copy of the present weights."""
        await self.learner.freeze_reference()
        for shard in self.shards:
            shard.freeze_reference()

    async def stop(self) -> None:
        """Push, write the state and stop, as after SIGTERM; without it the system has crashed."""
        if self._replica_started:
            await self.replica.stop()
        for shard in (*self.shards, *self.candidate_shards):
            await shard.stop()
        await self.learner.stop()

    async def status(self) -> Mapping[str, JsonValue]:
        """Return the learner's metrics."""
        return await self.learner.status()

    def _unread(self, shard: Shard) -> bool:
        """Whether `shard` has not read all of its topics."""
        log = self.world.log
        return any(
            log.end(topic, partition) > state.offsets[topic]
            for partition, state in shard.states.items()
            for topic in state.spec.topics
        )

    async def _follow(self) -> None:
        for follower in self._followers:
            await follower.step(timeout_s=0.0)


def in_lock_step(settings: Settings) -> Settings:
    """`settings` where each span is a step, and only the very newest weights will do for it."""
    eager = {"batch_examples": 1, "max_staleness_steps": 0}
    return settings.model_copy(update={"learner": settings.learner.model_copy(update=eager)})


async def poll_progress(states: Iterable[PartitionState], learner: GradientSink) -> None:
    """Acknowledge what the learner has applied: it may have gone back. Raises ProgressError."""
    for state in states:
        if not state.replaying:
            state.example_queue.acknowledge(await learner.progress(state.partition))


async def _nothing() -> None:
    """Memory needs no closing."""
