"""What a person sees of a running system, until its time is over or a part is given up."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Self

import pytest
from fake_clock import ManualClock, settle
from rich.console import Console

from freshrank.actors.errors import DefinitionChanged, FreshrankError, Gone, Unavailable
from freshrank.actors.metrics.latency_histogram import LatencyHistogram
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.cluster.actor_slot import LEAST_AGE_S, ActorSlot, Role
from freshrank.deploy.cluster.supervisor import Supervisor
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.commands.running.watch import Watch
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.console.screen import Screen
from freshrank.deploy.console.system_metrics import Requests
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.topology import System

FILE = PipelineFile.read(Path(__file__).parents[5] / "examples" / "recommend.py")
ALERT = {"at_ms": 1, "part": "shard-0", "kind": "not_saved", "message": "no space"}
STATUSES = {
    "learner": {"examples": 12, "steps": 3, "version": "1.3"},
    "shard-0": {"events": 40, "lag_total": 2, "alerts": {"newest": [ALERT]}},
}


class Endpoint:
    """Answers the requests for statuses, in place of the network."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] | OSError = 200, json.dumps(STATUSES).encode()
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.asked.append("closed")

    async def get(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


class Host:
    """A host process that answers, or fails with `error`."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.error: FreshrankError | None = None

    async def call(self, method: str, *args: object, timeout_s: float) -> None:
        if self.error is not None:
            raise self.error
        self.called.append(method)

    def kill(self) -> None:
        self.error = Gone("shard-0", "killed")


class ClockScreen(Screen):
    """A screen whose time is that of the test."""

    def __init__(self, console: Console, clock: ManualClock) -> None:
        super().__init__(console)
        self._clock = clock

    def elapsed_s(self) -> float:
        return self._clock.monotonic()


class Generated:
    """Traffic that has had one answer."""

    def __init__(self) -> None:
        self.first_score = asyncio.Event()
        self.error: FreshrankError | None = None

    async def run(self) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()

    def requests(self) -> Requests:
        return Requests(count=7, errors=1, latency=LatencyHistogram())


class World:
    """A system of a learner and a shard that run nowhere, and a person who watches it."""

    def __init__(self, folder: Path, endpoint: Endpoint, seconds: float | None) -> None:
        self.endpoint = endpoint
        self.clock = ManualClock()
        self.driver: dict[str, JsonValue] = {}
        self.hosts: dict[str, list[Host]] = {"learner": [], "shard-0": [], "statuses": []}
        self.system = System(self._slot("learner"), [self._slot("shard-0")], self._slot("statuses"))
        self.supervisor = Supervisor(self.system.parts, self.clock, lambda line: None)
        self.json_file = folder / "summary.json"
        self._output = io.StringIO()
        screen = ClockScreen(Console(file=self._output, width=200), self.clock)
        request = RunRequest(FILE, Settings(), seconds=seconds, json_file=self.json_file)
        self.watch = Watch(request, "shop", screen, self.clock)

    def _slot(self, name: str) -> ActorSlot:
        def start() -> Host:
            self.hosts[name].append(Host())
            return self.hosts[name][-1]

        return ActorSlot(name, Role("play"), start, lambda line: None, self.clock.monotonic)

    @property
    def lines(self) -> list[str]:
        return self._output.getvalue().splitlines()

    async def begin(self, traffic: Generated | None = None) -> asyncio.Task[None]:
        running = asyncio.create_task(
            self.watch.run(self.system, self.supervisor, lambda: self.driver, traffic)
        )
        await settle()
        return running

    async def tick(self, seconds: float) -> None:
        """Let time pass in steps in which every sleeper wakes when it is due."""
        for _ in range(round(seconds * 10)):
            await self.clock.tick(0.1)

    def frozen(self, name: str) -> int:
        return sum(host.called.count("freeze") for host in self.hosts[name])


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    made = Endpoint()
    monkeypatch.setattr(RunRequest, "client", lambda request: made)
    return made


Play = Callable[[World], Coroutine[None, None, None]]


def play(folder: Path, endpoint: Endpoint, story: Play, seconds: float | None = None) -> World:
    world = World(folder, endpoint, seconds)
    asyncio.run(story(world))
    return world


def test_a_run_ends_when_its_time_is_over_and_its_summary_is_written(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async def story(world: World) -> None:
        running = await world.begin()
        await world.tick(2.9)
        assert not running.done()
        await world.tick(0.3)
        await running

    world = play(tmp_path, endpoint, story, seconds=3.0)
    assert endpoint.asked == ["/v1/status"] * 4 + ["closed"]
    assert not world.json_file.exists()
    world.watch.summarize()
    summary = json.loads(world.json_file.read_text())
    assert summary["first_score_s"] is None
    assert (summary["examples"], summary["seconds"]) == (12, pytest.approx(3.0, abs=0.11))


def test_an_alert_is_shown_once_and_not_at_each_read(tmp_path: Path, endpoint: Endpoint) -> None:
    async def story(world: World) -> None:
        running = await world.begin()
        await world.tick(5.0)
        await running

    shown = [line for line in play(tmp_path, endpoint, story, 4.0).lines if "alert" in line]
    assert len(shown) == 1
    assert shown[0].endswith("alert of shard-0: not saved: no space")


@pytest.mark.parametrize("answer", [ConnectionRefusedError("no listener"), (503, b"unavailable")])
def test_a_run_goes_on_while_the_endpoint_does_not_answer(
    tmp_path: Path, endpoint: Endpoint, answer: tuple[int, bytes] | OSError
) -> None:
    async def story(world: World) -> None:
        answered, endpoint.answer = endpoint.answer, answer
        running = await world.begin()
        await world.tick(2.5)
        assert not running.done()
        endpoint.answer = answered
        await world.tick(2.0)
        await running

    world = play(tmp_path, endpoint, story, seconds=4.0)
    world.watch.summarize()
    assert json.loads(world.json_file.read_text())["examples"] == 12


def test_the_reference_is_frozen_once_and_again_when_a_part_was_replaced(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async def story(world: World) -> None:
        running = await world.begin()
        await world.tick(1.9)
        assert (world.frozen("learner"), world.frozen("shard-0")) == (0, 0)
        await world.tick(1.0)  # a fifth of the run
        assert (world.frozen("learner"), world.frozen("shard-0")) == (1, 1)
        await world.tick(2.0)
        assert world.frozen("shard-0") == 1
        world.hosts["shard-0"][-1].error = Gone("shard-0", "crashed")
        await world.tick(LEAST_AGE_S)
        assert (world.frozen("learner"), world.frozen("shard-0")) == (2, 2)
        await world.tick(3.0)
        await running

    world = play(tmp_path, endpoint, story, seconds=10.0)
    assert [host.called.count("freeze") for host in world.hosts["shard-0"]] == [1, 1]


def test_a_run_without_an_end_goes_on_until_it_is_cancelled(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async def story(world: World) -> None:
        running = await world.begin()
        await world.tick(5.0)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(tmp_path, endpoint, story)
    assert endpoint.asked[-1] == "closed"


def test_the_error_of_a_part_that_is_given_up_ends_the_run(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async def story(world: World) -> None:
        running = await world.begin()
        await world.tick(1.0)
        world.hosts["shard-0"][-1].error = DefinitionChanged("another model")
        await world.tick(2.0)
        with pytest.raises(DefinitionChanged, match="another model"):
            await running

    play(tmp_path, endpoint, story)


def test_the_first_score_is_noted_and_requests_are_those_of_the_traffic(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async def story(world: World) -> None:
        traffic = Generated()
        running = await world.begin(traffic)
        await world.tick(1.5)
        assert "the first score is answered" not in "".join(world.lines)
        traffic.first_score.set()
        await settle()
        await world.tick(2.0)
        await running

    world = play(tmp_path, endpoint, story, seconds=3.0)
    world.watch.summarize()
    summary = json.loads(world.json_file.read_text())
    assert summary["first_score_s"] == pytest.approx(1.5, abs=0.01)
    assert (summary["score_requests"], summary["request_errors"]) == (7, 1)
    assert sum("the first score is answered" in line for line in world.lines) == 1


def test_traffic_that_fails_ends_the_run(tmp_path: Path, endpoint: Endpoint) -> None:
    async def story(world: World) -> None:
        traffic = Generated()
        traffic.error = Unavailable("kafka", "accepts no more events")
        running = await world.begin(traffic)
        await world.tick(1.5)
        with pytest.raises(Unavailable, match="accepts no more events"):
            await running

    play(tmp_path, endpoint, story)


def test_a_run_that_was_never_watched_has_no_summary(tmp_path: Path, endpoint: Endpoint) -> None:
    world = World(tmp_path, endpoint, seconds=1.0)
    world.watch.summarize()
    assert not world.json_file.exists()
    assert world.lines == []
