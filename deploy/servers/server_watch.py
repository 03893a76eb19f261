"""Watches the servers that a run has started: those that end are started again, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.clock import Clock
from freshrank.actors.errors import DependencyLost, Unavailable
from freshrank.deploy.servers.tasks import run_together

RunBlocking: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a blocking call off the event loop."""

# Seconds between two checks of a server: its end is known within this time.
POLL_S = 0.5

# Seconds before each start in a row. After the last of them the server is given up: what ends so
# often does not come back, and a run that says nothing of it would be worth less than none.
PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)

# Seconds that a server has to run for its next end to be the first in a row again.
STEADY_S = 60.0


class Watched(Protocol):
    """A server, or a process of Ray, as its watch sees it."""

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs, or where others run it."""
        ...

    def start_again(self) -> None:
        """Start it at the same address. Raises Unavailable when that fails, DependencyLost."""
        ...


class ServerWatch:
    """Starts servers again that have ended by themselves.

    Parameters
    ----------
    servers
        By their names in log lines, alerts and readiness.
    alerts
        Gets an alert for each end.
    log
        Called with a line when a server is up again.
    run_blocking
        Runs a start, which blocks for seconds.
    """

    def __init__(
        self,
        servers: Mapping[str, Watched],
        clock: Clock,
        alerts: AlertSink,
        log: Callable[[str], None],
        run_blocking: RunBlocking = asyncio.to_thread,
    ) -> None:
        self._servers = servers
        self._clock = clock
        self._alerts = alerts
        self._log = log
        self._run_blocking = run_blocking
        self._missing: dict[str, str] = {}

    @property
    def missing(self) -> Mapping[str, str]:
        """By name: the servers that are not up at present, with the reason."""
        return dict(self._missing)

    async def run(self) -> None:
        """Watch until cancelled. Raises DependencyLost for a server that does not come back."""
        await run_together(self._watch(name, server) for name, server in self._servers.items())

    async def _watch(self, name: str, server: Watched) -> None:
        starts, up_since_s = 0, self._clock.monotonic()
        while True:
            how = server.ended
            if how is None:
                await self._clock.sleep(POLL_S)
                continue
            if self._clock.monotonic() - up_since_s >= STEADY_S:
                starts = 0
            self._missing[name] = how
            message = f"{name} has ended ({how})"
            self._alerts.emit(AlertKind.SERVER_ENDED, Severity.WARNING, message)
            starts = await self._start_again(name, server, starts)
            up_since_s = self._clock.monotonic()

    async def _start_again(self, name: str, server: Watched, starts: int) -> int:
        """Start `server` until it is up; returns the number of starts in a row.

        Raises DependencyLost after as many starts as there are pauses.
        """
        ended_s = self._clock.monotonic()
        while starts < len(PAUSES_S):
            if PAUSES_S[starts]:
                await self._clock.sleep(PAUSES_S[starts])
            starts += 1
            try:
                await self._run_blocking(server.start_again)
            except Unavailable as error:
                self._missing[name] = error.reason.partition("\n")[0]  # the rest is its log
                continue
            del self._missing[name]
            took_s = self._clock.monotonic() - ended_s
            self._log(f"{name} is up again, {took_s:.1f} s after its end was noticed")
            return starts
        raise DependencyLost(
            f"{name}: it was started {starts} times in a row and did not stay up; the last time: "
            f"{self._missing[name]}"
        )
