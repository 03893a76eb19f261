"""The process of a part: without a duty at first, the part itself once it is told to be."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.deploy.wiring import kernel_warmup as warm
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

# Seconds between two tries to reach a broker that is away.
_RECONNECT_S = 5.0


Beside: TypeAlias = Coroutine[Any, Any, None]


class Part(Protocol):
    """What is started once, and may end by itself."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def ping(self) -> None:
        """Raise what ended it, if anything did."""
        ...


P = TypeVar("P", bound=Part)


class Host(Generic[P]):
    """A process that stands by, or is a part.

    Parameters
    ----------
    name
        Of the part, in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._part: P | None = None
        self._starting = Once(self._start)
        self._beside: list[asyncio.Task[None]] = []

    async def stand_by(self) -> None:
        """Load all that a part needs. Raises ProgressError where one works: it was replaced."""
        if self._part is not None:
            raise ProgressError(f"{self._name} was replaced, and still works")
        await asyncio.to_thread(warm.get_ready)

    async def _be(self, make: Callable[[], P], *beside: Callable[[], Beside]) -> None:
        """Be this part from now on, with loops beside it; raise what ended any of them.

        It is begun, not waited for: a large state takes longer than a ping may.
        """
        if self._part is None:
            self._part = make()
            self._beside = [asyncio.create_task(loop()) for loop in beside]
        self._starting.begin()
        for task in self._beside:
            if task.done():
                task.result()
        await self._part.ping()

    async def _working(self) -> P:
        """The part, once it has started. Raises Unavailable where there is none."""
        if self._part is None:
            raise Unavailable(self._name, "this process stands by")
        await self._starting.done()
        return self._part

    async def _start(self) -> None:
        assert self._part is not None  # it is begun by `_be` alone
        await self._part.start()
        settle()

    def _end_beside(self) -> None:
        for task in self._beside:
            task.cancel()


async def reach(sink: KafkaSink) -> None:
    """Connect, however long that takes; until then what is written is refused."""
    while True:
        try:
            return await sink.start()
        except Unavailable:
            await asyncio.sleep(_RECONNECT_S)


def settle() -> None:
    """Take what has been made so far, modules above all, out of the garbage collector's sight.

    It would look through all of it again and again, and everything stands meanwhile: 100 ms and
    more for the half million objects of Ray, Numba and the rest.
    """
    gc.collect()
    gc.freeze()


class Once:
    """Runs a start-up once, whoever asks first; the others wait for it, and share its error."""

    def __init__(self, start: Callable[[], Awaitable[None]]) -> None:
        self._start = start
        self._task: asyncio.Future[None] | None = None

    def begin(self) -> asyncio.Future[None]:
        """Let it run, and do not wait. Raises what it raised, if it has ended so."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._start())
        if self._task.done():
            self._task.result()
        return self._task

    async def done(self) -> None:
        """Come back when it has run; raises what it raised."""
        await asyncio.shield(self.begin())
