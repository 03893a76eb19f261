"""What runs inside the processes of a distributed system: plain classes that Ray places.

A host gets the pipeline's text, the settings and the addresses of the outside parts; it makes its
part there (`assembly`), starts it when first spoken to, and delegates.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from freshrank.actors.alerts import Alerts
from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.messages import Cut, Examples, Gradient, Progress, Version
from freshrank.actors.protocols import Differentiator, Status
from freshrank.actors.runtime import Box, BoxedParameters, RemoteActor, RemoteLearner
from freshrank.actors.snapshots import FileSnapshots
from freshrank.deploy import assembly, warm
from freshrank.deploy.pipeline_file import PipelineFile
from freshrank.deploy.settings import Settings
from freshrank.feature_actors.actor import FeatureShard
from freshrank.feature_actors.kafka import KafkaSink, KafkaSource
from freshrank.feature_actors.kafka_security import KafkaSecurity
from freshrank.feature_actors.online_store import RedisBoard, RedisStore
from freshrank.learner.models import Model
from freshrank.learner.outlets import LearnerOutlets
from freshrank.learner.tensorboard_log import TensorBoardLog
from freshrank.learner.weights import ModelWeights
from freshrank.serve.service import ScoringService

# Seconds between two posts of the learner's figures: the page and the table look once a second.
_POST_S = 1.0
# Seconds between two tries of the learner to reach the broker, which it tells alerts to.
_RECONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """A pipeline, and where the outside parts are: all that a host has to be told."""

    file: PipelineFile
    settings: Settings
    bootstrap: str
    kafka_security: KafkaSecurity = field(repr=False)
    redis_url: str = field(repr=False)
    """With the password, if there is one."""
    state: Path
    partitions: int
    """Of the stream's topic."""
    learner: RemoteActor

    def alerts(self, part: str, sink: KafkaSink) -> Alerts:
        """The alerts of `part`, written by `sink`."""
        return Alerts(part, SystemClock(), sink, self.file.load().alerts_topic)

    @property
    def namespace(self) -> str:
        """Of the pipeline's keys in Redis."""
        return f"fr:{self.file.load().name}"

    def sink(self) -> KafkaSink:
        """A writer to the broker, not started yet."""
        return KafkaSink(self.bootstrap, security=self.kafka_security)


def settle() -> None:
    """Take what has been made so far, modules above all, out of the garbage collector's sight.

    It would look through all of it again and again, and everything stands meanwhile: 100 ms and
    more for the half million objects of Ray, Numba and the rest.
    """
    gc.collect()
    gc.freeze()


class Once:
    """Runs a start-up once, whoever asks first; the others wait for it, and share its error."""

    def __init__(self, start: Callable[[], Awaitable[None]]) -> None:
        self._start = start
        self._task: asyncio.Future[None] | None = None

    def begin(self) -> asyncio.Future[None]:
        """Let it run, and do not wait. Raises what it raised, if it has ended so."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._start())
        if self._task.done():
            self._task.result()
        return self._task

    async def done(self) -> None:
        """Come back when it has run; raises what it raised."""
        await asyncio.shield(self.begin())


class LearnerHost:
    """The learner's process."""

    def __init__(self, site: Site, on_gpu: bool) -> None:
        pipeline, settings = site.file.load(), site.settings.learner
        core = assembly.learner(pipeline, settings, _on_gpu if on_gpu else None)
        self._sink = site.sink()
        self._learner = assembly.learner_actor(
            core,
            settings,
            SystemClock(),
            FileSnapshots(site.state / "learner"),
            outlets=LearnerOutlets(
                alerts=site.alerts("learner", self._sink),
                log=TensorBoardLog(site.state / "tensorboard"),
            ),
        )
        self._boxed = BoxedParameters(self._learner)
        self._board = RedisBoard(site.redis_url, site.namespace)
        self._started = Once(self._start)
        self._beside: list[asyncio.Task[None]] = []

    async def ping(self) -> None:
        """Let it start (a large state takes longer than a ping may), or raise what ended it."""
        self._started.begin()
        await self._learner.ping()

    async def push(self, work: Gradient | Examples) -> Progress:
        """See `GradientSink`."""
        await self._started.done()
        return await self._learner.push(work)

    async def progress(self, partition: int) -> Progress:
        """See `GradientSink`."""
        await self._started.done()
        return await self._learner.progress(partition)

    async def applied(self) -> Mapping[int, Cut]:
        """How far each partition's examples are contained in the newest version."""
        await self._started.done()
        return await self._learner.applied()

    async def newer_than(self, version: Version | None, timeout_s: float) -> list[Box]:
        """See `ParameterSource`."""
        await self._started.done()
        return await self._boxed.newer_than(version, timeout_s)

    async def status(self) -> Status:
        """The learner's figures."""
        await self._started.done()
        return await self._learner.status()

    async def freeze(self) -> None:
        """Compare with the present weights from now on (a copy is kept where examples come)."""
        await self._started.done()
        await self._learner.freeze()

    async def stop(self) -> None:
        """Learn what is pending and write a last checkpoint."""
        for task in self._beside:
            task.cancel()
        await self._learner.stop()
        with contextlib.suppress(Unavailable):  # what is left are alerts, which are in the log
            await self._sink.stop()

    async def _start(self) -> None:
        await self._learner.start()
        settle()
        self._beside = [asyncio.create_task(self._post()), asyncio.create_task(self._connect())]

    async def _connect(self) -> None:
        """Reach the broker, for alerts: learning needs it for nothing, and does not wait for it."""
        while True:
            try:
                return await self._sink.start()
            except Unavailable:  # until then each alert counts as lost
                await asyncio.sleep(_RECONNECT_S)

    async def _post(self) -> None:
        while True:
            # Without the online store there is no board: its readers say so themselves.
            with contextlib.suppress(Unavailable):
                await self._board.post("learner", await self._learner.status())
            await asyncio.sleep(_POST_S)


