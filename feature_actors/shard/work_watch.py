"""Whether the work that a shard has begun ends: what is stuck is told with the place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import FrameType
from typing import Any

from freshrank.actors.errors import PartFailed

# Seconds, real ones, after which work counts as stuck. All that it waits for has a deadline of some
# ten seconds.
STUCK_S = 60.0


class WorkWatch:
    """The pieces of work that are under way in some tasks, by name.

    Parameters
    ----------
    part
        Whose work it is, for the error.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._under_way: dict[str, tuple[float, asyncio.Task[Any]]] = {}

    @contextlib.contextmanager
    def under_way(self, work: str) -> Iterator[None]:
        """The running task does `work` within the block."""
        task = asyncio.current_task()
        assert task is not None
        self._under_way[work] = asyncio.get_running_loop().time(), task
        try:
            yield
        finally:
            del self._under_way[work]

    def check(self) -> None:
        """Raise PartFailed for work that began longer than `STUCK_S` ago and has not ended."""
        now = asyncio.get_running_loop().time()
        for work, (began, task) in self._under_way.items():
            if now - began > STUCK_S:
                raise PartFailed(
                    f"{self._part}: {work} has not ended for {now - began:.0f} s: it waits in "
                    + " > ".join(places(task))
                )


def places(task: asyncio.Task[Any]) -> list[str]:
    """Where a task waits: the functions that call each other, the outermost first, with lines.

    >>> async def inner() -> None:
    ...     await asyncio.sleep(60)
    >>> async def outer() -> list[str]:
    ...     task = asyncio.create_task(inner())
    ...     await asyncio.sleep(0)
    ...     return [place.split(":")[0] for place in places(task)]
    >>> asyncio.run(outer())
    ['inner', 'sleep']
    """
    found: list[str] = []
    waits: Any = task.get_coro()
    while (frame := _of(waits, "frame")) is not None:
        found.append(_place(frame))
        waits = _of(waits, "await") or _of(waits, "yieldfrom")
    return found


def _of(awaitable: object, what: str) -> Any:
    """The frame of a coroutine or a generator, or what it waits for."""
    values = (getattr(awaitable, f"{kind}_{what}", None) for kind in ("cr", "gi", "ag"))
    return next((value for value in values if value is not None), None)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_name}:{code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
