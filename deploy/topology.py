"""Who exists, on which resources, and who holds whose handle.

::

    driver (`live`)           holds every actor's first handle; its end is theirs
      ├── learner             1 actor; a GPU where there is one
      ├── shard-0 .. shard-n  actors; each owns partitions i, i+n, ... and pushes to the learner
      ├── standbys            actors; become the shard or the learner whose process has died
      ├── supervisor          a loop here: pings all, replaces what has ended or stands
      └── Serve               controller, HAProxy and replicas, which follow the learner

Nobody holds a shard's handle but the driver; shards and replicas find the learner by its role.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.kernels.partitioner import assign
from freshrank.actors.runtime import ActorOptions, RemoteActor, RemoteRole, spawn
from freshrank.deploy.cluster.actor_slot import STAND_BY, ActorSlot, Role
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.cluster.hosts import LearnerHost, ReplicaFactory, ShardHost
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import STARTED_HERE, Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.processes import children_apart, listens
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.serve import deployment

# Of the local cluster. Deltas of large models pass through it, the newest 32 of them; 64 MB of
# /dev/shm, a container's default, would do for small ones.
_OBJECT_STORE_BYTES = 200_000_000

# Seconds for the shards to give away and write down what they have, then for the learner, which
# only has to write. A stop has ten in all.
SHARD_STOP_S = 4.0
LEARNER_STOP_S = 1.5

# Its role: how others find it.
_LEARNER = "learner"

# Seconds for an actor to copy its weights.
FREEZE_S = 5.0

# Seconds: a cluster far away answers in tenths of one.
_CLUSTER_TIMEOUT_S = 5.0


def connect(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at `address`. Blocks for some seconds.

    `ray_environment.prepare` comes before the import of this module. Raises Unavailable when Ray
    does not come up, ConfigError when there is no such cluster.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # `Screen` says what goes on
    if address is None:
        _start_ray()
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise _no_cluster(address, str(error).partition("\n")[0]) from error


def _start_ray() -> None:
    try:
        # A signal to our group would end its processes before they write down what they know.
        with children_apart():
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
    except Exception as error:
        # Of these, the first two have no narrower type: Ray has waited for its own processes.
        if type(error) not in (Exception, RuntimeError, TimeoutError):
            raise
        said = str(error).partition("\n")[0].rstrip(".")
        fix = "Start again when the machine is less busy; its logs: /tmp/ray/session_latest/logs"
        raise Unavailable("ray", f"it did not come up ({said}). {fix}") from error


def check_address(address: str | None) -> None:
    """Raise ConfigError when nobody listens at the address of a cluster.

    Ray itself would look for minutes, and then end this process.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise _no_cluster(address, "it is no address")
    if not listens(host.strip("[]"), int(port), _CLUSTER_TIMEOUT_S):
        raise _no_cluster(address, "nobody listens there")


def _no_cluster(address: str, problem: str) -> ConfigError:
    fix = "Name a cluster that is up: `auto`, `host:6379` or `ray://host:10001`."
    return ConfigError(f"--address {address}", problem, fix)


def learner_address(pipeline: str) -> RemoteRole:
    """Where everybody finds the learner of `pipeline`."""
    return RemoteRole(_LEARNER, _namespace(pipeline))


@dataclass(frozen=True, slots=True)
class System:
    """A running system, as its driver holds it."""

    learner: ActorSlot
    shards: Sequence[ActorSlot]

    @property
    def parts(self) -> list[ActorSlot]:
        """All that has to be up; Serve looks after its replicas itself."""
        return [self.learner, *self.shards]

    @property
    def replaced(self) -> int:
        """How often one of them was lost."""
        return sum(part.replaced for part in self.parts)

    async def freeze(self) -> None:
        """Keep a copy of the present weights wherever gradients are computed."""
        calls = (part.call("freeze", timeout_s=FREEZE_S) for part in self.parts)
        await asyncio.gather(*calls)

    async def drain(self) -> list[str]:
        """Stop the shards, then the learner, which learns their last; gives what went wrong."""
        problems = await _stop(self.shards, SHARD_STOP_S)
        return problems + await _stop([self.learner], LEARNER_STOP_S)


