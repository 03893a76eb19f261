"""Keeps parts alive: one that has died is replaced by its slot, this one sees a loop that stands.

What is told of an actor and what is done with it is decided by `Patience`, which does nothing
itself; `Supervisor` asks, and acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import ConfigError, DefinitionChanged, FreshrankError, Unavailable

# Seconds: whoever is alive answers within milliseconds, a stopped machine may swap.
PING_TIMEOUT_S = 5.0

# Seconds between two pings: a crash is noticed within them. Who is to take a lost one's place is
# pinged more often, because it waits for its first ping to take up the work.
INTERVAL_S = 0.5
INTERVAL_MISSING_S = 0.1

# Seconds of silence before the process is ended. One that is starting takes ten and more on a busy
# machine; ending it meanwhile would begin that anew.
SILENCE_S = 30.0

# Seconds, and how many failures within them show that starting again does not help.
FAILURE_WINDOW_S = 60.0
FAILURES_ALLOWED = 5


class Supervised(Protocol):
    """An actor as its supervisor sees it."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    async def ping(self, timeout_s: float) -> None:
        """Start it if it is not started. Raises Unavailable, or why its loop has ended."""
        ...

    def kill(self) -> None:
        """End its process; another takes its place."""
        ...


async def when_all_are_there(work: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Do `work`, from its beginning again while somebody whom it needs is away."""
    while True:
        try:
            return await work()
        except Unavailable:
            await clock.sleep(INTERVAL_S)


async def now_and_whenever_replaced(
    work: Callable[[], Awaitable[None]], replaced: Callable[[], int], clock: Clock
) -> None:
    """Do `work` when all are there, and anew each time that `replaced` has counted another."""
    while True:
        seen = replaced()
        await when_all_are_there(work, clock)
        while replaced() == seen:
            await clock.sleep(INTERVAL_S)


class Verdict(Enum):
    """What to do about one actor."""

    LEAVE = "leave"
    RESTART = "restart"
    GIVE_UP = "give up"


@dataclass
class Patience:
    """The record of one actor, and what follows from it."""

    silent_since: float | None = None
    """Of the first ping in a row that was not answered."""
    failures: list[float] = field(default_factory=list)

    def judge(self, error: Exception | None, now_s: float) -> Verdict:
        """Take the outcome of one ping and say what to do.

        >>> patience = Patience()
        >>> [patience.judge(Unavailable("shard-0", "dead"), at).value for at in (0, 9, 30)]
        ['leave', 'leave', 'restart']
        """
        if error is None:
            self.silent_since = None
            return Verdict.LEAVE
        if isinstance(error, ConfigError | DefinitionChanged):
            return Verdict.GIVE_UP
        if isinstance(error, Unavailable):
            self.silent_since = now_s if self.silent_since is None else self.silent_since
            if now_s - self.silent_since < SILENCE_S:
                return Verdict.LEAVE
        self.silent_since = None
        self.failures = [at for at in self.failures if now_s - at < FAILURE_WINDOW_S] + [now_s]
        return Verdict.GIVE_UP if len(self.failures) > FAILURES_ALLOWED else Verdict.RESTART


class Supervisor:
    """Pings actors for ever; ends by raising when one of them cannot be kept alive."""

    def __init__(
        self, actors: Sequence[Supervised], clock: Clock, report: Callable[[str], None]
    ) -> None:
        self._actors = list(actors)
        self._clock = clock
        self._report = report
        self._patience = {actor.name: Patience() for actor in actors}

    def add(self, actor: Supervised) -> None:
        """Look after one more, from the next `run` on."""
        self._actors.append(actor)
        self._patience[actor.name] = Patience()

    async def run(self) -> None:
        """Look after each, for ever. Raises the error of one that starting again does not mend."""
        keeping = [asyncio.ensure_future(self._keep(actor)) for actor in self._actors]
        try:
            await asyncio.gather(*keeping)
        finally:
            for one in keeping:
                one.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def round(self) -> None:
        """Ping all at once, and do what their records ask for."""
        await asyncio.gather(*(self._look_after(actor) for actor in self._actors))

    async def _keep(self, actor: Supervised) -> None:
        # By itself: nobody is to wait for one that is slow to answer.
        while True:
            await self._look_after(actor)
            missing = self._patience[actor.name].silent_since is not None
            await self._clock.sleep(INTERVAL_MISSING_S if missing else INTERVAL_S)

    async def _look_after(self, actor: Supervised) -> None:
        error: Exception | None = None
        try:
            await actor.ping(PING_TIMEOUT_S)
        except FreshrankError as caught:
            error = caught
        verdict = self._patience[actor.name].judge(error, self._clock.monotonic())
        if error is None or verdict is Verdict.LEAVE:
            return
        if verdict is Verdict.GIVE_UP:
            raise error
        self._report(f"{actor.name} is started again: {error}")
        actor.kill()
