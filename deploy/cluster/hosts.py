"""The processes of a distributed system: plain classes that Ray places.

A host is given the text of the pipeline's file, the settings and the addresses of broker and Redis.
It builds its part with `wiring.assembly`, starts it when it is told to take over, and delegates.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Examples, Gradient, SourceOffsets, Version
from freshrank.actors.protocols import Differentiator, Progress, Status
from freshrank.actors.runtime import BoxedDelta, ObjectRefCache, RemoteLearner
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.cluster.host import Host, HostEvent, connect
from freshrank.deploy.state.folders import ENTITIES, LEARNER, REKEYING, SHARDS, TENSORBOARD
from freshrank.deploy.state.pinned_weights import load_pinned
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor
from freshrank.learner.models.base import Model
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.reporters import Reporters
from freshrank.learner.tensorboard_log import TensorBoardLog
from freshrank.serve.scoring.service import ScoringService

# Seconds between two posts of the learner's status: the page and the console read it once a second.
_POST_S = 1.0


class LearnerHost(Host[LearnerActor]):
    """The process of the learner, or of its hot standby."""

    def __init__(self, cluster: ClusterSpec, on_gpu: bool) -> None:
        super().__init__("learner")
        self._cluster = cluster
        self._on_gpu = on_gpu
        self._sink = cluster.sink()
        self._status_registry = cluster.status_registry()
        self._object_refs = ObjectRefCache()

    async def take_over(self) -> None:
        """Become the learner, or raise the error that ended it."""
        # The learner needs the broker for its alerts only, and does not wait for it.
        await self.run_part(self._make, self._post_status, lambda: connect(self._sink))

    async def push(self, work: Gradient | Examples) -> Progress:
        """See `GradientSink`."""
        return await (await self.working_part()).push(work)

    async def progress(self, partition: int) -> Progress:
        """See `GradientSink`."""
        return await (await self.working_part()).progress(partition)

    async def applied(self) -> Mapping[int, SourceOffsets]:
        """Return, for each partition, the offsets whose examples the newest version contains."""
        return await (await self.working_part()).applied()

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[BoxedDelta]:
        """See `ParameterSource`."""
        learner = await self.working_part()
        deltas = await learner.newer_than(version, timeout_s, refused)
        if refused is not None:
            self._object_refs.invalidate()
        return self._object_refs.box(deltas)

    async def status(self) -> Status:
        """Return the learner's metrics."""
        return {**await (await self.working_part()).status(), "process_id": os.getpid()}

    async def freeze(self) -> None:
        """Compare with the present weights from now on; keep a copy if examples come here."""
        await (await self.working_part()).freeze_reference()

    async def stop(self) -> None:
        """Learn the pending examples, write a last checkpoint, flush the alerts."""
        self._enter(HostEvent.STOP)
        self._end_background()
        if self._part is not None:
            await self._part.stop()
        with contextlib.suppress(Unavailable):  # of the broker; the alerts are in the log, too
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

    async def _post_status(self) -> None:
        while True:
            # Where the registry is away, those who read it say so themselves.
            with contextlib.suppress(Unavailable):
                await self._status_registry.post("learner", await self.status())
            await asyncio.sleep(_POST_S)


class ShardHost(Host[FeatureShard]):
    """The process of a feature shard, or of a hot standby for any of them."""

    def __init__(self, cluster: ClusterSpec, on_gpu: bool) -> None:
        super().__init__("shard")
        self._cluster = cluster
        self._on_gpu = on_gpu
        self._sink = cluster.sink()

    async def take_over(self, index: int, partitions: Sequence[int]) -> None:
        """Become shard `index`, which owns `partitions`, or raise the error that ended it."""
        # The shard waits for the broker by itself, and its status says so.
        await self.run_part(lambda: self._make(index, partitions), lambda: connect(self._sink))

    async def status(self) -> Status:
        """Return the shard's metrics."""
        return await (await self.working_part()).status()

    async def freeze(self) -> None:
        """Keep a copy of the present weights, if gradients are computed here."""
        await (await self.working_part()).freeze_reference()

    async def stop(self) -> None:
        """Push the pending examples, write snapshots, close the connections."""
        self._enter(HostEvent.STOP)
        if self._part is not None:
            await self._part.stop()
        self._end_background()
        await self._sink.stop()

    def _make(self, index: int, partitions: Sequence[int]) -> FeatureShard:
        cluster, settings, name = self._cluster, self._cluster.settings.shards, f"shard-{index}"
        pipeline, connectors = cluster.file.load(), cluster.connectors(self._sink)
        learner = RemoteLearner(cluster.learner, settings.push_timeout_s)
        alerts = cluster.alerts(name, self._sink)
        state = cluster.origin
        training, follower = assembly.training(
            pipeline, learner, None if self._on_gpu else learner, connectors.clock, alerts
        )
        progress = FileSnapshots(cluster.state / REKEYING)
        rekeyers = [
            Rekeyer(stream, partitions, state, connectors, progress, alerts)
            for stream in pipeline.streams
            if stream.rekeyed
        ]
        snapshots = FileSnapshots(cluster.state / SHARDS)
        shard = Shard(
            pipeline.spec(settings, state),
            ShardIdentity(name, partitions, os.getpid()),
            ShardPorts(connectors, training, snapshots, alerts, rekeyers),
        )
        around = assembly.ShardSurroundings(
            index,
            settings,
            connectors,
            lambda entity: FileSnapshots(cluster.state / ENTITIES / entity),
            lambda part: cluster.alerts(part, self._sink),
            state,
            os.getpid(),
        )
        return FeatureShard(shard, follower, assembly.candidate_shards(pipeline, around))


@dataclass(frozen=True, slots=True)
class ReplicaFactory:
    """Builds the scoring service of a replica, in the replica's process."""

    cluster: ClusterSpec

    async def __call__(self) -> ScoringService:
        """Connect to the broker and return the service, not started yet."""
        cluster, settings = self.cluster, self.cluster.settings
        sink = cluster.sink()
        await sink.start()
        pipeline = cluster.file.load()
        return assembly.scoring_service(
            pipeline,
            settings.serve,
            RemoteLearner(cluster.learner, settings.shards.push_timeout_s),
            cluster.connectors(sink),
            cluster.alerts("replica", sink),
            load_pinned(cluster.state, pipeline),
        )


def _on_gpu(model: Model, weights: ModelWeights) -> Differentiator:
    """Make the differentiator of a learner that is sent examples and computes the gradients."""
    # Importing torch takes seconds and half a gigabyte: only where it is used.
    from freshrank.learner.gradients.torch_autograd import TorchDifferentiator  # noqa: PLC0415

    return TorchDifferentiator(model, weights, "cuda")
