"""History through a pipeline in event time: what it would have learned, and how well.

A pipeline file that can be replayed has a function ``records(path)`` beside its pipeline: it
yields (key, value, event time in ms) of each record, oldest first: bytes, bytes (the event as
JSON) and a whole number. It may have ``report(path)``
too: named figures to compare with, such as those of trivial baselines.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Ints
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import check_summary
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.lock_step import CELL_EVENTS
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

# Records that are added at once: a cell, so that its bounds are those of the cells.
CHUNK_RECORDS = CELL_EVENTS

# The frozen copy is taken after this share of the records.
FREEZE_SHARE = 0.2

# Chunks between two checkpoints, which let the shards forget what was learned.
_CHECKPOINT_CHUNKS = 500


@dataclass(frozen=True)
class History:
    """Recorded events, oldest first."""

    keys: list[bytes]
    values: list[bytes]
    times_ms: Ints
    """int64[n]."""

    def __len__(self) -> int:
        return len(self.keys)


class EventClock:
    """Now is the time of the newest event that was played; waiting takes real time."""

    def __init__(self) -> None:
        self.event_ms = 0

    def now_ms(self) -> int:
        """Of the newest event."""
        return self.event_ms

    def monotonic(self) -> float:
        """Real seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Real seconds."""
        await asyncio.sleep(seconds)


async def replay(
    pipeline: Pipeline,
    history: History,
    *,
    speed_up: float | None = None,
    advanced: Callable[[int], None] = lambda records: None,
) -> Mapping[str, JsonValue]:
    """Play all of `history`; gives the learner's figures, and how many records were no use.

    Each chunk is scored by the weights that all earlier chunks gave, then learned from.

    With `speed_up`, so many seconds of event time pass in one of real time; without, it goes as
    fast as it can. `advanced` is called with the number of records played so far. Raises
    ConfigError when not one of the records could be used.
    """
    clock = EventClock()
    world = World(MemoryLog(partitions=1), clock)  # one order of events, that of the history
    system = LocalSystem(pipeline, _settings(), world)
    await system.start()
    pace = _Pace(history, speed_up)
    freeze_at = int(len(history) * FREEZE_SHARE)
    frozen = False
    for number, begin in enumerate(range(0, len(history), CHUNK_RECORDS)):
        end = min(begin + CHUNK_RECORDS, len(history))
        await pace.wait_for(end - 1)
        clock.event_ms = int(history.times_ms[end - 1])
        times_ms = history.times_ms[begin:end]
        world.log.extend(pipeline.stream.topic, 0, history.values[begin:end], times_ms)
        await system.drain()
        if not frozen and end >= freeze_at:
            await system.freeze()
            frozen = True
        if number % _CHECKPOINT_CHUNKS == 0:
            await system.learner.save()
        advanced(end)
    figures = await system.status()
    await system.stop()
    return {**figures, **_refused(system, len(history))}


def frozen_after(records: int) -> int:
    """How many of so many records are played before the frozen copy is taken: whole chunks.

    >>> frozen_after(1_000)
    256
    """
    chunks = -(-int(records * FREEZE_SHARE) // CHUNK_RECORDS)
    return min(max(chunks, 1) * CHUNK_RECORDS, records)


def read_history(module: ModuleType, file: str, data: Path) -> History:
    """The records of `data`, as the pipeline's file reads them; raises ConfigError."""
    records = getattr(module, "records", None)
    if records is None:
        raise ConfigError(
            file,
            "it cannot read history",
            f"Write a function records(path). {_RECORD}",
        )
    if not data.exists():
        raise ConfigError(str(data), "there is no such file", "Give the path of the data.")
    given = cast(Callable[[Path], object], records)(data)
    if not isinstance(given, Iterable):
        raise ConfigError(f"{file}: records", f"what it gives is {_kind(given)}", _RECORD)
    keys, values, times = [], [], []
    for number, one in enumerate(given):
        key, value, at_ms = _checked(one, f"{file}: record {number} of records")
        keys.append(key)
        values.append(value)
        times.append(at_ms)
    if not keys:
        raise ConfigError(str(data), "there is no record in it", "Give data with some.")
    return History(keys, values, np.array(times, dtype=np.int64))


