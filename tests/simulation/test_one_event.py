"""docs/architecture.md follows one event; here it does so in a system, and both are compared."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from freshrank.actors.clock import SystemClock
from freshrank.actors.messages import Version
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalParts, World, in_lock_step
from freshrank.examples.recommend import Behaviour, pipeline
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService

ROOT = Path(__file__).parent.parent.parent
MOST_FILES = 25

# Real servers and Ray, which a system in memory has no part of.
OUTSIDE = {
    "feature_actors/connectors/kafka/source.py",
    "feature_actors/connectors/redis/online_store.py",
    "actors/runtime.py",
    "deploy/cluster/hosts.py",
}
FRAME = {"tests/simulation/test_one_event.py"}
"""Files of the test itself, which begin every step."""


def walk() -> tuple[list[tuple[str, list[str]]], set[str]]:
    """The steps of the page as files and their functions, and the files between the steps."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    text = page.partition("## One event\n")[2].partition("\n## ")[0]
    steps = [
        (file, re.split(r",\s+", names))
        for file, names in re.findall(r"^ ?\d+\. `(\S+\.py): ([^`]+)`", text, re.MULTILINE)
    ]
    return steps, set(re.findall(r"^\| `(\S+\.py)` \|", text, re.MULTILINE))


class Calls:
    """The functions of the repository that were called, and the files below each on the stack."""

    def __init__(self) -> None:
        self.first: list[tuple[str, str]] = []
        """File and qualified name of each, in the order of its first call."""
        self.below: dict[tuple[str, str], set[str]] = {}

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or (called := _place(frame)) is None:
            return
        if called not in self.below:
            self.first.append(called)
            self.below[called] = set()
        while (above := frame.f_back) is not None:
            frame = above
            if (place := _place(frame)) is not None:
                self.below[called].add(place[0])


def _place(frame: FrameType) -> tuple[str, str] | None:
    file = _file(frame.f_code.co_filename)
    return None if file is None else (file, frame.f_code.co_qualname)


@cache
def _file(name: str) -> str | None:
    path = Path(name).resolve()
    # Code that was made of a text has a name like <string>.
    if path.suffix != ".py" or not path.is_relative_to(ROOT) or ".venv" in path.parts:
        return None
    return path.relative_to(ROOT).as_posix()


@contextmanager
def noted(calls: Calls) -> Iterator[None]:
    before: Callable[..., Any] | None = sys.getprofile()
    sys.setprofile(calls.note)
    try:
        yield
    finally:
        sys.setprofile(before)


async def follow_a_click() -> Calls:
    """Show an item to a user, and note what is called from the click on it to the next score.

    A first click goes before it, so that no kernel has to be compiled or loaded meanwhile.
    """
    clock, log, calls = SystemClock(), MemoryLog(partitions=1), Calls()
    parts = LocalParts(pipeline, in_lock_step(Settings()), World(log, clock))
    learner = parts.learner()[1]
    await learner.start()
    shard, follower = parts.shard(0, learner, MemorySource(log))
    await follower.step(timeout_s=0.0)
    await shard.start()
    replica = parts.replica(learner)

    async def made() -> ScoringService:
        return replica

    app = build_app(made)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), client:
        for number in (0, 1):
            # Each shows an item of its own: a click counts also for what is shown a moment later.
            shown, later = ([{"item_id": 2 * number + i, "category_id": 1}] for i in (0, 1))
            request = {"user": "u1", "candidates": shown}
            assert (await client.post("/v1/score", json=request)).status_code == 200
            await shard.step()
            await follower.step(timeout_s=0.0)  # the item is a negative example already
            click = Behaviour(f"e{number}", "u1", 2 * number, 1, "click", 1.0, clock.now_ms())
            log.distribute(
                pipeline.stream.topic, [b"u1"], [msgspec.json.encode(click)], np.array([click.ts])
            )
            before = str((await learner.status())["version"])
            with noted(calls) if number else nullcontext():
                await shard.step()
                await follower.step(timeout_s=0.0)
                version = str((await learner.status())["version"])
                wanted = {"user": "u1", "candidates": later, "min_version": version}
                answer = await client.post("/v1/score", json=wanted)
                await asyncio.sleep(0)  # the impression is written after the answer
    assert answer.json()["model"]["version"] == version
    assert Version.parse(version) > Version.parse(before), "the click is learned"
    assert answer.json()["features"]["offset"] == 1
    await shard.stop()
    await learner.stop()
    return calls


@pytest.fixture(scope="module")
def calls() -> Calls:
    return asyncio.run(follow_a_click())


def test_the_walk_has_few_files_each_once() -> None:
    steps, between = walk()
    files = [file for file, _ in steps]
    assert 20 <= len(files) <= MOST_FILES
    assert len({*files, *between}) == len(files) + len(between)
    assert all((ROOT / file).exists() for file in (*files, *between))


def test_the_steps_of_the_walk_are_called_in_its_order(calls: Calls) -> None:
    steps = [(file, names) for file, names in walk()[0] if file not in OUTSIDE]
    wanted = [(file, name) for file, names in steps for name in names]
    assert [call for call in wanted if call not in calls.below] == []
    begins = [(file, names[0]) for file, names in steps]
    assert sorted(begins, key=calls.first.index) == begins


def test_no_other_file_lies_between_the_steps_of_the_walk(calls: Calls) -> None:
    steps, between = walk()
    known = {file for file, _ in steps} | between | FRAME
    others = {
        (name, below)
        for file, names in steps
        for name in names
        for below in calls.below.get((file, name), set()) - known
    }
    assert others == set()
    lain = {below for files in calls.below.values() for below in files}
    assert between - OUTSIDE <= lain
