"""What runs inside the processes of a distributed system: plain classes that Ray places.

A host gets the pipeline's text, the settings and the addresses of the outside parts; it makes its
part there (`assembly`), starts it when first spoken to, and delegates.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Examples, Gradient, Progress, SourceOffsets, Version
from freshrank.actors.protocols import Differentiator, Status
from freshrank.actors.runtime import BoxedDelta, ObjectRefCache, RemoteLearner
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.cluster.host import Host, reach
from freshrank.deploy.cluster.placement import ClusterSpec
from freshrank.deploy.state.state_folder import LEARNER, SHARDS, TENSORBOARD
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.learner.actor import LearnerActor
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.reporters import Reporters
from freshrank.learner.tensorboard_log import TensorBoardLog
from freshrank.serve.scoring.service import ScoringService

# Seconds between two posts of the learner's figures: the page and the table look once a second.
_POST_S = 1.0


class LearnerHost(Host[LearnerActor]):
    """The process of the learner, or of one that stands by."""

    def __init__(self, cluster: ClusterSpec, on_gpu: bool) -> None:
        super().__init__("learner")
        self._cluster = cluster
        self._on_gpu = on_gpu
        self._sink = cluster.sink()
        self._status_registry = cluster.connectors(self._sink).status_registry
        self._boxes = ObjectRefCache()

    async def take_over(self) -> None:
        """Be the learner from now on, or raise what ended it."""
        # Learning needs the broker for nothing but alerts, and does not wait for it.
        await self._be(self._make, self._post, lambda: reach(self._sink))

    async def push(self, work: Gradient | Examples) -> Progress:
        """See `GradientSink`."""
        return await (await self._working()).push(work)

    async def progress(self, partition: int) -> Progress:
        """See `GradientSink`."""
        return await (await self._working()).progress(partition)

    async def applied(self) -> Mapping[int, SourceOffsets]:
        """How far each partition's examples are contained in the newest version."""
        return await (await self._working()).applied()

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[BoxedDelta]:
        """See `ParameterSource`."""
        learner = await self._working()
        deltas = await learner.newer_than(version, timeout_s, refused)
        return self._boxes.pack(deltas, anew=refused is not None)

    async def status(self) -> Status:
        """The learner's figures."""
        return {**await (await self._working()).status(), "process_id": os.getpid()}

    async def freeze(self) -> None:
        """Compare with the present weights from now on (a copy is kept where examples come)."""
        await (await self._working()).freeze()

    async def stop(self) -> None:
        """Learn what is pending and write a last checkpoint."""
        self._end_beside()
        if self._part is not None:
            await self._part.stop()
        with contextlib.suppress(Unavailable):  # what is left are alerts, which are in the log
            await self._sink.stop()

    def _make(self) -> LearnerActor:
        cluster, settings = self._cluster, self._cluster.settings.learner
        core = assembly.learner(cluster.file.load(), settings, _on_gpu if self._on_gpu else None)
        return LearnerActor(
            core,
            SystemClock(),
            FileSnapshots(cluster.state / LEARNER),
            reporters=Reporters(
                alerts=cluster.alerts("learner", self._sink),
                log=TensorBoardLog(cluster.state / TENSORBOARD),
            ),
        )

    async def _post(self) -> None:
        while True:
            # Without the online store there is no board: its readers say so themselves.
            with contextlib.suppress(Unavailable):
                await self._status_registry.post("learner", await self.status())
            await asyncio.sleep(_POST_S)


class ShardHost(Host[FeatureShard]):
    """The process of a feature shard, or of one that stands by."""

    def __init__(self, cluster: ClusterSpec, on_gpu: bool) -> None:
        super().__init__("shard")
        self._cluster = cluster
        self._on_gpu = on_gpu
        self._sink = cluster.sink()

    async def take_over(self, index: int, partitions: Sequence[int]) -> None:
        """Be the shard of these partitions from now on, or raise what ended it."""
        # It waits for the broker by itself, and its health says so.
        await self._be(lambda: self._make(index, partitions), lambda: reach(self._sink))

    async def status(self) -> Status:
        """The shard's figures."""
        return await (await self._working()).status()

    async def freeze(self) -> None:
        """Keep a copy of the present weights (where gradients are computed here)."""
        await (await self._working()).freeze()

    async def stop(self) -> None:
        """Drain, write snapshots, leave."""
        if self._part is not None:
            await self._part.stop()
        self._end_beside()
        await self._sink.stop()

    def _make(self, index: int, partitions: Sequence[int]) -> FeatureShard:
        cluster, settings = self._cluster, self._cluster.settings.shards
        learner = RemoteLearner(cluster.learner, settings.push_timeout_s)
        connectors = cluster.connectors(self._sink)
        shard, follower = assembly.shard(
            cluster.file.load(),
            partitions,
            replace(assembly.shard_settings(settings, f"shard-{index}"), process_id=os.getpid()),
            assembly.ShardParts(
                source=connectors.source(),
                sink=self._sink,
                store=connectors.store,
                learner=learner,
                parameters=None if self._on_gpu else learner,
                snapshots=FileSnapshots(cluster.state / SHARDS),
                status_registry=connectors.status_registry,
                clock=connectors.clock,
                alerts=cluster.alerts(f"shard-{index}", self._sink),
            ),
            assembly.bounds(settings),
        )
        return FeatureShard(shard, [follower] if follower else [])


@dataclass(frozen=True, slots=True)
class ReplicaFactory:
    """Makes a replica's service in the replica's process."""

    cluster: ClusterSpec

    async def __call__(self) -> ScoringService:
        """Connect, and give the service, not started yet."""
        cluster, settings = self.cluster, self.cluster.settings
        sink = cluster.sink()
        await sink.start()
        return assembly.scoring_service(
            cluster.file.load(),
            settings.serve,
            RemoteLearner(cluster.learner, settings.shards.push_timeout_s),
            cluster.connectors(sink),
            cluster.alerts("replica", sink),
        )


def _on_gpu(model: Model, weights: ModelWeights) -> Differentiator:
    """The differentiator of a learner that is sent examples."""
    # Importing torch takes seconds and half a gigabyte: only here, and only then.
    from freshrank.learner.gradients.torch_autograd import TorchDifferentiator  # noqa: PLC0415

    return TorchDifferentiator(model, weights, "cuda")
