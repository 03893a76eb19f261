"""The driver, which is the process of `freshrank run`, as a part that reports on itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Protocol

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.clock import Clock
from freshrank.actors.errors import DependencyLost, Unavailable
from freshrank.actors.protocols import Status, StatusRegistry
from freshrank.deploy.servers.server_watch import ServerWatch
from freshrank.serve.monitoring.status import AUTOSCALER, OVERLOADED
from freshrank.serve.proxy.certificate_watch import CertificateWatch

# Its name in statuses, alerts and readiness.
DRIVER = "driver"

# Seconds between two posts of its status, which expires after some.
_POST_S = 1.0

# Seconds between two attempts to connect to a broker that is away; and for the last alerts to reach
# it at the end, because a stop may take ten seconds in all.
_RECONNECT_S, _SINK_STOP_S = 5.0, 1.0


class SinkConnection(Protocol):
    """What the driver's alerts are written to."""

    async def start(self) -> None:
        """Connect. Raises Unavailable."""
        ...

    async def stop(self) -> None:
        """Write what waits, and disconnect. Raises Unavailable."""
        ...


class DriverPart:
    """Watches the servers that the run has started, and posts what it knows of them.

    It raises the alerts of what has no connection to the broker: the autoscaler.

    Parameters
    ----------
    sink
        The connection of `alerts` to their topic.
    certificate
        Renews the certificate of the endpoint, where it has one.
    """

    def __init__(
        self,
        registry: StatusRegistry,
        watch: ServerWatch,
        alerts: AlertSink,
        sink: SinkConnection,
        clock: Clock,
        certificate: CertificateWatch | None = None,
    ) -> None:
        self._registry = registry
        self._watch = watch
        self.alerts = alerts
        """Those of the driver; other work of its process may report to them."""
        self._sink = sink
        self._clock = clock
        self._certificate = certificate
        self._overloaded = False

    async def run(self) -> None:
        """Watch and post until cancelled. Raises DependencyLost when the run has to end."""
        work = [self._connect(), self._post_forever()]
        if self._certificate is not None:
            work.append(self._certificate.run())
        background = [asyncio.ensure_future(one) for one in work]
        try:
            await self._watch.run()
        except DependencyLost:
            await self._post()  # while the run stops, the endpoint has to say that it is not ready
            raise
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            # The console has the alerts that the broker does not take in time.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_SINK_STOP_S):
                    await self._sink.stop()

    def status(self) -> Status:
        """Return the driver's status: the servers that are not up, and its alerts."""
        return {
            "process_id": os.getpid(),
            "not_ready": dict(self._watch.missing),
            "alerts": self.alerts.status(),
        }

    async def _connect(self) -> None:
        while True:
            try:
                return await self._sink.start()
            except Unavailable:
                await self._clock.sleep(_RECONNECT_S)

    async def _post_forever(self) -> None:
        while True:
            await self._post()
            await self._look_at_the_autoscaler()
            await self._clock.sleep(_POST_S)

    async def _post(self) -> None:
        with contextlib.suppress(Unavailable):  # `/readyz` says itself that no statuses come
            await self._registry.post(DRIVER, self.status())

    async def _look_at_the_autoscaler(self) -> None:
        """Raise an alert once of each time for which it tells that the replicas do not do."""
        try:
            statuses = await self._registry.collect()
        except Unavailable:
            return
        if AUTOSCALER not in statuses:  # it has not posted lately, and this may go on
            return
        reason = statuses[AUTOSCALER].get(OVERLOADED)
        if reason is not None and not self._overloaded:
            self.alerts.emit(AlertKind.OVERLOADED, Severity.WARNING, str(reason))
        self._overloaded = reason is not None
