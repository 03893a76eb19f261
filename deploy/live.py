"""A system from the first line of output to the last: started, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError
from freshrank.actors.protocols import Status
from freshrank.deploy import memory_needs, topology
from freshrank.deploy.commands import Run
from freshrank.deploy.demo_traffic import DemoTraffic
from freshrank.deploy.figures import Figures, Gauge
from freshrank.deploy.hosts import Site
from freshrank.deploy.outside import Outside, outside_of, prepare_state, prepare_topics
from freshrank.deploy.processes import listens
from freshrank.deploy.screen import Screen
from freshrank.deploy.supervisor import Supervisor
from freshrank.examples.keepalive import KeepAliveClient

# Seconds between two looks at the figures.
_LOOK_EVERY_S = 1.0

# Seconds for the replicas to answer what they have been asked, when all is stopped.
_INGRESS_STOP_S = 4.0


def run_live(run: Run) -> None:
    """Start, watch and stop; comes back when all of it is gone."""
    uvloop.run(_Operation(run, Screen(Console())).run())


class _Operation:
    """One run. Its parts are stopped in the reverse order of their start."""

    def __init__(self, run: Run, screen: Screen) -> None:
        self._run = run
        self._screen = screen
        self._stop = asyncio.Event()
        self._pipeline = run.file.load()
        settings = run.settings.serve
        self._url = f"http://{settings.host}:{settings.port}"
        self._state = run.settings.state_folder(self._pipeline.name)
        self._gauge = Gauge()
        self._figures: Figures | None = None
        self._first_score_s: float | None = None

    async def run(self) -> None:
        """All of it."""
        self._listen_for_signals()
        self._check_port()
        prepare_state(self._state, self._run.settings.kafka.bootstrap, self._screen.say)
        outside = outside_of(self._pipeline, self._run.settings, self._state, self._screen.say)
        async with contextlib.AsyncExitStack() as running:
            running.push_async_callback(outside.stop)
            await self._until_stopped(self._live(outside, running))
            self._screen.say("stopping")
        if self._figures is not None:
            self._report(self._figures)

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            loop.add_signal_handler(number, self._stop.set)

    def _check_port(self) -> None:
        settings = self._run.settings.serve
        if self._run.address is None and listens(settings.host, settings.port):
            raise ConfigError(
                f"port {settings.port}",
                "somebody listens there already",
                "Choose another: --port, or FRESHRANK_SERVE__PORT.",
            )

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

    async def _live(self, outside: Outside, running: contextlib.AsyncExitStack) -> None:
        """Start, and then watch until the time is over."""
        run, say = self._run, self._screen.say
        say(f"starting Ray, Kafka ({run.settings.kafka.bootstrap}) and Redis")
        connecting = asyncio.ensure_future(asyncio.to_thread(topology.connect, run.address))
        running.push_async_callback(self._disconnect, connecting)
        _, site = await asyncio.gather(asyncio.shield(connecting), self._site(outside))
        self._listen_for_signals()  # Ray has put handlers of its own in their place
        say(f"starting the learner, {run.settings.shards.count} shard(s) and the endpoint")
        system = topology.build(site)
        running.push_async_callback(self._drain, system)
        supervisor = Supervisor(system.actors, SystemClock(), say)
        await asyncio.gather(asyncio.to_thread(topology.start_serving, site), supervisor.round())
        say(f"the endpoint and its page are up: {self._url}/")
        traffic = None
        if run.demo:
            traffic = DemoTraffic(site.sink(), self._pipeline.stream.topic, self._url)
        with self._screen.table():
            await self._watch(system, supervisor, traffic)

    async def _site(self, outside: Outside) -> Site:
        """Start what is outside, and say where it is."""
        await outside.start()
        settings, bootstrap = self._run.settings, outside.broker.bootstrap
        security, wanted = settings.kafka.security(), settings.kafka.partitions
        count = await prepare_topics(self._pipeline, bootstrap, wanted, security)
        self._check_memory(count)
        return Site(
            file=self._run.file,
            settings=settings,
            bootstrap=bootstrap,
            kafka_security=security,
            redis_url=outside.redis.url,
            state=self._state,
            partitions=count,
            learner=topology.learner_address(self._pipeline.name),
        )

    async def _disconnect(self, connecting: asyncio.Future[None]) -> None:
        # A start that is under way cannot be interrupted: it is waited for, whatever comes of it.
        await asyncio.wait([connecting])
        await asyncio.to_thread(topology.disconnect)

    async def _watch(
        self, system: topology.System, supervisor: Supervisor, traffic: DemoTraffic | None
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
            await asyncio.gather(*background, return_exceptions=True)

    async def _show(
        self, background: Sequence[asyncio.Future[None]], traffic: DemoTraffic | None
    ) -> None:
        """Look at the figures until the time is over, or something in the background fails."""
        address = self._run.settings.serve
        began = self._screen.elapsed_s()
        async with KeepAliveClient(address.host, address.port) as client:
            while True:
                elapsed = self._screen.elapsed_s() - began
                statuses = await _statuses(client)
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
        await system.freeze()

    async def _note_first_score(self, traffic: DemoTraffic) -> None:
        await traffic.first_score.wait()
        self._first_score_s = self._screen.elapsed_s()
        self._screen.say("the first score is answered")

    async def _drain(self, system: topology.System) -> None:
        """Let the ingress answer what it has, and everybody write down what they know."""
        ingress = asyncio.wait_for(asyncio.to_thread(topology.stop_replicas), _INGRESS_STOP_S)
        problems, slow = await asyncio.gather(system.drain(), ingress, return_exceptions=True)
        for problem in problems if isinstance(problems, list) else [problems]:
            self._screen.say(f"while stopping: {problem}")
        if isinstance(slow, BaseException):
            self._screen.say(f"the endpoint did not stop in {_INGRESS_STOP_S:g} s: it is ended")

    def _report(self, figures: Figures) -> None:
        self._screen.summary(figures)
        if self._run.json_file is not None:
            summary = {**figures.summary(), "first_score_s": self._first_score_s}
            text = json.dumps(summary, indent=2)
            self._run.json_file.write_text(f"{text}\n", encoding="utf-8")


async def _statuses(client: KeepAliveClient) -> dict[str, Status]:
    """What all parts posted; nothing while the endpoint does not answer."""
    try:
        status, body = await client.get("/v1/status")
    except OSError:
        return {}
    return msgspec.json.decode(body, type=dict[str, dict[str, Any]]) if status == 200 else {}
