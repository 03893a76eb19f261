"""A system from the first line of output to the last: started, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

import msgspec
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.protocols import Status
from freshrank.deploy import topology
from freshrank.deploy.cluster.blocking import BlockingCalls
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.cluster.supervisor import Supervisor, now_and_after_each_replacement
from freshrank.deploy.commands.run_request import RunRequest, Traffic
from freshrank.deploy.config import memory_budget as memory_needs
from freshrank.deploy.config.settings import STARTED_HERE
from freshrank.deploy.console.alert_lines import AlertLines
from freshrank.deploy.console.screen import Screen
from freshrank.deploy.console.system_metrics import Figures, Gauge
from freshrank.deploy.servers.external import Outside, check_summary, outside_of, prepare_topics
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

# Seconds between two looks at the figures.
_LOOK_EVERY_S = 1.0

# A stop takes at most ten seconds in all. The parts of it, in seconds: for what runs in this
# process to end...
_BACKGROUND_STOP_S = 1.0
# ... for the replicas to answer what they have been asked, while the shards and the learner write
# down what they know (`topology`)...
_INGRESS_STOP_S = 4.0
# ... for a call into Ray that is under way, and then for Ray itself to end.
_CALLS_STOP_S = 1.0
_RAY_STOP_S = 3.0


def run_live(run: RunRequest) -> None:
    """Start, watch and stop; comes back when all of it is gone."""
    uvloop.run(_Operation(run, Screen(Console())).run())


class _Operation:
    """One run."""

    def __init__(self, run: RunRequest, screen: Screen) -> None:
        self._run = run.with_port()
        self._screen = screen
        self._stop = asyncio.Event()
        self._pipeline = run.file.load()
        settings = self._run.settings.serve
        self._url = f"http://{settings.host}:{settings.port}"
        self._state = StateFolder(
            run.settings.state_folder(self._pipeline.name), run.settings.kafka.bootstrap
        )
        self._calls = BlockingCalls()
        self._to_drain: topology.System | None = None
        self._deployed = False
        self._gauge = Gauge()
        self._figures: Figures | None = None
        self._first_score_s: float | None = None

    async def run(self) -> None:
        """All of it."""
        self._listen_for_signals()
        with self._state.held():
            self._check()
            outside = outside_of(
                self._pipeline, self._run.settings, self._state.path, self._screen.say
            )
            try:
                await self._until_stopped(self._live(outside))
                self._screen.say("stopping")
            finally:
                await self._end(outside)

    def _check(self) -> None:
        """Raise ConfigError for what can be told before anything is started."""
        topology.check_address(self._run.address)
        check_summary(self._run.json_file)
        self._state.check(self._pipeline)

    async def _end(self, outside: Outside) -> None:
        """Stop all parts, and say what has come of it; an error on its way out goes on."""
        failure = sys.exception()
        await self._drain()
        # Nobody needs another any more.
        _, ended = await asyncio.gather(outside.stop(), self._disconnect())
        if self._figures is not None:
            self._report(self._figures)
        if not ended:
            _leave(failure)

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            loop.add_signal_handler(number, self._stop.set)

    def _check_memory(self, partitions: int) -> None:
        """Say what may come to be needed; raises ConfigError when one machine has not got it."""
        found = memory_needs.needs(self._pipeline, self._run.settings, partitions)
        there = memory_needs.memory_there(self._run.settings)
        needed = memory_needs.gigabytes(memory_needs.total(found))
        if self._run.address is not None:
            self._screen.say(f"up to {needed} of memory may be needed in the cluster")
            return
        memory_needs.check(self._pipeline, found, there)
        there_text = memory_needs.gigabytes(there.bytes)
        self._screen.say(f"up to {needed} of memory may be needed; {there.where} has {there_text}")

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` until it is done or a stop is asked for; raises what it raises."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        doing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doing

    async def _live(self, outside: Outside) -> None:
        """Start, and then watch until the time is over."""
        run, say = self._run, self._screen.say
        say(f"starting Ray, Kafka ({run.settings.kafka.bootstrap}) and Redis")
        preparing = asyncio.ensure_future(self._cluster(outside))
        if run.settings.kafka.bootstrap not in STARTED_HERE:
            # A mistake about a broker that others run is told before anything is started.
            await preparing
        connecting = self._calls.run(topology.connect, run.address)
        _, cluster = await asyncio.gather(connecting, preparing)
        self._listen_for_signals()  # Ray has put handlers of its own in their place
        self._state.begin(say)
        say(f"starting the learner, {run.settings.shards.count} shard(s) and the endpoint")
        hosts = topology.Hosts(cluster, say)
        system = topology.build(cluster, hosts)
        supervisor = Supervisor(system.parts, SystemClock(), say)
        await asyncio.gather(self._start_serving(cluster), self._start_actors(system, supervisor))
        say(f"the endpoint and its page are up: {self._url}/")
        # Not before: what it loads would hold up those who have to be there.
        for standby in topology.stand_by(system, hosts):
            supervisor.add(standby)
        traffic = None
        if run.traffic is not None:
            traffic = run.traffic(cluster.sink(), self._pipeline.stream.topic, self._url)
        with self._screen.table():
            await self._watch(system, supervisor, traffic)

    async def _cluster(self, outside: Outside) -> ClusterSpec:
        """Start what is outside, and say where it is."""
        await outside.start(self._calls.run)
        settings = self._run.settings
        kafka = KafkaAccess(outside.broker.bootstrap, settings.kafka.security())
        count = await prepare_topics(self._pipeline, kafka, settings)
        self._check_memory(count)
        return ClusterSpec(
            file=self._run.file,
            settings=settings,
            kafka=kafka,
            redis_url=outside.redis.url,
            state=self._state.path,
            partitions=count,
            learner=topology.learner_address(self._pipeline.name),
        )

    async def _start_serving(self, cluster: ClusterSpec) -> None:
        # A cluster of others goes on with it without us; one of our own ends with us.
        self._deployed = self._run.address is not None
        await self._calls.run(topology.start_serving, cluster)
        self._deployed = True

    async def _start_actors(self, system: topology.System, supervisor: Supervisor) -> None:
        # Who has not come up has nothing to write down.
        await supervisor.round()
        self._to_drain = system

    async def _watch(
        self, system: topology.System, supervisor: Supervisor, traffic: Traffic | None
    ) -> None:
        background = [
            asyncio.ensure_future(supervisor.run()),
            asyncio.ensure_future(self._freeze(system)),
        ]
        if traffic is not None:
            background.append(asyncio.ensure_future(traffic.run()))
            background.append(asyncio.ensure_future(self._note_first_score(traffic)))
        try:
            await self._show(background, traffic)
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background, timeout=_BACKGROUND_STOP_S)

    async def _show(
        self, background: Sequence[asyncio.Future[None]], traffic: Traffic | None
    ) -> None:
        """Look at the figures until the time is over, or something in the background fails."""
        address, alerts = self._run.settings.serve, AlertLines()
        began = self._screen.elapsed_s()
        async with KeepAliveClient(address.host, address.port) as client:
            while True:
                elapsed = self._screen.elapsed_s() - began
                statuses = await _statuses(client)
                for line in alerts.new(statuses):
                    self._screen.warn(line)
                requests = traffic.requests() if traffic else None
                self._figures = self._gauge.read(elapsed, statuses, requests)
                self._screen.show(f"{self._pipeline.name}  {self._url}/", self._figures)
                for task in background:
                    if task.done():
                        task.result()
                if self._run.seconds is not None and elapsed >= self._run.seconds:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _freeze(self, system: topology.System) -> None:
        await asyncio.sleep(self._run.freeze_after_s)
        # Who is replaced has lost its copy: all compare with a new one from then on.
        await now_and_after_each_replacement(system.freeze, lambda: system.replaced, SystemClock())

    async def _note_first_score(self, traffic: Traffic) -> None:
        await traffic.first_score.wait()
        self._first_score_s = self._screen.elapsed_s()
        self._screen.say("the first score is answered")

    async def _drain(self) -> None:
        """Let the ingress answer what it has, and everybody write down what they know."""
        problems, _ = await asyncio.gather(self._drain_actors(), self._stop_replicas())
        for problem in problems:
            self._screen.say(f"while stopping: {problem}")

    async def _drain_actors(self) -> list[str]:
        return [] if self._to_drain is None else await self._to_drain.drain()

    async def _stop_replicas(self) -> None:
        if self._deployed:
            try:
                async with asyncio.timeout(_INGRESS_STOP_S):
                    await self._calls.run(topology.stop_replicas)
            except TimeoutError:
                self._screen.say(f"the endpoint did not stop in {_INGRESS_STOP_S:g} s: it is ended")
            except Unavailable as error:
                self._screen.say(f"while stopping: {error}")

    async def _disconnect(self) -> bool:
        """Leave Ray; False when a call is still under way: Ray would end this process over it."""
        if not await self._calls.settled(_CALLS_STOP_S):
            return False
        try:
            async with asyncio.timeout(_RAY_STOP_S):
                await self._calls.run(topology.disconnect)
        except TimeoutError:
            return False
        return True

    def _report(self, figures: Figures) -> None:
        self._screen.summary(figures)
        if self._run.json_file is not None:
            summary = {**figures.summary(), "first_score_s": self._first_score_s}
            text = json.dumps(summary, indent=2)
            self._run.json_file.write_text(f"{text}\n", encoding="utf-8")


def _leave(failure: BaseException | None) -> NoReturn:
    """End this process at once, whatever its threads do; the kernel ends what it started."""
    if failure is not None:
        sys.stderr.write(f"error: {failure}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if failure is None else 2 if isinstance(failure, ConfigError) else 1)


async def _statuses(client: KeepAliveClient) -> dict[str, Status]:
    """What all parts posted; nothing while the endpoint does not answer."""
    try:
        status, body = await client.get("/v1/status")
    except OSError:
        return {}
    return msgspec.json.decode(body, type=dict[str, dict[str, Any]]) if status == 200 else {}
