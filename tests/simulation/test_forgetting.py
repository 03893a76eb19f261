"""A user who is forgotten is in no file of the state, in no row and in no weights any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import unpack_for
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.crashes.recorded_stream import (
    START_MS,
    RecordedEvent,
    recorded_pipeline,
)
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring import assembly
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.encoding.input_ids import plain_ids
from freshrank.learner import checkpoints
from freshrank.serve.entities.entity_forgetter import EntityForgetter

PARTITIONS = 2
GONE, STAYS = "ada-who-wants-to-be-forgotten", "bob-who-stays"
SETTINGS = Settings.model_validate({"shards": {"count": 1}})
KEPT_FILES = 3


class Home:
    """A log, a store and a folder, over which one system after the other runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(START_MS)
        self.pipeline = recorded_pipeline()
        snapshots, learned = FileSnapshots(folder / "shards"), FileSnapshots(folder / "learner")
        log = MemoryLog(PARTITIONS)
        self.world = World(log, self.clock, snapshots=snapshots, checkpoints=learned)
        self.number = 0

    async def system(self) -> LocalSystem:
        made = LocalSystem(self.pipeline, SETTINGS, self.world)
        await made.start()
        return made

    async def shop(self, system: LocalSystem, *users: str) -> None:
        """Each sees three items and orders one of them."""
        for user in users:
            candidates = [{"item": item} for item in (1, 2, 3)]
            await system.score({"user": user, "candidates": candidates, "show": 3})
            self.clock.ms += 100
            self.number += 1
            event = RecordedEvent(f"e{self.number}", user, 1, "order", 2.5, self.clock.now_ms())
            await system.sink.send("behaviour", user.encode(), msgspec.json.encode(event))
            self.clock.ms += 100
        await system.drain()

    def in_files(self, user: str) -> int:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return sum(user.encode() in path.read_bytes() for path in files)

    def in_store(self, user: str) -> bool:
        return any(user.encode() in key for key in self.world.store.rows)

    def learned(self, user: str) -> list[bool]:
        """Whether each checkpoint, the newest first, has a row of the user's id."""
        (key,) = plain_ids("user", hash_texts([user])).tolist()
        core = assembly.learner(self.pipeline, SETTINGS.learner)
        made_for = checkpoints.made_for(core.model, core.optimizer)
        found = []
        for kept in self.world.checkpoints.candidates(checkpoints.NAME):
            _, arrays = unpack_for(checkpoints.NAME, made_for, kept.read())
            ids = [array for array in arrays.values() if array.dtype == np.int64]
            found.append(any(key in array for array in ids))
        return found


def test_the_id_of_a_forgotten_user_is_nowhere_after_the_next_files(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def story() -> None:
        system = await home.system()
        await home.shop(system, GONE, STAYS, GONE)
        state = system.shards[0].states
        assert sum(one.joiner.pending for one in state.values() if one.joiner) > 0
        await system.stop()
        assert home.in_files(GONE) and home.in_files(STAYS)
        assert home.in_store(GONE) and home.learned(GONE)[0]

        system = await home.system()
        system.replica.start()
        forgetter = EntityForgetter(system.replica.pipeline, system.sink, system.replica.reader)
        answer = await forgetter.forget("user", GONE)
        assert [place.topic for place in answer.positions] == ["behaviour"]
        await system.drain()
        assert not home.in_store(GONE) and home.in_store(STAYS)
        await system.stop()
        assert home.learned(GONE)[0] is False and home.learned(STAYS)[0]
        before = home.in_files(GONE)

        for _ in range(KEPT_FILES):  # of each kind the newest three stay
            system = await home.system()
            await home.shop(system, STAYS)
            await system.stop()
        assert 0 == home.in_files(GONE) < before
        assert home.in_files(STAYS)
        assert not any(home.learned(GONE)) and all(home.learned(STAYS))

        system = await home.system()
        await home.shop(system, GONE)
        assert home.in_store(GONE), "who comes back is known again"
        await system.stop()

    asyncio.run(story())


def test_what_a_forgotten_user_gets_is_what_a_new_one_gets(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def story() -> None:
        system = await home.system()
        await home.shop(system, *[GONE] * 5, STAYS)
        request: dict[str, JsonValue] = {"candidates": [{"item": 1}, {"item": 2}], "show": 0}
        before = await system.score({**request, "user": GONE})
        await system.sink.send("behaviour", GONE.encode(), None)
        await system.drain()
        after = await system.score({**request, "user": GONE})
        new = await system.score({**request, "user": "nobody"})
        assert after.features.source == "new"
        assert before.scores != after.scores
        # The rows of two new ids differ by their random initial values, by little.
        assert after.scores == pytest.approx(new.scores, abs=0.02)
        await system.stop()

    asyncio.run(story())
