"""The statuses of all parts as a replica shows them, and its own, which it posts for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import Status, StatusRegistry
from freshrank.serve.monitoring import posted_metrics
from freshrank.serve.monitoring.metrics import ServeMetrics
from freshrank.serve.monitoring.system_readiness import missing_parts

AUTOSCALER = "autoscaler"
"""The part that decides how many replicas there are."""

OVERLOADED = "overloaded"
"""In its status: why the replicas that there may be do not do; null where they do."""

# Seconds to wait for the status registry: a page shows what else there is, a stop goes on.
_REGISTRY_TIMEOUT_S = 1.0

# Seconds between two posts of a replica's status: the page reads once a second.
_POST_INTERVAL_S = 1.0


class ReplicaStatus:
    """Answers GET /v1/status and GET /metrics.

    Parameters
    ----------
    replica
        The name under which the replica's own status is posted.
    own
        Gives that status.
    """

    def __init__(
        self,
        replica: str,
        own: Callable[[], Status],
        registry: StatusRegistry,
        metrics: ServeMetrics,
        clock: Clock,
    ) -> None:
        self._replica = replica
        self._own = own
        self._registry = registry
        self._metrics = metrics
        self._clock = clock

    async def collect(self) -> dict[str, Status]:
        """By part: what all parts have posted, and this replica's own status of now."""
        statuses: dict[str, Status] = {}
        try:
            async with asyncio.timeout(_REGISTRY_TIMEOUT_S):
                statuses.update(await self._registry.collect())
        except (Unavailable, TimeoutError) as error:
            statuses["statuses"] = {"error": str(error) or "no answer"}
        statuses.pop(self._replica, None)
        statuses["replica"] = self._own()
        return statuses

    async def missing_parts(
        self, partitions: int, candidate_partitions: Mapping[str, int]
    ) -> dict[str, str]:
        """By part: what keeps new events from the answers (see `system_readiness`)."""
        try:
            async with asyncio.timeout(_REGISTRY_TIMEOUT_S):
                statuses = await self._registry.collect()
                return missing_parts(statuses, partitions, candidate_partitions)
        except (Unavailable, TimeoutError) as error:
            return {"statuses": str(error) or "no answer"}

    async def running_replicas(self) -> int:
        """Replicas that take requests, as the autoscaler has posted lately; 0 where it has not."""
        scaling = (await self.collect()).get(AUTOSCALER, {}).get("replicas")
        running = scaling.get("running") if isinstance(scaling, Mapping) else None
        return running if isinstance(running, int) else 0

    async def expose(self) -> bytes:
        """Prometheus' text format, without other replicas: each is scraped itself."""
        statuses = await self.collect()
        posted = {
            part: status for part, status in statuses.items() if not part.startswith("replica-")
        }
        return self._metrics.expose() + posted_metrics.expose(posted)

    async def keep_posted(self) -> None:
        """Post the replica's own status, for the others and the driver; at the end withdraw it.

        It would be shown until it expires.
        """
        try:
            while True:
                # Readiness and health show an outage; a status is worth no more than the next try.
                with suppress(Unavailable):
                    await self._registry.post(self._replica, self._own())
                await self._clock.sleep(_POST_INTERVAL_S)
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_REGISTRY_TIMEOUT_S):
                    await self._registry.withdraw(self._replica)
