"""Simulated processes, and the schedule by which they crash: before or after any of their steps.

A function that `as_step` has wrapped tells the process that runs it (`current_process`, a context
variable) that a step begins or has ended, and there the process may crash: from then on none of its
steps has any effect, and its callers get no answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple


class Crash(BaseException):
    """The process that runs this code has crashed."""


class CrashPoint(NamedTuple):
    """A point in a run where a process can crash: before or after a step."""

    process: str
    step: str
    after: bool

    def __str__(self) -> str:
        return f"{self.process} {'after' if self.after else 'before'} {self.step}"


@dataclass
class CrashSchedule:
    """At which of the points that it passes a run crashes.

    The first crash is at point ``crash_at[0]`` of the run, the second at point ``crash_at[1]`` of
    those after the first, and so on.

    >>> schedule = CrashSchedule([1])
    >>> schedule.reach(CrashPoint("shard-0", "poll", after=False))
    False
    >>> schedule.reach(CrashPoint("shard-0", "poll", after=True))
    True
    """

    crash_at: Sequence[int] = ()
    passed: list[CrashPoint] = field(default_factory=list)
    """The points since the last crash."""
    crashes: list[CrashPoint] = field(default_factory=list)

    def reach(self, point: CrashPoint) -> bool:
        """Note that a process is at `point`; return whether it crashes there."""
        self.passed.append(point)
        if len(self.crashes) == len(self.crash_at):
            return False
        if len(self.passed) - 1 != self.crash_at[len(self.crashes)]:
            return False
        self.crashes.append(point)
        self.passed = []
        return True

    def distinct(self) -> list[int]:
        """Return the indices in `passed` without points at which nothing changed since the last.

        A process that goes from the end of one step to the beginning of the next has done nothing
        in between.
        """
        return [
            at
            for at, point in enumerate(self.passed)
            if point.after or at == 0 or not self._follows_at_once(at)
        ]

    def _follows_at_once(self, at: int) -> bool:
        before = self.passed[at - 1]
        return before.after and before.process == self.passed[at].process


@dataclass(eq=False)
class Process:
    """A simulated process."""

    name: str
    schedule: CrashSchedule
    alive: bool = True

    def reach(self, step: str, *, after: bool) -> None:
        """Note the point before or after `step`. Raises Crash in a process that has crashed."""
        if self.alive:
            self.alive = not self.schedule.reach(CrashPoint(self.name, step, after))
        if not self.alive:
            raise Crash(self.name)


current_process: ContextVar[Process | None] = ContextVar("current_process", default=None)
"""The process that runs the present code; None outside of a simulation."""


def as_step(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return `original` with a crash point before and after it."""
    return (_awaited if inspect.iscoroutinefunction(original) else _called)(original, name)


def step_called(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return `as_step` as a decorator, for functions that only a simulation has."""
    return lambda original: as_step(original, name)


def _called(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        process = current_process.get()
        if process is None:
            return original(*args, **kwargs)
        process.reach(name, after=False)
        result = original(*args, **kwargs)
        process.reach(name, after=True)
        return result

    return step


def _awaited(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    async def step(*args: Any, **kwargs: Any) -> Any:
        process = current_process.get()
        if process is None:
            return await original(*args, **kwargs)
        process.reach(name, after=False)
        result = await original(*args, **kwargs)
        process.reach(name, after=True)
        return result

    return step


@contextmanager
def replaced(
    functions: Iterable[tuple[type | ModuleType, str, Callable[..., Any]]],
) -> Iterator[None]:
    """Replace functions of classes and modules within the block: (owner, name, replacement)."""
    with ExitStack() as stack:
        for owner, name, function in functions:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, function)
        yield
