"""The same parts in one process, in lock-step, with any clock: for simulation and for replay.

Nothing happens beside a `step`, and nothing depends on real time: the same records and the same
steps give the same features, weights and figures, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.follower import Follower
from freshrank.actors.protocols import JsonValue
from freshrank.actors.sharding import assign
from freshrank.deploy import assembly
from freshrank.deploy.pipeline import Pipeline
from freshrank.deploy.settings import Settings
from freshrank.feature_actors.memory import (
    MemoryBoard,
    MemoryLog,
    MemorySink,
    MemorySnapshots,
    MemorySource,
    MemoryStore,
)
from freshrank.feature_actors.shard import Shard
from freshrank.learner.actor import LearnerActor, inline
from freshrank.serve.answers import ScoreAnswer
from freshrank.serve.service import ScoringService


@dataclass
class World:
    """What outlives a crash of all our processes: the log, the online store, the disk."""

    log: MemoryLog
    clock: Clock
    store: MemoryStore = field(default_factory=MemoryStore)
    snapshots: MemorySnapshots = field(default_factory=MemorySnapshots)
    """Of the shards."""
    checkpoints: MemorySnapshots = field(default_factory=MemorySnapshots)
    """Of the learner."""


class LocalSystem:
    """A learner, its shards and a replica over a `World`.

    Examples become a step of the learner as they come (its batch is one example), so that
    nothing waits for time to pass, and all copies of the weights follow within the same `step`.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, world: World) -> None:
        self.pipeline = pipeline
        self.world = world
        self.sink = MemorySink(world.log, world.clock)
        """Rejected records can be looked at in it."""
        self._board = MemoryBoard(world.clock)
        eager = settings.learner.model_copy(update={"batch_examples": 1})
        core = assembly.learner(pipeline, eager)
        self.learner: LearnerActor = assembly.learner_actor(
            core, eager, world.clock, world.checkpoints, offload=inline
        )
        made = [
            self._shard(settings, index, owned)
            for index, owned in enumerate(assign(world.log.partitions, settings.shards.count))
        ]
        self.shards: list[Shard] = [shard for shard, _ in made]
        self._followers: list[Follower] = [one for _, one in made if one is not None]
        self.replica: ScoringService = self._replica(settings)
        self._replica_started = False

    async def start(self) -> None:
        """Take up what the world keeps. Raises as the parts' own starts do."""
        await self.learner.start()
        await self._follow()
        for shard in self.shards:
            await shard.start()

    async def step(self) -> None:
        """Each shard reads once, gives away what follows from it, and gets the new weights."""
        for shard in self.shards:
            await shard.step()
            await self._follow()

    async def drain(self) -> None:
        """Step until every record has been read."""
        while self.lag() > 0:
            await self.step()

    def lag(self) -> int:
        """Records that no shard has read."""
        log, topics = self.world.log, self.pipeline.topics
        return sum(
            log.end(topic, partition) - offset
            for shard in self.shards
            for partition, state in shard.states.items()
            for topic, offset in zip(topics, state.cut, strict=True)
        )

    async def score(self, request: Mapping[str, JsonValue]) -> ScoreAnswer:
        """POST /v1/score, by the newest weights. Raises RequestError."""
        if not self._replica_started:
            self.replica.start()
            self._replica_started = True
        newest = (await self.learner.status())["version"]
        return await self.replica.score(msgspec.json.encode({**request, "min_version": newest}))

    async def freeze(self) -> None:
        """Keep a copy of the present weights, to compare with."""
        await self.learner.freeze()
        for shard in self.shards:
            shard.freeze()

    async def stop(self) -> None:
        """What SIGTERM does: give away, write down, leave. Without it the system has crashed."""
        if self._replica_started:
            await self.replica.stop()
        for shard in self.shards:
            await shard.stop()
        await self.learner.stop()

    async def status(self) -> Mapping[str, JsonValue]:
        """The learner's figures."""
        return await self.learner.status()

    async def _follow(self) -> None:
        for follower in self._followers:
            await follower.step(timeout_s=0.0)

    def _shard(
        self, settings: Settings, index: int, owned: list[int]
    ) -> tuple[Shard, Follower | None]:
        world = self.world
        return assembly.shard(
            self.pipeline,
            owned,
            assembly.shard_settings(settings.shards, f"shard-{index}", lock_step=True),
            assembly.ShardParts(
                source=MemorySource(world.log),
                sink=self.sink,
                store=world.store,
                learner=self.learner,
                parameters=self.learner,
                snapshots=world.snapshots,
                board=self._board,
                clock=world.clock,
            ),
            settings.shards.max_entities_per_partition,
        )

    def _replica(self, settings: Settings) -> ScoringService:
        parts = assembly.ReplicaParts(
            parameters=self.learner,
            store=self.world.store,
            sink=self.sink,
            board=self._board,
            clock=self.world.clock,
            close=_nothing,
        )
        return assembly.scoring_service(self.pipeline, settings.serve, parts)


async def _nothing() -> None:
    """Memory needs no closing."""
