"""Who has a duty, and who stands by to take it over when that process has died.

A new process loads code for seconds before it can take up a state; one that has done so by then
needs a fraction of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from freshrank.actors.errors import Gone, Unavailable

# Pings in a row that took too long, after which a host counts as lost: it may only be busy. Whose
# process has ended is gone at once.
MISSED_PINGS = 3
# Seconds that a host is left to start before it is made anew: one that dies while it starts would
# do so again at once.
LEAST_AGE_S = 3.0


class HostAddress(Protocol):
    """Where a host is called (`actors.runtime.RemoteActor`)."""

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` over there. Raises Gone, Unavailable, or what it raised."""
        ...

    def kill(self) -> None:
        """End its process at once."""
        ...


Make: TypeAlias = Callable[[], HostAddress]
"""Starts a host without a duty."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a host is told again and again, and does from the first time on."""

    method: str
    args: tuple[object, ...] = ()


STAND_BY = Role("stand_by")
"""Load everything, and wait."""


class ActorSlot:
    """A duty, and whichever process has it at present.

    Parameters
    ----------
    name
        Of the part that it is.
    duty
        Told with each ping.
    make
        Starts a host.
    report
        Told of who is replaced, in a line for people.
    monotonic
        Seconds, to tell who is slow, and for how long it has been there.
    """

    def __init__(
        self,
        name: str,
        duty: Role,
        make: Make,
        report: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.standby: ActorSlot | None = None
        """Whose host takes this duty over, should it be lost; else a new one does."""
        self.replaced = 0
        """How often its host was lost."""
        self._duty = duty
        self._make = make
        self._report = report
        self._monotonic = monotonic
        self._missed = 0
        self._take(make())

    async def ping(self, timeout_s: float) -> None:
        """Tell its host the duty. Raises Unavailable, or why it ended.

        Who is lost is replaced, and Unavailable raised all the same: the next ping finds the other.
        """
        begun = self._monotonic()
        try:
            await self.call(self._duty.method, *self._duty.args, timeout_s=timeout_s)
        except Unavailable as error:
            now = self._monotonic()
            self._missed += now - begun >= timeout_s
            lost = isinstance(error, Gone) or self._missed >= MISSED_PINGS
            if lost and now - self._since >= LEAST_AGE_S:
                self._report(f"{self.name} is replaced: {error}")
                self.kill()
            raise
        self._missed = 0

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` of the host that has the duty. Raises as `HostAddress.call`."""
        return await self._host.call(method, *args, timeout_s=timeout_s)

    def kill(self) -> None:
        """End its process at once; another takes its place."""
        self._host.kill()
        self._take(self._successor())
        self.replaced += 1

    def give_away(self) -> HostAddress:
        """Its host, for a duty elsewhere; another takes its place.

        It may not have loaded everything yet, and is still ahead of a new one.
        """
        given = self._host
        self._take(self._successor())
        return given

    def _successor(self) -> HostAddress:
        return self.standby.give_away() if self.standby else self._make()

    def _take(self, host: HostAddress) -> None:
        self._host, self._since, self._missed = host, self._monotonic(), 0
