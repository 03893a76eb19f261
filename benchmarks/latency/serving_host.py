r"""One server of the `serving` bench, in a process of its own: the same service in three places.

    python -m freshrank.benchmarks.latency.serving_host \
        haproxy|default|bare BOOTSTRAP REDIS PORT FOLDER

Ends with SIGTERM. The learner, which publishes ten versions a second, is an actor beside the
replica where there is Ray, and lives in the server's own process where there is none.
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
from freshrank.actors.protocols import ParameterSource
from freshrank.benchmarks.latency.steady_publisher import Pulse
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.connectors.redis.status_board import RedisStatusRegistry
from freshrank.learner.actor import LearnerActor
from freshrank.serve.http.app import build_app
from freshrank.serve.scoring.service import ScoringService

MODES = ("haproxy", "default", "bare")

# Makes Serve what it is out of the box; `ray_environment.prepare` leaves what is set already.
_DEFAULT_PROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "",
}
# Seconds for the learner's process to start on two busy cores.
_TAKE_OVER_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is."""

    kafka: KafkaAccess
    redis_url: str
    port: int
    folder: Path
    """For the learner's checkpoints."""

    @property
    def settings(self) -> Settings:
        """The defaults, but for what a bench has to fix."""
        return Settings.model_validate(
            {"serve": {"port": self.port}, "learner": {"device": "cpu"}, "state": self.folder}
        )


async def until_told_to_end() -> None:
    """Come back at SIGTERM or SIGINT."""
    told = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, told.set)
    await told.wait()


async def beside(pulse: Pulse) -> None:
    """Keep the weights moving until told to end; raises what ends the pulse before."""
    pushing = asyncio.create_task(pulse.run())
    ending = asyncio.create_task(until_told_to_end())
    done, _ = await asyncio.wait({pushing, ending}, return_when=asyncio.FIRST_COMPLETED)
    if pushing in done:
        await pushing
    pushing.cancel()


async def serve_bare(place: Place) -> None:
    """Uvicorn and Starlette, and no Ray."""
    pipeline, clock = shop_file().load(), SystemClock()
    core = assembly.learner(pipeline, place.settings.learner)
    learner = LearnerActor(core, clock)
    await learner.start()
    app = build_app(bare_service(place, pipeline, learner))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=place.port, loop="none", log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await beside(new_pulse(pipeline, learner))
    server.should_exit = True
    await serving
    await learner.stop()


def bare_service(
    place: Place, pipeline: Pipeline, source: ParameterSource
) -> Callable[[], Awaitable[ScoringService]]:
    """Makes the service that a replica would have, following a learner in this process."""

    async def make() -> ScoringService:
        sink = KafkaSink(place.kafka)
        await sink.start()
        store = RedisStore(place.redis_url, f"fr:{pipeline.name}")
        status_registry = RedisStatusRegistry(place.redis_url, f"fr:{pipeline.name}")

        async def close() -> None:
            await sink.stop()
            await store.close()
            await status_registry.close()

        parts = assembly.ReplicaParts(source, store, sink, status_registry, SystemClock(), close)
        return assembly.scoring_service(pipeline, place.settings.serve, parts)

    return make


def new_pulse(pipeline: Pipeline, learner: LearnerActor) -> Pulse:
    """A pulse for a learner in this process."""
    return Pulse(pipeline, learner, learner, np.random.default_rng(0))


def serve_on_ray(place: Place) -> None:
    """A replica behind Serve's ingress, and the learner as an actor."""
    ray_environment.prepare(None)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.actors.runtime import RemoteLearner  # noqa: PLC0415
    from freshrank.deploy import topology  # noqa: PLC0415
    from freshrank.deploy.cluster.placement import ClusterSpec  # noqa: PLC0415

    file, settings = shop_file(), place.settings
    cluster = ClusterSpec(
        file=file,
        settings=settings,
        kafka=place.kafka,
        redis_url=place.redis_url,
        state=place.folder,
        partitions=settings.kafka.partitions,
        learner=topology.learner_address(file.load().name),
    )
    topology.connect(None)
    learner = topology.Hosts(cluster, print).learner()
    asyncio.run(learner.call("take_over", timeout_s=_TAKE_OVER_S))
    topology.start_serving(cluster)
    remote = RemoteLearner(cluster.learner, settings.shards.push_timeout_s)
    try:
        asyncio.run(beside(Pulse(file.load(), remote, remote, np.random.default_rng(0))))
    finally:
        topology.stop_replicas()
        topology.disconnect()


def main() -> None:
    """Serve in the mode that the arguments name, until told to end."""
    mode, bootstrap, redis_url, port, folder = sys.argv[1:]
    place = Place(KafkaAccess(bootstrap), redis_url, int(port), Path(folder))
    if mode == "bare":
        uvloop.run(serve_bare(place))
        return
    if mode == "default":
        os.environ.update(_DEFAULT_PROXY)
    serve_on_ray(place)


if __name__ == "__main__":
    main()
