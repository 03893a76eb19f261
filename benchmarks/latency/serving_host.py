r"""One server of the serving bench in a process of its own: the same service in three places.

    python -m freshrank.benchmarks.latency.serving_host \
        haproxy|default|bare BOOTSTRAP REDIS PORT FOLDER

It ends with SIGTERM. The learner, which publishes ten versions a second, is an actor beside the
replica where there is Ray, and an object of this process where there is none.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
import uvloop

from freshrank.actors.clock import SystemClock
from freshrank.actors.parameters.source import ParameterSource
from freshrank.benchmarks.latency.steady_publisher import SteadyPublisher
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring import assembly
from freshrank.deploy.wiring.local import LearnerHandle
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.learner.actor import LearnerActor
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService

MODES = ("haproxy", "default", "bare")

DEFAULT_PROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "",
}
"""Serve's settings out of the box; `ray_environment.prepare` keeps what is set already."""
# Seconds for the learner's process to start on two busy cores.
_TAKE_OVER_S = 60.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The arguments of this process."""

    kafka: KafkaAccess
    redis_url: str
    port: int
    folder: Path
    """For the learner's checkpoints."""

    @property
    def settings(self) -> Settings:
        """The default settings with this port and folder, and a learner without a GPU."""
        return Settings.model_validate(
            {"serve": {"port": self.port}, "learner": {"device": "cpu"}, "state": self.folder}
        )


def served_file() -> PipelineFile:
    """The demo's pipeline with features of items, whose rows a request needs, too."""
    return shop_file(of_items=True)


async def until_signalled() -> None:
    """Wait for SIGTERM or SIGINT."""
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    await signalled.wait()


def further_partitions(pipeline: Pipeline, settings: Settings) -> dict[str, int]:
    """By entity that candidates name: the partitions of its topics, which the bench creates."""
    return {plan.entity.name: settings.kafka.partitions for plan in pipeline.candidate_plans}


async def publish_until_signalled(pipeline: Pipeline, learner: LearnerHandle) -> None:
    """Publish weights until a signal comes; raises what ends the publisher before."""
    publisher = SteadyPublisher(pipeline, learner, np.random.default_rng(0))
    publishing = asyncio.create_task(publisher.run())
    waiting = asyncio.create_task(until_signalled())
    done, _ = await asyncio.wait({publishing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if publishing in done:
        await publishing
    publishing.cancel()


async def serve_bare(options: ServerOptions) -> None:
    """Serve by uvicorn and Starlette, without Ray."""
    pipeline = served_file().load()
    core = assembly.learner(pipeline, options.settings.learner)
    learner = LearnerActor(core, SystemClock())
    await learner.start()
    app = build_app(bare_service(options, pipeline, learner))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=options.port, loop="none", log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await publish_until_signalled(pipeline, learner)
    server.should_exit = True
    await serving
    await learner.stop()


def bare_service(
    options: ServerOptions, pipeline: Pipeline, source: ParameterSource
) -> Callable[[], Awaitable[ScoringService]]:
    """Return a function that makes a replica's service, which follows the learner `source`."""

    async def make() -> ScoringService:
        sink = KafkaSink(options.kafka)
        await sink.start()
        connectors = kafka_and_redis(
            options.kafka,
            RedisStore(options.redis_url, f"fr:{pipeline.name}"),
            MemoryStatusRegistry(SystemClock()),
            options.settings.kafka.partitions,
            sink,
            further_partitions(pipeline, options.settings),
        )
        return assembly.scoring_service(pipeline, options.settings.serve, source, connectors)

    return make


def serve_on_ray(options: ServerOptions) -> None:
    """Serve by a replica behind Serve's ingress, with the learner as an actor."""
    ray_environment.prepare(None)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.actors.runtime import RemoteLearner  # noqa: PLC0415
    from freshrank.deploy import topology  # noqa: PLC0415
    from freshrank.deploy.cluster import ray_connection  # noqa: PLC0415
    from freshrank.deploy.cluster.cluster_spec import ClusterSpec  # noqa: PLC0415

    file, settings = served_file(), options.settings
    cluster = ClusterSpec(
        file=file,
        settings=settings,
        kafka=options.kafka,
        redis_url=options.redis_url,
        state=options.folder,
        partitions=settings.kafka.partitions,
        candidate_partitions=further_partitions(file.load(), settings),
        learner=topology.learner_address(file.load().name),
        statuses=topology.statuses_address(file.load().name),
        rows_origin="",
    )
    ray_connection.connect(None)
    learner = topology.Hosts(cluster, print).learner()
    asyncio.run(learner.call("take_over", timeout_s=_TAKE_OVER_S))
    topology.start_serving(cluster)
    remote = RemoteLearner(cluster.learner, settings.shards.push_timeout_s)
    try:
        asyncio.run(publish_until_signalled(file.load(), remote))
    finally:
        topology.stop_replicas()
        topology.disconnect()


def main() -> None:
    """Serve in the mode that the arguments name, until a signal comes."""
    mode, bootstrap, redis_url, port, folder = sys.argv[1:]
    options = ServerOptions(KafkaAccess(bootstrap), redis_url, int(port), Path(folder))
    if mode == "bare":
        uvloop.run(serve_bare(options))
        return
    if mode == "default":
        os.environ.update(DEFAULT_PROXY)
    serve_on_ray(options)


if __name__ == "__main__":
    main()
