"""Which processes a system has, on which resources, and which of them holds whose handle.

::

    driver (`running.run`)    holds the first handle of every actor; they end when it ends
      ├── statuses            1 actor; keeps the newest status of every part
      ├── learner             1 actor; on a GPU where there is one
      ├── shard-0 .. shard-n  actors; each owns partitions i, i+n, ... and pushes to the learner
      ├── hot standbys        actors; take over from a shard or a learner whose process has ended
      ├── supervisor          a task of the driver: pings all, replaces those that end or hang
      └── Serve               controller with the autoscaler, HAProxy, and replicas, which follow
                              the learner

Only the driver holds the handles of shards; shards and replicas find the learner by its role.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.config import AutoscalingPolicy
from ray.serve.exceptions import RayServeException

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.kernels.partitioner import assign
from freshrank.actors.runtime import ActorOptions, RemoteActor, RemoteRole, spawn
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.cluster.actor_slot import STAND_BY, ActorSlot, Role
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.cluster.hosts import LearnerHost, ReplicaFactory, ShardHost
from freshrank.deploy.cluster.status_actor import StatusActor
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import STARTED_HERE, Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.serving.autoscaler import ServeAutoscaler, autoscaler_arguments
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.serve import deployment
from freshrank.serve.access.request_guard import with_keys_required

# Seconds for the shards to push their examples and write their snapshots, then for the learner to
# write its checkpoint. A stop may take ten seconds in all.
SHARD_STOP_S = 4.0
LEARNER_STOP_S = 1.5

# The role by which shards and replicas find the learner.
_LEARNER = "learner"

# The role by which all parts find the actor that keeps their statuses.
_STATUSES = "statuses"

# Seconds for an actor to copy its weights.
FREEZE_S = 5.0


def learner_address(pipeline: str) -> RemoteRole:
    """Return the address by which shards and replicas find the learner of `pipeline`."""
    return RemoteRole(_LEARNER, _namespace(pipeline))


def statuses_address(pipeline: str) -> RemoteRole:
    """Return the address by which all parts of `pipeline` find the registry of their statuses."""
    return RemoteRole(_STATUSES, _namespace(pipeline))


@dataclass(frozen=True, slots=True)
class System:
    """The actors of a running system, as the driver holds them."""

    learner: ActorSlot
    shards: Sequence[ActorSlot]
    statuses: ActorSlot

    @property
    def parts(self) -> list[ActorSlot]:
        """The slots of all actors that have to be up; Serve supervises its replicas itself."""
        return [self.statuses, self.learner, *self.shards]

    @property
    def replaced(self) -> int:
        """Count the replacements of all actors so far."""
        return sum(part.replaced for part in self.parts)

    async def freeze(self) -> None:
        """Make the reference copy of the present weights wherever gradients are computed."""
        parts = [self.learner, *self.shards]
        calls = (part.call("freeze", timeout_s=FREEZE_S) for part in parts)
        await asyncio.gather(*calls)

    async def drain(self) -> list[str]:
        """Stop the shards, then the learner, which learns their last examples; returns problems."""
        problems = await _stop(self.shards, SHARD_STOP_S)
        return problems + await _stop([self.learner], LEARNER_STOP_S)


class Hosts:
    """Starts host processes that have no role yet; `report` is called for each replacement.

    Raises ConfigError when the settings require a GPU and there is none.
    """

    def __init__(self, cluster: ClusterSpec, report: Callable[[str], None]) -> None:
        self._cluster = cluster
        self.report = report
        self._namespace = _namespace(cluster.file.load().name)
        self.on_gpu = _on_gpu(cluster.settings)
        """Whether the learner computes the gradients, on a GPU."""

    def learner(self) -> RemoteActor:
        """Start a host that can become the learner."""
        options = ActorOptions(_LEARNER, self._namespace, num_gpus=1.0 if self.on_gpu else 0.0)
        return spawn(LearnerHost, options, self._cluster, self.on_gpu)

    def statuses(self) -> RemoteActor:
        """Start the actor that keeps the statuses of all parts."""
        return spawn(StatusActor, ActorOptions(_STATUSES, self._namespace))

    def shard(self) -> RemoteActor:
        """Start a host that can become any shard."""
        options = ActorOptions("shard", self._namespace)
        return spawn(ShardHost, options, self._cluster, self.on_gpu)


def build(cluster: ClusterSpec, hosts: Hosts) -> System:
    """Start the actors; each builds its part at the first ping of the supervisor."""
    assigned = enumerate(assign(cluster.partitions, cluster.settings.shards.count))
    return System(
        ActorSlot("learner", Role("take_over"), hosts.learner, hosts.report),
        [
            ActorSlot(
                f"shard-{index}",
                Role("take_over", (index, list(owned))),
                hosts.shard,
                hosts.report,
            )
            for index, owned in assigned
        ],
        ActorSlot("statuses", Role("ping"), hosts.statuses, hosts.report),
    )


def add_standbys(system: System, hosts: Hosts) -> list[ActorSlot]:
    """Start a hot standby for the shards and one for the learner; both have to be supervised.

    A learner on a GPU has no standby, which would occupy a second GPU.
    """
    for_shards = ActorSlot("standby of the shards", STAND_BY, hosts.shard, hosts.report)
    for shard in system.shards:
        shard.standby = for_shards
    if hosts.on_gpu:
        return [for_shards]
    for_learner = ActorSlot("standby of the learner", STAND_BY, hosts.learner, hosts.report)
    system.learner.standby = for_learner
    return [for_shards, for_learner]


def start_serving(cluster: ClusterSpec) -> None:
    """Start Serve's proxy and the replicas, and wait until the first replica is up. Blocks.

    Raises as `deploy` does.
    """
    settings = cluster.settings.serve
    with _serve_errors():
        deployment.start_proxy(settings.host, settings.port)
    deploy(cluster)


def deploy(cluster: ClusterSpec) -> None:
    """Start the replicas, or replace those that run, and wait until they are up. Blocks.

    Raises what keeps the replicas from starting: see `deployment.deploy`; Unavailable with Serve's
    reason, where it is Serve. Replicas that run already go on then.
    """
    with _serve_errors():
        deployment.deploy(ReplicaFactory(cluster), cluster.settings.serve, _scaling(cluster))


@contextlib.contextmanager
def _serve_errors() -> Iterator[None]:
    try:
        yield
    except (RayError, RuntimeError) as error:
        raise Unavailable("ray serve", f"{error} (its logs: {ray_environment.logs()})") from error


def stop_replicas() -> None:
    """Stop the replicas, once they have answered the requests that they accepted. Blocks.

    Raises Unavailable.
    """
    try:
        deployment.delete()
    except (RayError, RayServeException) as error:
        raise Unavailable("ray serve", str(error)) from error


def disconnect() -> None:
    """Disconnect from Ray; a cluster that was started here ends. Blocks."""
    ray.shutdown()


class AppArguments(BaseModel):
    """The arguments of the application in a Serve config file (``args:``)."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Path
    """Path of the pipeline's file, on the node that builds the application."""
    partitions: int
    """Number of partitions of the stream's topic."""
    candidate_partitions: Mapping[str, int] = {}
    """By entity that candidates name: number of partitions of the topics of its rows."""
    config: Path | None = None
    """Settings in TOML. They and the environment of that node name the broker and the Redis: Serve
    shows these arguments to anyone who asks, so that no secret may be among them."""


