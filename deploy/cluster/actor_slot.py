"""A place for an actor with a role, and the hot standby that takes the place of a lost one.

A new process loads code for seconds before it can load state; a hot standby has loaded its code
already and needs a fraction of that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from freshrank.actors.errors import Gone, Unavailable

# A host that misses this many pings in a row is lost; one or two it may miss while it is busy. A
# host whose process has ended is lost at once.
MISSED_PINGS = 3
# Seconds that a new host is given before it can be replaced: one that dies while it starts would
# do so again at once.
LEAST_AGE_S = 3.0


class HostAddress(Protocol):
    """The address of a host process (`actors.runtime.RemoteActor`)."""

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` in the host. Raises Gone, Unavailable, or what the method raised."""
        ...

    def kill(self) -> None:
        """End the process at once."""
        ...


StartHost: TypeAlias = Callable[[], HostAddress]
"""Starts a host process that has no role yet."""


@dataclass(frozen=True, slots=True)
class Role:
    """The method that a host is pinged with; from the first ping on the host plays this role."""

    method: str
    args: tuple[object, ...] = ()


STAND_BY = Role("stand_by")
"""Load all code, and wait for another role."""


class SlotState(Enum):
    """What a slot knows of its host."""

    UP = "up"
    SLOW = "slow"
    """Its last pings timed out."""
    LOST = "lost"
    """It is replaced, as soon as it is `LEAST_AGE_S` old."""


class Reply(Enum):
    """What came of one ping."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Unavailable, and within the time for a ping: the host waits for something itself."""
    TIMED_OUT = "timed out"
    TIMED_OUT_AGAIN = "timed out again"
    """The `MISSED_PINGS`th in a row."""
    GONE = "gone"
    """The process has ended."""


TRANSITIONS: Mapping[SlotState, Mapping[Reply, SlotState]] = {
    SlotState.UP: {
        Reply.ANSWERED: SlotState.UP,
        Reply.REFUSED: SlotState.UP,
        Reply.TIMED_OUT: SlotState.SLOW,
        Reply.GONE: SlotState.LOST,
    },
    SlotState.SLOW: {
        Reply.ANSWERED: SlotState.UP,
        Reply.REFUSED: SlotState.SLOW,
        Reply.TIMED_OUT: SlotState.SLOW,
        Reply.TIMED_OUT_AGAIN: SlotState.LOST,
        Reply.GONE: SlotState.LOST,
    },
    SlotState.LOST: {
        Reply.ANSWERED: SlotState.UP,
        Reply.REFUSED: SlotState.LOST,
        Reply.TIMED_OUT_AGAIN: SlotState.LOST,
        Reply.GONE: SlotState.LOST,
        # Gone, and now slow: no host comes back from that.
        Reply.TIMED_OUT: SlotState.LOST,
    },
}
"""The next state; a reply that is missing cannot come in that state."""


class ActorSlot:
    """A role, and the host process that plays it at present.

    Parameters
    ----------
    name
        Of the part (``"shard-0"``), in log lines.
    role
        Every ping tells the host its role.
    start_host
        Starts a host process.
    report
        Called with a line for each host that is replaced.
    monotonic
        Clock in seconds, by which slow and young hosts are told.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        start_host: StartHost,
        report: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.standby: ActorSlot | None = None
        """The slot whose host takes over when this one's is lost; None: a new host is started."""
        self.state = SlotState.UP
        """Of the present host."""
        self.replaced = 0
        """How often the host has been replaced."""
        self._role = role
        self._start_host = start_host
        self._report = report
        self._monotonic = monotonic
        self._install(start_host())

    async def ping(self, timeout_s: float) -> None:
        """Tell the host its role. Raises Unavailable, or the error that ended the role.

        A lost host is replaced. Unavailable is raised all the same: the next ping reaches the
        replacement.
        """
        begun_s = self._monotonic()
        try:
            await self.call(self._role.method, *self._role.args, timeout_s=timeout_s)
        except Unavailable as error:
            now_s = self._monotonic()
            self._observe(self._failure(error, now_s - begun_s >= timeout_s))
            if self.state is SlotState.LOST and now_s - self._installed_s >= LEAST_AGE_S:
                self._report(f"{self.name} is replaced: {error}")
                self.kill()
            raise
        self._observe(Reply.ANSWERED)

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` of the present host. Raises as `HostAddress.call` does."""
        return await self._host.call(method, *args, timeout_s=timeout_s)

    def kill(self) -> None:
        """End the host process at once, and put another in its place."""
        self._host.kill()
        self._install(self._successor())
        self.replaced += 1

    def give_away(self) -> HostAddress:
        """Return the host, for another slot, and put a new one in its place.

        The host may not have loaded all its code yet, and is still ahead of a new one.
        """
        given = self._host
        self._install(self._successor())
        return given

    def _failure(self, error: Unavailable, timed_out: bool) -> Reply:
        self._missed += timed_out
        if isinstance(error, Gone):
            return Reply.GONE
        if not timed_out:
            return Reply.REFUSED
        return Reply.TIMED_OUT if self._missed < MISSED_PINGS else Reply.TIMED_OUT_AGAIN

    def _observe(self, reply: Reply) -> None:
        self.state = TRANSITIONS[self.state][reply]
        if self.state is SlotState.UP and reply is Reply.ANSWERED:
            self._missed = 0

    def _successor(self) -> HostAddress:
        return self.standby.give_away() if self.standby else self._start_host()

    def _install(self, host: HostAddress) -> None:
        self._host, self._installed_s = host, self._monotonic()
        self.state = SlotState.UP
        self._missed = 0