class Hosts:
    """Starts hosts without a duty; `report` is told of those that are replaced.

    Raises ConfigError when the settings want a GPU, and there is none.
    """

    def __init__(self, cluster: ClusterSpec, report: Callable[[str], None]) -> None:
        self._cluster = cluster
        self.report = report
        self._namespace = _namespace(cluster.file.load().name)
        self.on_gpu = _on_gpu(cluster.settings)
        """Whether the learner computes the gradients, on a GPU."""

    def learner(self) -> RemoteActor:
        """One that can become the learner."""
        options = ActorOptions(_LEARNER, self._namespace, num_gpus=1.0 if self.on_gpu else 0.0)
        return spawn(LearnerHost, options, self._cluster, self.on_gpu)

    def shard(self) -> RemoteActor:
        """One that can become any shard."""
        options = ActorOptions("shard", self._namespace)
        return spawn(ShardHost, options, self._cluster, self.on_gpu)


def build(cluster: ClusterSpec, hosts: Hosts) -> System:
    """Start the actors. They make their parts by themselves, at the supervisor's first ping."""
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
    )


def stand_by(system: System, hosts: Hosts) -> list[ActorSlot]:
    """Start processes that take the place of one that dies; they have to be supervised, too.

    A learner on a GPU has nobody: who stood by would need another GPU.
    """
    for_shards = ActorSlot("a shard's standby", STAND_BY, hosts.shard, hosts.report)
    for shard in system.shards:
        shard.standby = for_shards
    if hosts.on_gpu:
        return [for_shards]
    for_learner = ActorSlot("the learner's standby", STAND_BY, hosts.learner, hosts.report)
    system.learner.standby = for_learner
    return [for_shards, for_learner]


def start_serving(cluster: ClusterSpec) -> None:
    """Start Serve's ingress and the replicas, and wait until the first is up. Blocks.

    Raises Unavailable with what Serve says.
    """
    settings = cluster.settings.serve
    try:
        deployment.start_proxy(settings.host, settings.port)
        deployment.deploy(ReplicaFactory(cluster), settings)
    except (RayError, RuntimeError) as error:  # RuntimeError: Serve gave a deployment up
        raise Unavailable("ray serve", f"{error} (its logs: /tmp/ray/session_latest)") from error


def stop_replicas() -> None:
    """Take the replicas down, once they have answered what they were asked. Blocks.

    Raises Unavailable.
    """
    try:
        deployment.delete()
    except (RayError, RayServeException) as error:
        raise Unavailable("ray serve", str(error)) from error


def disconnect() -> None:
    """Leave Ray: a cluster that was started here ends. Blocks."""
    ray.shutdown()


class AppArguments(BaseModel):
    """What a Serve config file says of the application (``args:``)."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Path
    """Of the pipeline's file, on the node that builds the application."""
    partitions: int
    """Of the stream's topic."""
    config: Path | None = None
    """Settings in TOML. With the environment of that node they say where broker and Redis are:
    Serve shows these arguments to whoever asks, and secrets are none of them."""


def build_app(arguments: AppArguments) -> Application:
    """The endpoint as ``import_path: freshrank.deploy.topology:build_app`` of a config file.

    Learner and shards are run beside it by ``freshrank run --address``.
    """
    file, settings = PipelineFile.read(arguments.pipeline), load_settings(arguments.config)
    if settings.kafka.bootstrap in STARTED_HERE or settings.redis.url in STARTED_HERE:
        raise ConfigError(
            "kafka.bootstrap and redis.url",
            "on a cluster the broker and the Redis are given",
            "Name them in `config`, or set FRESHRANK_KAFKA__BOOTSTRAP and FRESHRANK_REDIS__URL.",
        )
    name = file.load().name
    cluster = ClusterSpec(
        file=file,
        settings=settings,
        kafka=KafkaAccess(settings.kafka.bootstrap, settings.kafka.security()),
        redis_url=settings.redis.address(),
        state=settings.state_folder(name),
        partitions=arguments.partitions,
        learner=learner_address(name),
    )
    return deployment.application(ReplicaFactory(cluster), settings.serve)


def _on_gpu(settings: Settings) -> bool:
    """Whether the learner computes the gradients, on a GPU."""
    device = settings.learner.device
    if device == "cpu":
        return False
    resources = cast(Callable[[], dict[str, float]], ray.cluster_resources)()
    found = resources.get("GPU", 0.0) >= 1.0
    if device == "cuda" and not found:
        raise ConfigError(
            "learner.device", "cuda is wanted, and Ray knows of no GPU", 'Take "auto" or "cpu".'
        )
    return found


def _namespace(pipeline: str) -> str:
    return f"freshrank-{pipeline}"


async def _stop(actors: Sequence[ActorSlot], timeout_s: float) -> list[str]:
    calls = (actor.call("stop", timeout_s=timeout_s) for actor in actors)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [str(answer) for answer in answers if isinstance(answer, BaseException)]
