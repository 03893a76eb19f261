"""A host process: an idle hot standby, until it is told to become a learner or a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.runtime import freeze_heap
from freshrank.deploy.wiring import kernel_warmup
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

# Seconds between two attempts to connect to a broker that is away.
_RECONNECT_S = 5.0

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Makes a coroutine that runs in the background for as long as the part does."""


class Part(Protocol):
    """A learner or a shard: started once, may end by itself."""

    async def start(self) -> None:
        """Load state and begin to work."""
        ...

    async def ping(self) -> None:
        """Raise the error that ended the part, if one did."""
        ...


P = TypeVar("P", bound=Part)


class HostState(Enum):
    """What a host process does at present."""

    STANDING_BY = "standing by"
    STARTING = "starting"
    """The part loads its state."""
    WORKING = "working"
    FAILED = "failed"
    """The part could not start, or an error ended it or one of its background loops."""
    STOPPED = "stopped"


class HostEvent(Enum):
    """What changes the state of a host."""

    TAKE_OVER = "take over"
    STARTED = "started"
    ERROR = "error"
    STOP = "stop"


TRANSITIONS: Mapping[HostState, Mapping[HostEvent, HostState]] = {
    HostState.STANDING_BY: {
        HostEvent.TAKE_OVER: HostState.STARTING,
        HostEvent.STOP: HostState.STOPPED,
    },
    HostState.STARTING: {
        HostEvent.STARTED: HostState.WORKING,
        HostEvent.ERROR: HostState.FAILED,
        HostEvent.STOP: HostState.STOPPED,
    },
    HostState.WORKING: {HostEvent.ERROR: HostState.FAILED, HostEvent.STOP: HostState.STOPPED},
    HostState.FAILED: {
        HostEvent.STARTED: HostState.FAILED,  # a background loop failed before that
        HostEvent.ERROR: HostState.FAILED,
        HostEvent.STOP: HostState.STOPPED,
    },
    HostState.STOPPED: {
        HostEvent.STARTED: HostState.STOPPED,
        HostEvent.ERROR: HostState.STOPPED,
        HostEvent.STOP: HostState.STOPPED,
    },
}
"""The next state; an event that is missing cannot occur in that state."""


async def _load_kernels() -> None:
    await asyncio.to_thread(kernel_warmup.load_kernels)


class Host(Generic[P]):
    """A process that stands by until it takes over a part, once.

    Parameters
    ----------
    name
        Of the part, in errors.
    load_code
        Loads all code that a part needs, beside other work.
    """

    def __init__(self, name: str, load_code: Loop = _load_kernels) -> None:
        self.state = HostState.STANDING_BY
        self._load_code = load_code
        self._name = name
        self._part: P | None = None
        self._starting: asyncio.Future[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._loading: asyncio.Future[None] | None = None

    async def stand_by(self) -> None:
        """Begin to load all code that a part needs, and return at once.

        Raises ProgressError when the host has a part (its slot has replaced it, and its process
        still works), and in a later call the error that ended the loading.
        """
        if self.state is not HostState.STANDING_BY:
            raise ProgressError(f"{self._name} was replaced, and its process still works")
        loading = self._load()
        if loading.done():
            loading.result()

    async def run_part(self, make: Callable[[], P], *loops: Loop) -> None:
        """Become the part that `make` returns, with `loops` in the background.

        Called again and again: the first call begins the start and does not wait for it, because
        loading a large state takes longer than a ping may; each call raises the error that ended
        the part or one of its loops. Raises Unavailable when the host has been stopped.
        """
        if self.state is HostState.STOPPED:
            raise Unavailable(self._name, "this process is stopping")
        if self.state is HostState.STANDING_BY:
            self._part = make()
            self._enter(HostEvent.TAKE_OVER)
            self._background = [asyncio.create_task(loop()) for loop in loops]
            self._starting = asyncio.ensure_future(self._start(self._part))
        assert self._part is not None and self._starting is not None  # since it took over
        try:
            for task in (self._starting, *self._background):
                if task.done():
                    task.result()
            await self._part.ping()
        except Unavailable:
            raise  # the part waits for something, a disk or a broker, and may work later
        except Exception:
            self._enter(HostEvent.ERROR)
            raise

    async def working_part(self) -> P:
        """Return the part, once it has started. Raises Unavailable while the host stands by."""
        if self._part is None or self._starting is None:
            raise Unavailable(self._name, "this process stands by")
        await asyncio.shield(self._starting)  # a caller that gives up does not cancel the start
        return self._part

    def _load(self) -> asyncio.Future[None]:
        """Begin to load the code, unless that has begun."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load_code())
        return self._loading

    async def _start(self, part: P) -> None:
        try:
            # While kernels are compiled, a part that calls one waits for the compiler's lock, and
            # answers no ping.
            await self._load()
            await part.start()
        except Exception:
            self._enter(HostEvent.ERROR)
            raise
        freeze_heap()
        self._enter(HostEvent.STARTED)

    def _enter(self, event: HostEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    def _end_background(self) -> None:
        for task in self._background:
            task.cancel()


async def connect(sink: KafkaSink) -> None:
    """Start `sink`, however long the broker is away; until then what is written is refused."""
    while True:
        try:
            return await sink.start()
        except Unavailable:
            await asyncio.sleep(_RECONNECT_S)