def _refused(system: LocalSystem, records: int) -> dict[str, JsonValue]:
    """How many were dead or late; raises ConfigError, with the reason of one, if all were dead."""
    topic = system.pipeline.stream.topic
    dead = [one for where, one in system.sink.rejected if where == f"{topic}.dead"]
    if len(dead) == records:
        raise ConfigError(
            f"record {dead[0].offset} of records",
            f"its value is no event of {topic!r}, and no other is: {dead[0].reason}",
            "Yield the JSON of an event as the stream's schema has it.",
        )
    return {"dead": len(dead), "late": len(system.sink.rejected) - len(dead)}


_RECORD = "Yield (key, value, event time in ms): bytes, bytes (the event as JSON) and an int."


def _checked(record: object, place: str) -> tuple[bytes, bytes, int]:
    """A record that can be played; raises ConfigError saying what it is instead."""
    if not isinstance(record, tuple | list):
        raise ConfigError(place, f"it is {_kind(record)}", _RECORD)
    if len(record) != 3:
        raise ConfigError(place, f"it has {len(record)} parts", _RECORD)
    key, value, at_ms = record
    for name, part in (("key", key), ("value", value)):
        if not isinstance(part, bytes):
            raise ConfigError(place, f"its {name} is {_kind(part)}", _RECORD)
    # NumPy's integers are taken, too.
    if isinstance(at_ms, bool) or not isinstance(at_ms, Integral) or int(at_ms).bit_length() > 63:
        raise ConfigError(place, f"its event time is {at_ms!r}", _RECORD)
    return key, value, int(at_ms)


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


def run_replay(file: Path, data: Path, speed_up: float | None, json_file: Path | None) -> None:
    """The command: read, play with a progress bar, print what came of it."""
    console = Console()
    check_summary(json_file)
    pipeline_file = PipelineFile.read(file)
    pipeline, module = pipeline_file.load(), pipeline_file.load_module()
    console.print(pipeline.describe(), markup=False, highlight=False)
    with console.status(f"reading {data}"):
        history = read_history(module, str(file), data)
    bar = Progress(
        TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip
    began = time.monotonic()
    with bar:
        task = bar.add_task("", total=len(history))
        figures = asyncio.run(
            replay(
                pipeline,
                history,
                speed_up=speed_up,
                advanced=lambda count: bar.update(task, completed=count),
            )
        )
    summary: dict[str, JsonValue] = {
        "records": len(history),
        "seconds": round(time.monotonic() - began, 2),
        "dead": figures["dead"],
        "late": figures["late"],
        "versions": figures["steps"],
        **{name: figures[name] for name in _QUALITY},
    }
    report = getattr(module, "report", None)
    if report is not None:
        with console.status("computing what to compare with"):
            summary |= report(data)
    _print(console, summary)
    if json_file is not None:
        json_file.write_text(f"{json.dumps(summary, indent=2)}\n", encoding="utf-8")


_QUALITY = (
    "examples", "auc", "log_loss", "compared",
    "auc_live", "auc_frozen", "log_loss_live", "log_loss_frozen",
)  # fmt: skip


class _Pace:
    """Holds chunks back until their time has come."""

    def __init__(self, history: History, speed_up: float | None) -> None:
        self._times_ms = history.times_ms
        self._speed_up = speed_up
        self._began = time.monotonic()

    async def wait_for(self, record: int) -> None:
        if self._speed_up is None:
            return
        passed_ms = float(self._times_ms[record] - self._times_ms[0])
        due = self._began + passed_ms / 1000.0 / self._speed_up
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _settings() -> Settings:
    """What a replay needs: one reader, and snapshots that no crash will ask for once in an hour."""
    return Settings.model_validate({"shards": {"count": 1, "snapshot_interval_s": 3600.0}})


def _print(console: Console, summary: Mapping[str, JsonValue]) -> None:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in summary.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name, shown)
    console.print(table)
