"""Where a process of the simulation can end: before and after each step of its loop.

The parts are real and know nothing of it. While `instrumented`, the functions named in `STEPS`
tell the process that runs them (a context variable) that a step begins or has ended, and there it
may end: from then on none of its steps has any effect, and whoever called it gets no answer.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from freshrank.actors.versioned import DeltaLog
from freshrank.feature_actors.codec import Codec
from freshrank.feature_actors.joiner import Joiner
from freshrank.feature_actors.lock_step import CellSource
from freshrank.feature_actors.memory import MemorySink, MemorySource, MemoryStore
from freshrank.feature_actors.outbox import Outbox
from freshrank.feature_actors.table import EntityTable
from freshrank.learner import checkpoints
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.differentiator import CompiledDifferentiator
from freshrank.learner.guard import Guard
from freshrank.learner.optimizers import Adagrad
from freshrank.learner.weights import ModelWeights


class Crash(BaseException):
    """The process that runs this ends here."""


class Place(NamedTuple):
    """One place in a run where a process can end."""

    process: str
    step: str
    after: bool

    def __str__(self) -> str:
        return f"{self.process} {'after' if self.after else 'before'} {self.step}"


@dataclass
class Fate:
    """What ends when in one run: the n-th place passed, then the n-th from there, and so on."""

    crash_at: Sequence[int] = ()
    passed: list[Place] = field(default_factory=list)
    """Since the last crash."""
    crashes: list[Place] = field(default_factory=list)

    def ends(self, place: Place) -> bool:
        """Note that `place` is passed; whether a process ends there."""
        self.passed.append(place)
        if len(self.crashes) == len(self.crash_at):
            return False
        if len(self.passed) - 1 != self.crash_at[len(self.crashes)]:
            return False
        self.crashes.append(place)
        self.passed = []
        return True

    def distinct(self) -> list[int]:
        """The places without those at which nothing has changed since the one before."""
        return [
            at
            for at, place in enumerate(self.passed)
            if place.after or at == 0 or not self._follows_at_once(at)
        ]

    def _follows_at_once(self, at: int) -> bool:
        before = self.passed[at - 1]
        return before.after and before.process == self.passed[at].process


@dataclass(eq=False)
class Process:
    """Something that lives and ends as one."""

    name: str
    fate: Fate
    alive: bool = True

    def at(self, step: str, *, after: bool) -> None:
        """Pass a place; raises Crash when the process ends there, or has ended."""
        if self.alive:
            self.alive = not self.fate.ends(Place(self.name, step, after))
        if not self.alive:
            raise Crash(self.name)


running: ContextVar[Process | None] = ContextVar("running", default=None)
"""Whose code this is; None outside a simulation."""


class Step(NamedTuple):
    """A function, or method of a class, and what it is called in a loop."""

    owner: type | ModuleType
    function: str
    name: str


STEPS = (
    Step(MemorySource, "start", "seek"),
    Step(MemorySource, "poll", "poll"),
    Step(CellSource, "poll", "poll"),
    Step(Codec, "decode", "decode"),
    Step(EntityTable, "apply", "update"),
    Step(Joiner, "happen", "join"),
    Step(Joiner, "show", "join"),
    Step(Outbox, "extend", "keep"),
    Step(MemoryStore, "claim", "claim"),
    Step(MemoryStore, "write", "write to Redis"),
    Step(MemoryStore, "remove", "remove from Redis"),
    Step(MemorySink, "reject", "reject"),
    Step(CompiledDifferentiator, "gradient", "differentiate"),
    Step(Outbox, "answer", "acknowledge"),
    Step(Learner, "offer", "aggregate"),
    Step(Learner, "step", "learn"),
    Step(Adagrad, "update", "step"),
    Step(Guard, "trouble_with_gradient", "guard gradient"),
    Step(Guard, "trouble_with_weights", "guard weights"),
    Step(DeltaLog, "append", "publish"),
    Step(checkpoints, "restore", "restore"),
    Step(checkpoints, "take", "checkpoint"),
    Step(LearnerActor, "save", "durable"),
    Step(ModelWeights, "apply", "swap"),
)
"""All but calls of the learner (`LearnerSeat`), and what `_files` has of the file system."""


@contextmanager
def instrumented() -> Iterator[None]:
    """Within, processes can end at each step."""
    wrapped = [(owner, name, as_step(vars(owner)[name], step)) for owner, name, step in STEPS]
    with replaced([*wrapped, *_files()]):
        yield


@contextmanager
def replaced(
    functions: Iterable[tuple[type | ModuleType, str, Callable[..., Any]]],
) -> Iterator[None]:
    """Within, each function of an owner is another."""
    with ExitStack() as stack:
        for owner, name, function in functions:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, function)
        yield


def as_step(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`original` with a place before and after it."""
    return (_awaited if inspect.iscoroutinefunction(original) else _called)(original, name)


def step_called(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same for what is written for the simulation alone."""
    return lambda original: as_step(original, name)


def _called(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        process = running.get()
        if process is None:
            return original(*args, **kwargs)
        process.at(name, after=False)
        result = original(*args, **kwargs)
        process.at(name, after=True)
        return result

    return step


def _awaited(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    async def step(*args: Any, **kwargs: Any) -> Any:
        process = running.get()
        if process is None:
            return await original(*args, **kwargs)
        process.at(name, after=False)
        result = await original(*args, **kwargs)
        process.at(name, after=True)
        return result

    return step


def _files() -> list[tuple[type | ModuleType, str, Callable[..., Any]]]:
    """What writing a file is made of."""
    return [
        (Path, "open", _opening(Path.open)),
        (os, "fsync", _called(_in_page_cache, "fsync")),
        (Path, "replace", _called(Path.replace, "rename")),
        (Path, "unlink", _called(Path.unlink, "prune")),
    ]


def _in_page_cache(descriptor: int) -> None:
    """A process that ends leaves behind what it wrote: there is no need to wait for the disk."""


def _opening(original: Callable[..., Any]) -> Callable[..., Any]:
    def open_file(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = original(path, mode, *args, **kwargs)
        process = running.get()
        return file if process is None or "w" not in mode else _Draft(file, process)

    return open_file


class _Draft:
    """A file being written: who ends before the write is over leaves half of it."""

    def __init__(self, file: Any, process: Process) -> None:
        self._file = file
        self._process = process

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, payload: bytes) -> int:
        try:
            self._process.at("write", after=False)
        except Crash:
            self._file.write(payload[: len(payload) // 2])
            raise
        written: int = self._file.write(payload)
        self._process.at("write", after=True)
        return written