def build_app(arguments: AppArguments) -> Application:
    """Build the endpoint, as ``import_path: freshrank.deploy.topology:build_app`` of a config file.

    ``freshrank run --address`` runs the learner and the shards on the same cluster.
    """
    file, settings = PipelineFile.read(arguments.pipeline), load_settings(arguments.config)
    if settings.kafka.bootstrap in STARTED_HERE or settings.redis.url in STARTED_HERE:
        raise ConfigError(
            "kafka.bootstrap and redis.url",
            "on a cluster they have to be addresses",
            "Name them in `config`, or set FRESHRANK_KAFKA__BOOTSTRAP and FRESHRANK_REDIS__URL.",
        )
    settings = settings.model_copy(update={"serve": with_keys_required(settings.serve)})
    pipeline = file.load()
    name, named = pipeline.name, [plan.entity.name for plan in pipeline.candidate_plans]
    if sorted(arguments.candidate_partitions) != sorted(named):
        raise ConfigError(
            "candidate_partitions",
            f"it names {sorted(arguments.candidate_partitions)}, and candidates name {named}",
            "Give the number of partitions of the topics of each of these entities.",
        )
    cluster = ClusterSpec(
        file=file,
        settings=settings,
        kafka=KafkaAccess(settings.kafka.bootstrap, settings.kafka.security()),
        redis_url=settings.redis.address(),
        state=settings.state_folder(name),
        partitions=arguments.partitions,
        candidate_partitions=arguments.candidate_partitions,
        learner=learner_address(name),
        statuses=statuses_address(name),
    )
    return deployment.application(ReplicaFactory(cluster), settings.serve, _scaling(cluster))


def _scaling(cluster: ClusterSpec) -> AutoscalingPolicy | None:
    """What decides how many replicas there are; None: always as many as the settings say."""
    settings, statuses = cluster.settings.serve, cluster.statuses
    if not settings.autoscales:
        return None
    arguments = autoscaler_arguments(settings, statuses.name, statuses.namespace)
    policy = cast(Callable[..., AutoscalingPolicy], AutoscalingPolicy)  # Ray leaves it untyped
    return policy(policy_function=ServeAutoscaler, policy_kwargs=arguments)


def _on_gpu(settings: Settings) -> bool:
    """Whether the learner computes the gradients, on a GPU."""
    device = settings.learner.device
    if device == "cpu":
        return False
    resources = cast(Callable[[], dict[str, float]], ray.cluster_resources)()
    found = resources.get("GPU", 0.0) >= 1.0
    if device == "cuda" and not found:
        raise ConfigError(
            "learner.device", "cuda is set, and Ray knows of no GPU", 'Take "auto" or "cpu".'
        )
    return found


def _namespace(pipeline: str) -> str:
    return f"freshrank-{pipeline}"


async def _stop(actors: Sequence[ActorSlot], timeout_s: float) -> list[str]:
    calls = (actor.call("stop", timeout_s=timeout_s) for actor in actors)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [str(answer) for answer in answers if isinstance(answer, BaseException)]
