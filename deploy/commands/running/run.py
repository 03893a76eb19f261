"""A run of the whole system, from its checks to its end: `lifecycle` has its states."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.records import TopicIdentity
from freshrank.deploy import topology
from freshrank.deploy.cluster import ray_connection, ray_environment, ray_processes
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.cluster.driver_part import DRIVER, DriverPart
from freshrank.deploy.cluster.ray_processes import RayProcesses, end_when_blocked
from freshrank.deploy.cluster.supervisor import Supervisor
from freshrank.deploy.commands.running import process_end
from freshrank.deploy.commands.running.blocking_calls import BlockingCalls, until_first
from freshrank.deploy.commands.running.lifecycle import Component, Lifecycle, RunState
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.commands.running.watch import Watch
from freshrank.deploy.config import memory_budget
from freshrank.deploy.config.settings import STARTED_HERE
from freshrank.deploy.console.screen import Screen
from freshrank.deploy.servers.external import (
    ExternalServers,
    check_summary,
    external_servers,
    prepare_topics,
    topic_identities,
)
from freshrank.deploy.servers.server_watch import ServerWatch, Watched
from freshrank.deploy.serving.rolling_update import RollingUpdates
from freshrank.deploy.state.pinned_weights import keep_pinned
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.state.store_lease import StoreLease
from freshrank.deploy.wiring.kernel_compiler import compile_kernels
from freshrank.deploy.wiring.start_checks import check_state
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

# A stop takes at most ten seconds in all: one for the background tasks of this process (`watch`),
# then so many seconds for the replicas to answer the requests that they have accepted, while the
# shards and the learner write their state (`topology`) ...
_REPLICAS_STOP_S = 4.0
# ... for a call into Ray that has not returned yet, and for Ray itself to end.
_CALLS_STOP_S = 1.0
_RAY_STOP_S = 3.0


def run_system(request: RunRequest) -> None:
    """Start, watch and stop a system; returns when all of it has ended.

    Raises ConfigError for what the user can mend, Unavailable for what did not come up, and the
    error of a part that could not be kept alive.
    """
    uvloop.run(_Run(request, Screen(Console())).run())


class _Run:
    """One run: starts the components in order, and stops what it has started."""

    def __init__(self, request: RunRequest, screen: Screen) -> None:
        self._request = request.completed()
        self._screen = screen
        self._pipeline = request.file.load()
        settings = self._request.settings
        self._url = f"{settings.serve.scheme}://{settings.serve.host}:{settings.serve.port}"
        self._state_folder = StateFolder(
            settings.state_folder(self._pipeline.name), settings.kafka.bootstrap
        )
        self._topics: Mapping[str, TopicIdentity] = {}
        there = memory_budget.memory_there(settings)
        self._memory = there if request.address is None else None
        self._lease: StoreLease | None = None
        self._ray: RayProcesses | None = None
        self._lifecycle = Lifecycle()
        self._stop_requested = asyncio.Event()
        self._update_requested = asyncio.Event()
        self._calls = BlockingCalls()
        self._system: topology.System | None = None
        title = f"{self._pipeline.name}  {self._url}/"
        self._watch = Watch(self._request, title, screen, SystemClock())

    async def run(self) -> None:
        """Run until the time is over, a signal asks for a stop, or a part fails."""
        # Without a handler Python prints warnings on the console: alerts once more, and a line for
        # each attempt of Kafka's client to reach a broker that is away, or a topic that is new.
        for name in ("freshrank.alerts", "aiokafka"):
            logging.getLogger(name).addHandler(logging.NullHandler())
        self._handle_signals()
        with self._state_folder.held():
            self._check()
            servers = external_servers(
                self._pipeline, self._request.settings, self._state_folder.path, self._screen.log
            )
            self._lifecycle.enter(RunState.PREPARING)
            try:
                await self._until_stop_requested(self._start_and_watch(servers))
                if self._lease is not None:
                    self._lease.check()
                self._screen.log("stopping")
            finally:
                await self._stop(servers)

    def _check(self) -> None:
        """Raise ConfigError for mistakes that can be found before anything is started."""
        ray_connection.check_address(self._request.address)
        check_summary(self._request.json_file)
        check_state(self._state_folder, self._pipeline)
        keep_pinned(self._state_folder.path, self._pipeline, self._state_folder.disk)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        asked = dict.fromkeys((signal.SIGINT, signal.SIGTERM), self._stop_requested)
        for number, event in {**asked, signal.SIGUSR1: self._update_requested}.items():
            loop.remove_signal_handler(number)
            loop.add_signal_handler(number, event.set)

    async def _until_stop_requested(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` until it is done or a stop is requested; raises what it raises."""
        await until_first(work, self._stop_request())

    async def _stop_request(self) -> None:
        await self._stop_requested.wait()

    async def _start_and_watch(self, servers: ExternalServers) -> None:
        request, log = self._request, self._screen.log
        cluster, lease = await self._prepare(servers)
        self._handle_signals()  # Ray has replaced the handlers by its own
        origins = self._state_folder.begin(log, self._topics, self._pipeline)
        await lease.publish(origins.rows)
        cluster = replace(cluster, origin=origins.copies, rows_origin=origins.rows)
        if request.address is None:
            await compile_kernels(log)
        self._lifecycle.enter(RunState.STARTING)
        shards = request.settings.shards.count
        log(f"starting the learner, {shards} shard(s) and the endpoint: half a minute on two cores")
        driver = self._driver(cluster, servers)
        await until_first(driver.run(), self._run_parts(cluster, driver))

    def _driver(self, cluster: ClusterSpec, servers: ExternalServers) -> DriverPart:
        """Make the part that watches what this run has started."""
        started: dict[str, Watched] = {"kafka": servers.broker, "redis": servers.redis}
        if self._request.address is None:  # a Ray that others run is theirs to watch
            started["ray"] = self._ray = RayProcesses()
            watched = (self._ray, asyncio.get_running_loop(), process_end.end_blocked)
            threading.Thread(target=end_when_blocked, args=watched, daemon=True).start()
            threading.Thread(target=ray_processes.reap_forever, daemon=True).start()
        clock, sink = SystemClock(), cluster.sink()
        alerts = cluster.alerts(DRIVER, sink)
        watch = ServerWatch(started, clock, alerts, self._screen.log, self._calls.run)
        serve = self._request.settings.serve
        certificate = ray_environment.certificate_watch(serve, alerts, clock)
        return DriverPart(cluster.status_registry(), watch, alerts, sink, clock, certificate)

    async def _run_parts(self, cluster: ClusterSpec, driver: DriverPart) -> None:
        request, log = self._request, self._screen.log
        hosts = topology.Hosts(cluster, log)
        system = self._system = topology.build(cluster, hosts)
        supervisor = Supervisor(system.parts, SystemClock(), log)
        await asyncio.gather(self._start_replicas(cluster), self._start_actors(supervisor))
        log(f"the endpoint and its page are up: {self._url}/{request.beside_rest}")
        # Hot standbys last: loading their code would delay the parts that do the work.
        for standby in await self._calls.run(topology.add_standbys, system, hosts):
            supervisor.add(standby)
        traffic = None
        if request.traffic is not None:
            traffic = request.traffic(cluster.sink(), self._pipeline.stream.topic, request.client())
        self._lifecycle.enter(RunState.RUNNING)
        again, memory, alerts = request.read_again, self._memory, driver.alerts
        updates = RollingUpdates(cluster, again, self._deploy, memory, alerts, log)
        watching = self._watch.run(system, supervisor, driver.status, traffic)
        await until_first(watching, updates.run(self._update_requested))

    async def _prepare(self, servers: ExternalServers) -> tuple[ClusterSpec, StoreLease]:
        """Start or connect to Kafka, Redis and Ray, and take the lease on the pipeline's rows."""
        bootstrap = self._request.settings.kafka.bootstrap
        self._screen.log(f"starting Ray, Kafka ({bootstrap}) and Redis")
        preparing = asyncio.ensure_future(self._prepare_servers(servers))
        if bootstrap not in STARTED_HERE:
            # A mistake about the user's own broker is reported before Ray starts, and so is
            # another run beside this one.
            await preparing
        self._lifecycle.started(Component.RAY)
        connecting = self._calls.run(ray_connection.connect, self._request.address)
        _, (cluster, lease) = await asyncio.gather(connecting, preparing)
        return cluster, lease

    async def _prepare_servers(self, servers: ExternalServers) -> tuple[ClusterSpec, StoreLease]:
        if warning := await servers.start(self._calls.run):
            self._screen.warn(warning)
        settings = self._request.settings
        kafka = KafkaAccess(servers.broker.bootstrap, servers.broker.security)
        counts = await prepare_topics(self._pipeline, kafka, settings)
        self._screen.log(f"Kafka is at {kafka.bootstrap}")  # it has answered
        self._topics = await topic_identities(self._pipeline, kafka)
        self._state_folder.check_topics(self._topics)
        found = memory_budget.needs(self._pipeline, settings, *counts)
        self._screen.log(memory_budget.checked(self._pipeline, found, self._memory))
        cluster = ClusterSpec(
            file=self._request.file,
            settings=settings,
            kafka=kafka,
            redis_url=servers.redis.url,
            state=self._state_folder.path,
            partitions=counts.stream,
            candidate_partitions=counts.candidates,
            learner=topology.learner_address(self._pipeline.name),
            statuses=topology.statuses_address(self._pipeline.name),
        )
        return cluster, await self._hold_rows(cluster)

    async def _hold_rows(self, cluster: ClusterSpec) -> StoreLease:
        """Take the lease on the pipeline's rows. Raises ConfigError while another run has it."""
        lost = self._stop_requested.set
        lease = StoreLease(cluster.redis_url, cluster.namespace, cluster.state, lost)
        await lease.acquire()
        self._lease = lease
        return lease

    async def _start_replicas(self, cluster: ClusterSpec) -> None:
        # On a cluster of others the replicas would live on without this run: they have to be
        # stopped even if their start is interrupted. A Ray of our own ends with this process.
        if self._request.address is not None:
            self._lifecycle.started(Component.REPLICAS)
        await self._calls.run(topology.start_serving, cluster)
        self._lifecycle.started(Component.REPLICAS)
        self._screen.log("the replicas of the endpoint are up")

    async def _deploy(self, cluster: ClusterSpec) -> None:
        await self._calls.run(topology.deploy, cluster)

    async def _start_actors(self, supervisor: Supervisor) -> None:
        # Actors that have not answered yet have nothing to write.
        await supervisor.round()
        self._lifecycle.started(Component.ACTORS)
        self._screen.log("the learner and the shards answer")

    async def _stop(self, servers: ExternalServers) -> None:
        """Stop all components and show the summary; an error that ended the run goes on."""
        failure = sys.exception()
        self._lifecycle.enter(RunState.STOPPING)
        problems, _ = await asyncio.gather(self._stop_actors(), self._stop_replicas())
        for problem in problems:
            self._screen.log(f"while stopping: {problem}")
        if self._lease is not None:
            await self._lease.release()
        # Only now: actors and replicas use the servers and Ray until they have stopped.
        _, disconnected = await asyncio.gather(servers.stop(), self._disconnect())
        if self._request.address is None:  # else the mark is that of a run which has started this
            await asyncio.to_thread(ray_processes.kill_left)
        self._watch.summarize()
        self._lifecycle.enter(RunState.STOPPED)
        if not disconnected:
            process_end.exit_now(failure)

    async def _stop_actors(self) -> list[str]:
        if self._system is None or not self._lifecycle.must_stop(Component.ACTORS):
            return []
        return await self._system.drain()

    async def _stop_replicas(self) -> None:
        if not self._lifecycle.must_stop(Component.REPLICAS):
            return
        try:
            async with asyncio.timeout(_REPLICAS_STOP_S):
                await self._calls.run(topology.stop_replicas)
        except TimeoutError:
            self._screen.log(f"the endpoint did not stop in {_REPLICAS_STOP_S:g} s: it is ended")
        except Unavailable as error:
            self._screen.log(f"while stopping: {error}")

    async def _disconnect(self) -> bool:
        """Leave Ray; False when it is still busy: then Ray would end this process by itself."""
        if self._ray is not None:
            self._ray.forget()
        if not await self._calls.settled(_CALLS_STOP_S):
            return False
        if not self._lifecycle.must_stop(Component.RAY):
            return True
        try:
            async with asyncio.timeout(_RAY_STOP_S):
                await self._calls.run(topology.disconnect)
        except TimeoutError:
            return False
        return True
