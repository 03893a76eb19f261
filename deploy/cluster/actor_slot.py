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

from freshrank.actors.errors import Gone, StartFailed, Unavailable
from freshrank.deploy.cluster.slowness import slowness

# A host that misses this many pings in a row is lost, on a busy machine as many times more as the
# machine is slower (`slowness`); a busy host may miss fewer. A host whose process has ended is lost
# at once.
MISSED_PINGS = 3
# Seconds that a new host has for its first answer, times `slowness`. It imports its code meanwhile,
# which takes five seconds on a quiet machine and a minute on one with thirty busy processes.
START_S = 120.0
# Seconds that a new host is given before it can be replaced: one that dies while it starts would
# do so again at once. They double with each host in a row that was lost before its first answer.
LEAST_AGE_S = 3.0
# So many hosts in a row that were lost before their first answer end the run: the pauses between
# them add up to a minute and a half.
STARTS_ALLOWED = 5


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

    STARTING = "starting"
    """It has not answered yet."""
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
    """The `MISSED_PINGS`th in a row; of a host that is starting: `START_S` after it was started.
    On a busy machine it is later."""
    GONE = "gone"
    """The host process has ended."""


TRANSITIONS: Mapping[SlotState, Mapping[Reply, SlotState]] = {
    SlotState.STARTING: {
        Reply.ANSWERED: SlotState.UP,
        Reply.REFUSED: SlotState.UP,
        Reply.TIMED_OUT: SlotState.STARTING,
        Reply.TIMED_OUT_AGAIN: SlotState.LOST,
        Reply.GONE: SlotState.LOST,
    },
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
    slowness
        The factor of patience with hosts that do not answer: see `slowness.slowness`.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        start_host: StartHost,
        report: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        slowness: Callable[[], float] = slowness,
    ) -> None:
        self.name = name
        self.standby: ActorSlot | None = None
        """The slot whose host takes over when this one's is lost; None: a new host is started."""
        self.state = SlotState.STARTING
        """Of the present host."""
        self.replaced = 0
        """Number of times that the host has been replaced."""
        self._role = role
        self._start_host = start_host
        self._report = report
        self._monotonic = monotonic
        self._slowness = slowness
        self._failed_starts = 0  # hosts in a row that were lost before their first answer
        self._install(start_host())

    async def ping(self, timeout_s: float) -> None:
        """Call the method of the role in the host. Raises Unavailable, or the role's error.

        A lost host is replaced. Unavailable is raised all the same: the next ping reaches the
        replacement. Raises StartFailed where `STARTS_ALLOWED` hosts in a row did not start.
        """
        start_s = self._monotonic()
        try:
            await self.call(self._role.method, *self._role.args, timeout_s=timeout_s)
        except Unavailable as error:
            now_s = self._monotonic()
            self._observe(self._failure(error, now_s - start_s >= timeout_s, now_s))
            least_age_s = LEAST_AGE_S * 2.0**self._failed_starts
            if self.state is SlotState.LOST and now_s - self._installed_s >= least_age_s:
                self._replace(error)
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

    def _replace(self, error: Unavailable) -> None:
        """Put another host in the place of one that is lost. Raises StartFailed."""
        self._failed_starts = 0 if self._answered else self._failed_starts + 1
        # A standby is not needed for the work: it is tried on, more and more rarely.
        if self._failed_starts >= STARTS_ALLOWED and self._role is not STAND_BY:
            raise StartFailed(
                f"{self.name}: {self._failed_starts} processes in a row were lost before their "
                f"first answer; the last: {error}"
            ) from error
        self._failed_starts = min(self._failed_starts, STARTS_ALLOWED)
        self._report(f"{self.name} is replaced: {error}")
        self.kill()

    def _failure(self, error: Unavailable, timed_out: bool, now_s: float) -> Reply:
        self._missed += timed_out
        if isinstance(error, Gone):
            return Reply.GONE
        if not timed_out:
            return Reply.REFUSED
        if self.state is SlotState.STARTING:
            patient = now_s - self._installed_s < START_S * self._slowness()
        else:
            patient = self._missed < MISSED_PINGS * self._slowness()
        return Reply.TIMED_OUT if patient else Reply.TIMED_OUT_AGAIN

    def _observe(self, reply: Reply) -> None:
        self.state = TRANSITIONS[self.state][reply]
        if self.state is SlotState.UP:
            self._answered, self._missed = True, 0
            if reply is Reply.ANSWERED:
                self._failed_starts = 0

    def _successor(self) -> HostAddress:
        return self.standby.give_away() if self.standby else self._start_host()

    def _install(self, host: HostAddress) -> None:
        self._host, self._installed_s = host, self._monotonic()
        self.state, self._answered = SlotState.STARTING, False
        self._missed = 0
