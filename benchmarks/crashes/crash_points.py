"""Where a process of the simulation can end: before and after each step of its loop.

The parts are real and know nothing of it. While `instrumented`, the functions named in `STEPS`
tell the process that runs them (a context variable) that a step begins or has ended, and there it
may end: from then on none of its steps has any effect, and whoever called it gets no answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from freshrank.actors.parameters.delta_log import DeltaLog
from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.deploy.wiring.lock_step import CellSource
from freshrank.feature_actors.connectors.in_memory.log import MemorySink, MemorySource
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.partition.example_queue import ExampleQueue
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.json_decoder import Codec
from freshrank.learner import checkpoints
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.bounds import GradientSizes
from freshrank.learner.guard.rollback import RollbackLog
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.parameters.weights import ModelWeights


class Crash(BaseException):
    """The process that runs this ends here."""


class CrashPoint(NamedTuple):
    """One place in a run where a process can end."""

    process: str
    step: str
    after: bool

    def __str__(self) -> str:
        return f"{self.process} {'after' if self.after else 'before'} {self.step}"


@dataclass
class CrashSchedule:
    """What ends when in one run: the n-th place passed, then the n-th from there, and so on."""

    crash_at: Sequence[int] = ()
    passed: list[CrashPoint] = field(default_factory=list)
    """Since the last crash."""
    crashes: list[CrashPoint] = field(default_factory=list)

    def ends(self, place: CrashPoint) -> bool:
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
    fate: CrashSchedule
    alive: bool = True

    def at(self, step: str, *, after: bool) -> None:
        """Pass a place; raises Crash when the process ends there, or has ended."""
        if self.alive:
            self.alive = not self.fate.ends(CrashPoint(self.name, step, after))
        if not self.alive:
            raise Crash(self.name)


running: ContextVar[Process | None] = ContextVar("running", default=None)
"""Whose code this is; None outside a simulation."""


class InstrumentedStep(NamedTuple):
    """A function, or method of a class, and what it is called in a loop."""

    owner: type | ModuleType
    function: str
    name: str


STEPS = (
    InstrumentedStep(MemorySource, "start", "seek"),
    InstrumentedStep(MemorySource, "poll", "poll"),
    InstrumentedStep(CellSource, "poll", "poll"),
    InstrumentedStep(Codec, "decode", "decode"),
    InstrumentedStep(EntityTable, "apply", "update"),
    InstrumentedStep(Joiner, "happen", "join"),
    InstrumentedStep(Joiner, "show", "join"),
    InstrumentedStep(ExampleQueue, "extend", "keep"),
    InstrumentedStep(MemoryStore, "claim", "claim"),
    InstrumentedStep(MemoryStore, "write", "write to Redis"),
    InstrumentedStep(MemoryStore, "remove", "remove from Redis"),
    InstrumentedStep(MemorySink, "reject", "reject"),
    InstrumentedStep(CompiledDifferentiator, "gradient", "differentiate"),
    InstrumentedStep(ExampleQueue, "answer", "acknowledge"),
    InstrumentedStep(Learner, "offer", "aggregate"),
    InstrumentedStep(Learner, "step", "learn"),
    InstrumentedStep(Adagrad, "update", "step"),
    InstrumentedStep(GradientSizes, "error", "guard gradient"),
    InstrumentedStep(RollbackLog, "judge", "guard loss"),
    InstrumentedStep(RollbackLog, "weights_error", "guard weights"),
    InstrumentedStep(DeltaLog, "append", "publish"),
    InstrumentedStep(checkpoints, "restore", "restore"),
    InstrumentedStep(checkpoints, "take", "checkpoint"),
    InstrumentedStep(LearnerActor, "save", "durable"),
    InstrumentedStep(ModelWeights, "apply", "swap"),
)
"""All but the calls of `LearnerProcessHandle` and of `StepwiseDisk`."""


@contextmanager
def instrumented() -> Iterator[None]:
    """Within, processes can end at each step."""
    wrapped = [(owner, name, as_step(vars(owner)[name], step)) for owner, name, step in STEPS]
    with replaced(wrapped):
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


class StepwiseDisk(Disk):
    """Where a process can end in the middle of a file; the machine and what it wrote remain."""

    def write(self, path: Path, pieces: Iterable[Piece]) -> int:
        """Of a process that ends meanwhile half a file is left."""
        whole = b"".join(pieces)
        self._write(path, [whole[: len(whole) // 2]])
        written: int = self._rewrite(path, [whole])
        return written

    @step_called("write half")
    def _write(self, path: Path, pieces: Iterable[Piece]) -> int:
        return super().write(path, pieces)

    @step_called("write")
    def _rewrite(self, path: Path, pieces: Iterable[Piece]) -> int:
        return super().write(path, pieces)

    @step_called("fsync")
    def sync(self, path: Path) -> None:
        """Nothing: only what loses its power has to wait for the disk."""

    @step_called("rename")
    def rename(self, old: Path, new: Path) -> None:
        """See Disk."""
        super().rename(old, new)

    @step_called("prune")
    def remove(self, path: Path) -> None:
        """See Disk."""
        super().remove(path)