class ShardHost:
    """The process of a feature shard, or of one that stands by."""

    def __init__(self, site: Site, on_gpu: bool) -> None:
        self._site = site
        self._on_gpu = on_gpu
        self._sink = site.sink()
        self._shard: FeatureShard | None = None
        self._started = Once(self._start)

    async def stand_by(self) -> None:
        """Load all that a shard needs. Raises ProgressError where one works: it was replaced."""
        if self._shard is not None:
            raise ProgressError("it was replaced, and still has its partitions")
        await asyncio.to_thread(warm.get_ready)

    async def take_over(self, index: int, partitions: Sequence[int]) -> None:
        """Be the shard of these partitions from now on, or raise what ended it.

        It is begun, not waited for: a large state takes longer than a ping may.
        """
        if self._shard is None:
            self._shard = self._make(index, partitions)
        self._started.begin()
        await self._shard.ping()

    async def status(self) -> Status:
        """The shard's figures."""
        await self._started.done()
        return await self._working().status()

    async def freeze(self) -> None:
        """Keep a copy of the present weights (where gradients are computed here)."""
        await self._started.done()
        await self._working().freeze()

    async def stop(self) -> None:
        """Drain, write snapshots, leave."""
        if self._shard is not None:
            await self._shard.stop()
        await self._sink.stop()

    def _make(self, index: int, partitions: Sequence[int]) -> FeatureShard:
        site, settings = self._site, self._site.settings.shards
        learner = RemoteLearner(site.learner, settings.push_timeout_s)
        shard, follower = assembly.shard(
            site.file.load(),
            partitions,
            replace(assembly.shard_settings(settings, f"shard-{index}"), process_id=os.getpid()),
            assembly.ShardParts(
                source=KafkaSource(site.bootstrap, security=site.kafka_security),
                sink=self._sink,
                store=RedisStore(site.redis_url, site.namespace),
                learner=learner,
                parameters=None if self._on_gpu else learner,
                snapshots=FileSnapshots(site.state / "shards"),
                board=RedisBoard(site.redis_url, site.namespace),
                clock=SystemClock(),
                alerts=site.alerts(f"shard-{index}", self._sink),
            ),
            settings.max_entities_per_partition,
        )
        return FeatureShard(shard, [follower] if follower else [])

    def _working(self) -> FeatureShard:
        if self._shard is None:
            raise Unavailable("shard", "it has no partitions yet")
        return self._shard

    async def _start(self) -> None:
        await self._sink.start()
        await self._working().start()
        settle()


@dataclass(frozen=True, slots=True)
class ReplicaFactory:
    """Makes a replica's service in the replica's process."""

    site: Site

    async def __call__(self) -> ScoringService:
        """Connect, and give the service, not started yet."""
        site, settings = self.site, self.site.settings
        sink = site.sink()
        await sink.start()
        store = RedisStore(site.redis_url, site.namespace)
        board = RedisBoard(site.redis_url, site.namespace)

        async def close() -> None:
            await sink.stop()
            await store.close()
            await board.close()

        parts = assembly.ReplicaParts(
            parameters=RemoteLearner(site.learner, settings.shards.push_timeout_s),
            store=store,
            sink=sink,
            board=board,
            clock=SystemClock(),
            close=close,
            alerts=site.alerts("replica", sink),
        )
        return assembly.scoring_service(site.file.load(), settings.serve, parts)


def _on_gpu(model: Model, weights: ModelWeights) -> Differentiator:
    """The differentiator of a learner that is sent examples."""
    # Importing torch takes seconds and half a gigabyte: only here, and only then.
    from freshrank.learner.torch_models import TorchDifferentiator  # noqa: PLC0415

    return TorchDifferentiator(model, weights, "cuda")
