"""Keeps the actors of a system alive: pings all actors, kills and replaces those that fail.

`ActorHealth` computes the state of an actor from the outcomes of its pings, without side effects.
`Supervisor` pings actors, kills them and gives them up. If the process of an actor has ended, its
slot (`actor_slot.ActorSlot`) replaces the actor earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import (
    ConfigError,
    DefinitionChanged,
    FreshrankError,
    StartFailed,
    Unavailable,
)
from freshrank.deploy.cluster.slowness import slowness

# Seconds: a live actor answers within milliseconds, but a machine that swaps may delay it.
PING_TIMEOUT_S = 5.0

# Seconds between two pings of an actor: the supervisor notices a crash within this time. It pings
# an actor that does not answer more often, because a replacement starts to work at its first ping.
INTERVAL_S = 0.5
INTERVAL_MISSING_S = 0.1

# Seconds of silence before an actor is restarted that neither ends nor hangs (its slot replaces
# those): longer than a host may take for its first answer. `slowness` times it on a busy machine.
SILENCE_S = 150.0

# An actor is given up after more than `FAILURES_ALLOWED` failures within `FAILURE_WINDOW_S`
# seconds: then another restart does not help.
FAILURE_WINDOW_S = 60.0
FAILURES_ALLOWED = 5


class ActorState(Enum):
    """The state of an actor, as its pings show it."""

    UP = "up"
    """It answered the last ping, or has not been pinged yet."""
    SILENT = "silent"
    """It did not answer the last ping: it is starting, busy or hanging."""
    RESTARTING = "restarting"
    """The supervisor kills its process; the next ping reaches the replacement."""
    GIVEN_UP = "given up"
    """A restart does not help: the run ends with the actor's error."""


class PingOutcome(Enum):
    """The outcome of a ping."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    SILENT_TOO_LONG = "silent too long"
    """Unanswered, and `SILENCE_S` after the first unanswered ping in a row."""
    FAILED = "failed"
    """The actor's loop has ended with an error."""
    HOPELESS = "hopeless"
    """The actor failed too often, or with an error that only the user can correct."""


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
"""The next state, by state and outcome. An outcome that is missing cannot occur in the state."""


class ActorHealth:
    """The state of an actor, and the times in seconds that its transitions depend on."""

    def __init__(self) -> None:
        self.state = ActorState.UP
        self._silent_since_s = 0.0
        self._host = 0
        self._failures_s: list[float] = []

    def observe(
        self, error: Exception | None, now_s: float, *, host: int = 0, slowness: float = 1.0
    ) -> ActorState:
        """Take the result of a ping (`error`; None if it was answered) and return the new state.

        `host` is the number of the process that was asked: another one's silence is not held
        against it. `slowness` is the factor of patience.

        >>> health = ActorHealth()
        >>> [health.observe(Unavailable("shard-0", "dead"), at).value for at in (0, 9, 150)]
        ['silent', 'silent', 'restarting']
        """
        if host != self._host:
            self._host, self._silent_since_s = host, now_s
        outcome = self._outcome(error, now_s, SILENCE_S * slowness)
        previous, self.state = self.state, TRANSITIONS[self.state][outcome]
        if self.state is ActorState.SILENT and previous is not ActorState.SILENT:
            self._silent_since_s = now_s
        return self.state

    def _outcome(self, error: Exception | None, now_s: float, patience_s: float) -> PingOutcome:
        if error is None:
            return PingOutcome.ANSWERED
        if isinstance(error, ConfigError | DefinitionChanged | StartFailed):
            return PingOutcome.HOPELESS
        outcome = PingOutcome.FAILED
        if isinstance(error, Unavailable):
            silent = self.state is ActorState.SILENT
            if not silent or now_s - self._silent_since_s < patience_s:
                return PingOutcome.UNANSWERED
            outcome = PingOutcome.SILENT_TOO_LONG
        recent = [at_s for at_s in self._failures_s if now_s - at_s < FAILURE_WINDOW_S]
        self._failures_s = [*recent, now_s]
        return PingOutcome.HOPELESS if len(self._failures_s) > FAILURES_ALLOWED else outcome


class Supervised(Protocol):
    """The interface of an actor for its supervisor."""

    @property
    def name(self) -> str:
        """The actor's name in log lines."""
        ...

    @property
    def replaced(self) -> int:
        """Number of times that its process has been replaced."""
        ...

    async def ping(self, timeout_s: float) -> None:
        """Start the actor if needed. Raises Unavailable, or the error that ended its loop."""
        ...

    def kill(self) -> None:
        """End the actor's process at once and replace it."""
        ...


class Supervisor:
    """Pings actors until an actor has to be given up; then raises that actor's error.

    It calls `report` with a log line at each restart.
    """

    def __init__(
        self,
        actors: Sequence[Supervised],
        clock: Clock,
        report: Callable[[str], None],
        slowness: Callable[[], float] = slowness,
    ) -> None:
        self._actors = list(actors)
        self._clock = clock
        self._report = report
        self._slowness = slowness
        self._health = {actor.name: ActorHealth() for actor in actors}

    def add(self, actor: Supervised) -> None:
        """Supervise a further actor, from the next `run` on."""
        self._actors.append(actor)
        self._health[actor.name] = ActorHealth()

    async def run(self) -> None:
        """Supervise all actors until cancelled. Raises the error of an actor that is given up."""
        # Each actor has a task, so that a slow answer does not delay the pings of other actors.
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
        """Ping an actor; restart it or raise its error, according to its new state."""
        error: Exception | None = None
        try:
            await actor.ping(PING_TIMEOUT_S)
        except FreshrankError as caught:
            error = caught
        state = self._health[actor.name].observe(
            error, self._clock.monotonic(), host=actor.replaced, slowness=self._slowness()
        )
        if error is not None and state is ActorState.GIVEN_UP:
            raise error
        if state is ActorState.RESTARTING:
            self._report(f"{actor.name} is restarted: {error}")
            actor.kill()
        return state


async def when_all_answer(work: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Do `work`; start it again each time that it raises Unavailable."""
    while True:
        try:
            return await work()
        except Unavailable:
            await clock.sleep(INTERVAL_S)


async def now_and_after_each_replacement(
    work: Callable[[], Awaitable[None]], replaced: Callable[[], int], clock: Clock
) -> None:
    """Do `work` once all actors answer, and again each time that the count `replaced` changes."""
    while True:
        seen = replaced()
        await when_all_answer(work, clock)
        while replaced() == seen:
            await clock.sleep(INTERVAL_S)
