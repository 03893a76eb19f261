"""A running system on the console: its metrics once a second, its alerts, its summary."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.protocols import Status
from freshrank.deploy import topology
from freshrank.deploy.cluster.driver_part import DRIVER
from freshrank.deploy.cluster.supervisor import Supervisor, now_and_after_each_replacement
from freshrank.deploy.commands.running.run_request import RunRequest, Traffic
from freshrank.deploy.console.alert_lines import AlertLines
from freshrank.deploy.console.screen import Screen
from freshrank.deploy.console.system_metrics import MetricsReader, SystemMetrics
from freshrank.deploy.servers.http_client import KeepAliveClient

# Seconds between two reads of the metrics.
_READ_EVERY_S = 1.0

# Seconds that the background tasks of this process may take to end when they are cancelled.
_BACKGROUND_STOP_S = 1.0


class Watch:
    """Supervises a system and shows it, until the time of the run is over.

    Parameters
    ----------
    request
        Says for how long, and where the summary goes.
    title
        Of the table: the pipeline and the URL of its endpoint.
    """

    def __init__(self, request: RunRequest, title: str, screen: Screen, clock: Clock) -> None:
        self._request = request
        self._title = title
        self._screen = screen
        self._clock = clock
        self._reader = MetricsReader()
        self._metrics: SystemMetrics | None = None
        self._first_score_s: float | None = None

    async def run(
        self,
        system: topology.System,
        supervisor: Supervisor,
        driver: Callable[[], Status],
        traffic: Traffic | None,
    ) -> None:
        """Watch until the time is over. Raises the error of a part that cannot be kept alive.

        `driver` gives the status of this process, whose alerts are shown whether or not the
        endpoint answers.
        """
        work = [supervisor.run(), self._freeze(system)]
        if traffic is not None:
            work += [traffic.run(), self._note_first_score(traffic)]
        background = [asyncio.ensure_future(task) for task in work]
        try:
            with self._screen.table():
                await self._show(background, driver, traffic)
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background, timeout=_BACKGROUND_STOP_S)

    def summarize(self) -> None:
        """Print the last metrics, and write them to the file of the summary."""
        if self._metrics is None:
            return
        self._screen.summary(self._metrics)
        if self._request.json_file is not None:
            summary = {**self._metrics.summary(), "first_score_s": self._first_score_s}
            text = json.dumps(summary, indent=2)
            self._request.json_file.write_text(f"{text}\n", encoding="utf-8")

    async def _show(
        self,
        background: Sequence[asyncio.Future[None]],
        driver: Callable[[], Status],
        traffic: Traffic | None,
    ) -> None:
        """Show the metrics until the time is over. Raises the error of a background task."""
        alerts = AlertLines()
        began = self._screen.elapsed_s()
        async with self._request.client() as client:
            while True:
                elapsed = self._screen.elapsed_s() - began
                statuses = await _statuses(client)
                for line in alerts.new({**statuses, DRIVER: driver()}):
                    self._screen.warn(line)
                requests = traffic.requests() if traffic else None
                self._metrics = self._reader.read(elapsed, statuses, requests)
                self._screen.show(self._title, self._metrics)
                for task in background:
                    if task.done():
                        task.result()
                if self._request.seconds is not None and elapsed >= self._request.seconds:
                    return
                await self._clock.sleep(_READ_EVERY_S)

    async def _freeze(self, system: topology.System) -> None:
        """Freeze the reference copy of the weights, once the model has learned something."""
        await self._clock.sleep(self._request.freeze_after_s)
        # A part that is replaced has lost its copy: then all parts make a new one.
        await now_and_after_each_replacement(system.freeze, lambda: system.replaced, self._clock)

    async def _note_first_score(self, traffic: Traffic) -> None:
        await traffic.first_score.wait()
        self._first_score_s = self._screen.elapsed_s()
        self._screen.log("the first score is answered")


async def _statuses(client: KeepAliveClient) -> dict[str, Status]:
    """Fetch the statuses that all parts have posted; empty while the endpoint does not answer."""
    try:
        status, body = await client.get("/v1/status")
    except OSError:
        return {}
    return msgspec.json.decode(body, type=dict[str, dict[str, Any]]) if status == 200 else {}
