"""A slot for the host process of an actor, and the hot standby that replaces a lost host.

A new process loads code for seconds before it can load state. A hot standby has loaded its code
already, so that it takes over in a fraction of that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from freshrank.actors.errors import Gone, Unavailable

# A host that misses this many pings in a row is lost; a busy host may miss fewer. A host whose
# process has ended is lost at once.
MISSED_PINGS = 3
# Seconds before a new host can be replaced: the replacement of a host that dies while it starts
# would probably die at once, too.
LEAST_AGE_S = 3.0


class HostAddress(Protocol):
    """The address of a host process (`actors.runtime.RemoteActor`)."""

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` in the host. Raises Gone, Unavailable, or the error of the method."""
        ...

    def kill(self) -> None:
        """End the host process at once."""
        ...


StartHost: TypeAlias = Callable[[], HostAddress]
"""Starts a host process that has no role yet."""


@dataclass(frozen=True, slots=True)
class Role:
    """Method and arguments of the pings of a host; a host takes the role at its first ping."""

    method: str
    args: tuple[object, ...] = ()


STAND_BY = Role("stand_by")
"""The role of a hot standby: load all code, then wait for another role."""


class SlotState(Enum):
    """The state of a slot's host, as its pings show it."""

    UP = "up"
    SLOW = "slow"
    """Its last pings timed out."""
    LOST = "lost"
    """The slot replaces it, once it is `LEAST_AGE_S` old."""


class Reply(Enum):
    """The outcome of a ping."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The host raised Unavailable within the ping's timeout: it waits for another part itself."""
    TIMED_OUT = "timed out"
    TIMED_OUT_AGAIN = "timed out again"
    """The `MISSED_PINGS`th timeout in a row."""
    GONE = "gone"
    """The host process has ended."""


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
        # A slow answer is no sign that a lost host has recovered.
        Reply.TIMED_OUT: SlotState.LOST,
    },
}
"""The next state, by state and reply. A reply that is missing cannot occur in the state."""


class ActorSlot:
    """A role, and the host process that has it at present.

    Parameters
    ----------
    name
        Name of the part in log lines, such as ``"shard-0"``.
    role
        The role of the host; each ping calls its method.
    start_host
        Starts a host process.
    report
        Called with a log line for each host that is replaced.
    monotonic
        Clock in seconds, which measures pings and the age of hosts.
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
        """The slot whose host replaces a lost host; if None, a new host is started."""
        self.state = SlotState.UP
        """The state of the present host."""
        self.replaced = 0
        """Number of times that the host has been replaced."""
        self._role = role
        self._start_host = start_host
        self._report = report
        self._monotonic = monotonic
        self._install(start_host())

    async def ping(self, timeout_s: float) -> None:
        """Call the method of the role in the host. Raises Unavailable, or the role's error.

        If the host is lost, `ping` replaces it and still raises Unavailable: the next ping reaches
        the replacement.
        """
        start_s = self._monotonic()
        try:
            await self.call(self._role.method, *self._role.args, timeout_s=timeout_s)
        except Unavailable as error:
            now_s = self._monotonic()
            self._observe(self._failure(error, now_s - start_s >= timeout_s))
            if self.state is SlotState.LOST and now_s - self._installed_s >= LEAST_AGE_S:
                self._report(f"{self.name} is replaced: {error}")
                self.kill()
            raise
        self._observe(Reply.ANSWERED)

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` of the present host. Raises as `HostAddress.call` does."""
        return await self._host.call(method, *args, timeout_s=timeout_s)

    def kill(self) -> None:
        """End the host process at once and replace it."""
        self._host.kill()
        self._install(self._successor())
        self.replaced += 1

    def give_away(self) -> HostAddress:
        """Return the host, for use in another slot, and replace it by a new host.

        The host may still be loading code; it is ready earlier than a new host all the same.
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
