"""Keeps the actors of a system alive: pings each, ends and replaces the ones that fail.

`ActorHealth` is the state of one actor and decides what the outcome of a ping means; it does
nothing itself. `Supervisor` pings, kills and gives up. An actor whose process has ended is replaced
by its slot (`standby.ActorSlot`) before it comes to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import ConfigError, DefinitionChanged, FreshrankError, Unavailable

# Seconds: a live actor answers within milliseconds, but a machine that swaps may delay it.
PING_TIMEOUT_S = 5.0

# Seconds between two pings of an actor: a crash is noticed within this time. An actor that does
# not answer is pinged more often, because its replacement takes up the work at its first ping.
INTERVAL_S = 0.5
INTERVAL_MISSING_S = 0.1

# Seconds of silence before an actor is restarted. Starting takes ten seconds and more on a busy
# machine; a restart meanwhile would only begin that again.
SILENCE_S = 30.0

# An actor is given up when it fails more often than this within so many seconds: then a restart
# does not help.
FAILURE_WINDOW_S = 60.0
FAILURES_ALLOWED = 5


class ActorState(Enum):
    """What the supervisor knows of one actor."""

    UP = "up"
    """It answered the last ping, or has not been pinged yet."""
    SILENT = "silent"
    """It did not answer the last ping: it is starting, busy or hanging."""
    RESTARTING = "restarting"
    """Its process has to be ended; the next ping finds its replacement."""
    GIVEN_UP = "given up"
    """A restart does not help: the run has to end with the actor's error."""


class PingOutcome(Enum):
    """What came of one ping."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    SILENT_TOO_LONG = "silent too long"
    """Unanswered, and `SILENCE_S` after the first unanswered ping in a row."""
    FAILED = "failed"
    """Its loop has ended with an error."""
    HOPELESS = "hopeless"
    """It failed too often, or with an error that only the user can mend."""


_ALWAYS = {PingOutcome.ANSWERED: ActorState.UP, PingOutcome.HOPELESS: ActorState.GIVEN_UP}
_REACHABLE = {
    **_ALWAYS,
    PingOutcome.UNANSWERED: ActorState.SILENT,
    PingOutcome.FAILED: ActorState.RESTARTING,
}

TRANSITIONS: Mapping[ActorState, Mapping[PingOutcome, ActorState]] = {
    ActorState.UP: _REACHABLE,
    ActorState.SILENT: {**_REACHABLE, PingOutcome.SILENT_TOO_LONG: ActorState.RESTARTING},
    ActorState.RESTARTING: _REACHABLE,
    ActorState.GIVEN_UP: {},
}
"""The next state; an outcome that is missing cannot occur in that state."""


class ActorHealth:
    """The state of one actor, and the times that its transitions depend on."""

    def __init__(self) -> None:
        self.state = ActorState.UP
        self._silent_since_s = 0.0
        self._failures_s: list[float] = []

    def observe(self, error: Exception | None, now_s: float) -> ActorState:
        """Take the outcome of one ping (`error`; None: answered) and return the new state.

        >>> health = ActorHealth()
        >>> [health.observe(Unavailable("shard-0", "dead"), at).value for at in (0, 9, 30)]
        ['silent', 'silent', 'restarting']
        """
        outcome = self._outcome(error, now_s)
        before, self.state = self.state, TRANSITIONS[self.state][outcome]
        if self.state is ActorState.SILENT and before is not ActorState.SILENT:
            self._silent_since_s = now_s
        return self.state

    def _outcome(self, error: Exception | None, now_s: float) -> PingOutcome:
        if error is None:
            return PingOutcome.ANSWERED
        if isinstance(error, ConfigError | DefinitionChanged):
            return PingOutcome.HOPELESS
        outcome = PingOutcome.FAILED
        if isinstance(error, Unavailable):
            silent = self.state is ActorState.SILENT
            if not silent or now_s - self._silent_since_s < SILENCE_S:
                return PingOutcome.UNANSWERED
            outcome = PingOutcome.SILENT_TOO_LONG
        recent = [at_s for at_s in self._failures_s if now_s - at_s < FAILURE_WINDOW_S]
        self._failures_s = [*recent, now_s]
        return PingOutcome.HOPELESS if len(self._failures_s) > FAILURES_ALLOWED else outcome


class Supervised(Protocol):
    """An actor as its supervisor sees it."""

    @property
    def name(self) -> str:
        """Of the actor, in log lines."""
        ...

    async def ping(self, timeout_s: float) -> None:
        """Start the actor if it has not started. Raises Unavailable, or what ended its loop."""
        ...

    def kill(self) -> None:
        """End the actor's process at once; a replacement takes its place."""
        ...


class Supervisor:
    """Pings actors until one of them cannot be kept alive; then raises that actor's error.

    `report` is called with a line for each restart.
    """

    def __init__(
        self, actors: Sequence[Supervised], clock: Clock, report: Callable[[str], None]
    ) -> None:
        self._actors = list(actors)
        self._clock = clock
        self._report = report
        self._health = {actor.name: ActorHealth() for actor in actors}

    def add(self, actor: Supervised) -> None:
        """Supervise one more actor, from the next `run` on."""
        self._actors.append(actor)
        self._health[actor.name] = ActorHealth()

    async def run(self) -> None:
        """Supervise all actors until cancelled. Raises the error of an actor that is given up."""
        # A task for each: an actor that is slow to answer does not delay the pings of the others.
        tasks = [asyncio.ensure_future(self._supervise(actor)) for actor in self._actors]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def round(self) -> None:
        """Ping each actor once, all at the same time. Raises as `run` does."""
        await asyncio.gather(*(self._check(actor) for actor in self._actors))

    async def _supervise(self, actor: Supervised) -> None:
        while True:
            state = await self._check(actor)
            silent = state is ActorState.SILENT
            await self._clock.sleep(INTERVAL_MISSING_S if silent else INTERVAL_S)

    async def _check(self, actor: Supervised) -> ActorState:
        """Ping an actor, and do what its new state asks for."""
        error: Exception | None = None
        try:
            await actor.ping(PING_TIMEOUT_S)
        except FreshrankError as caught:
            error = caught
        state = self._health[actor.name].observe(error, self._clock.monotonic())
        if error is not None and state is ActorState.GIVEN_UP:
            raise error
        if state is ActorState.RESTARTING:
            self._report(f"{actor.name} is restarted: {error}")
            actor.kill()
        return state


async def when_all_answer(work: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Do `work`, and begin again each time that an actor it needs does not answer."""
    while True:
        try:
            return await work()
        except Unavailable:
            await clock.sleep(INTERVAL_S)


async def now_and_after_each_replacement(
    work: Callable[[], Awaitable[None]], replaced: Callable[[], int], clock: Clock
) -> None:
    """Do `work` when all actors answer, and again each time that the count `replaced` changes."""
    while True:
        seen = replaced()
        await when_all_answer(work, clock)
        while replaced() == seen:
            await clock.sleep(INTERVAL_S)
