"""The whole system in lock-step as a real process that can be killed, with its state on disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.actors.snapshots.file_format import unpack
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.crashes.expected import entity_rows
from freshrank.benchmarks.crashes.recorded_stream import recorded_log, recorded_pipeline
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.state.folders import LEARNER, SHARDS
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.learner.checkpoints import NAME

# Seconds of the recorded log: some 180 steps.
_SECONDS = 3_000
# Steps between two checkpoints of the learner; a shard takes a snapshot at each of its steps.
_CHECKPOINT_STEPS = 5
_SETTINGS = Settings.model_validate(
    {
        "shards": {"count": 2, "snapshot_interval_s": 1e-6},
        "learner": {"checkpoint_interval_s": 3600},
    }
)


@dataclass(frozen=True)
class Began:
    """The state that a process has restored."""

    version: str
    events: int
    """Events in the learner's applied offsets."""


@dataclass(frozen=True)
class Ended:
    """The state at the end, which must be the same, bit for bit, after any number of kills."""

    learned: dict[str, bytes]
    """The learner's last checkpoint: weights, optimiser state, quality."""
    applied: dict[str, dict[str, int]]
    """The learner's applied offsets of each partition."""
    steps: int
    features: dict[str, bytes]
    """The row of each entity."""


def work(folder: Path, told: Connection) -> None:
    """Restore the state in `folder` and run to the end of the log.

    Sends a `Began`, the number of each step, and an `Ended`.
    """
    asyncio.run(_work(folder, told))


async def _work(folder: Path, told: Connection) -> None:
    checkpoints = FileSnapshots(folder / LEARNER)
    log, shards = recorded_log(recorded_pipeline(), _SECONDS), FileSnapshots(folder / SHARDS)
    world = World(log, SystemClock(), snapshots=shards, checkpoints=checkpoints)
    system = LocalSystem(recorded_pipeline(), _SETTINGS, world)
    await system.start()
    status, applied = await system.status(), await system.learner.applied()
    told.send(
        Began(
            str(status["version"]),
            sum(offsets[system.pipeline.stream.topic] for offsets in applied.values()),
        )
    )
    steps = 0
    while await system.step():
        steps += 1
        told.send(steps)
        if steps % _CHECKPOINT_STEPS == 0:
            await system.learner.save()
    await system.stop()
    told.send(_end(system, checkpoints))


def _end(system: LocalSystem, checkpoints: FileSnapshots) -> Ended:
    newest = unpack(checkpoints.candidates(NAME)[0].read())
    order = np.argsort(newest.arrays["keys"])  # the order of a table's rows is not defined
    rows = ("keys", "rows", "stamps")
    learned = {
        name: (array[order] if name in rows else array).tobytes()
        for name, array in newest.arrays.items()
    }
    rows_of_entities = entity_rows(
        state for shard in system.shards for state in shard.states.values()
    )
    return Ended(learned, newest.meta["applied"], newest.meta["total_steps"], rows_of_entities)
