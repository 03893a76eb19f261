"""The autoscaler: applies the policy to what replicas report, in the process of Serve's controller.

Serve calls it ten times a second with the loads that replicas have sent
(`ScoringReplica.record_autoscaling_stats`), and starts or stops replicas as it says. What it sees
and decides is a part's status, ``autoscaler``, which the page, ``/v1/status`` and ``/metrics``
show. It has no connection to the broker: where replicas do not do, the driver reads that in the
status and raises the alert.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from freshrank.actors.clock import Clock, SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import JsonValue, Status, StatusRegistry
from freshrank.actors.runtime import RemoteRole
from freshrank.deploy.cluster.status_actor import RemoteStatusRegistry
from freshrank.serve.autoscaling.policy import Decision, Load, ScalingBounds, ScalingPolicy
from freshrank.serve.monitoring.status import AUTOSCALER, OVERLOADED
from freshrank.serve.settings import ServeSettings

# Seconds between two posts of the status: the page and the console read it once a second.
_POST_S = 1.0

# Seconds for which more replicas are needed than there may be before that is told: a start of
# replicas and a burst are over by then.
_SHORT_S = 60.0

# Changes that the status lists: those of a day with its peaks.
_LISTED = 20


class ServeView(Protocol):
    """What Serve tells of a deployment: a part of its ``AutoscalingContext``."""

    @property
    def target_num_replicas(self) -> int:
        """Replicas that were decided last."""
        ...

    @property
    def current_num_replicas(self) -> int:
        """Replicas that take requests at present."""
        ...

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None:
        """By name, then by replica: the mean over the last seconds of what replicas have sent."""
        ...


class Autoscaling:
    """The policy of one deployment, and the account of what it has decided.

    Parameters
    ----------
    clock
        Times the decisions, and dates the changes.
    """

    def __init__(self, bounds: ScalingBounds, clock: Clock) -> None:
        self._policy = ScalingPolicy(bounds)
        self._clock = clock
        self._changes: deque[dict[str, JsonValue]] = deque(maxlen=_LISTED)
        self._short_since: float | None = None
        self._status: dict[str, JsonValue] = {}

    def decide(self, view: ServeView) -> int:
        """How many replicas there are to be."""
        loads, wanted = _loads(view.aggregated_metrics or {}), view.target_num_replicas
        running, now = view.current_num_replicas, self._clock.monotonic()
        decision = self._policy.decide(loads, wanted, running, now)
        if decision.replicas != wanted:
            self._changes.append(
                {
                    "at_ms": self._clock.now_ms(),
                    "from": wanted,
                    "to": decision.replicas,
                    "reason": decision.reason,
                }
            )
        self._status = {
            **self._described(decision, loads, running),
            OVERLOADED: self._overloaded(decision, now),
        }
        return decision.replicas

    def status(self) -> Status:
        """What was seen and decided last, and the newest changes."""
        return {**self._status, "changes": [*self._changes]}

    def _overloaded(self, decision: Decision, now: float) -> str | None:
        """Why the replicas that there may be have not done for long; None: they do."""
        most = self._policy.bounds.most
        if decision.needed <= most:
            self._short_since = None
            return None
        if self._short_since is None:
            self._short_since = now
        if now - self._short_since < _SHORT_S:
            return None
        return (
            f"{decision.reason}: {decision.needed} replicas would do, and there may be {most} "
            "(serve.max_replicas)"
        )

    def _described(
        self, decision: Decision, loads: list[Load], running: int
    ) -> dict[str, JsonValue]:
        bounds = self._policy.bounds
        slow = [load.p99_ms for load in loads if load.p99_ms is not None]
        return {
            "replicas": {
                "wanted": decision.replicas,
                "running": running,
                "needed": decision.needed,
                "least": bounds.least,
                "most": bounds.most,
            },
            "load": {
                "ongoing": round(sum(load.ongoing for load in loads), 2),
                "p99_ms": round(max(slow), 3) if slow else None,
            },
            "reason": decision.reason,
        }


class ServeAutoscaler:
    """What Serve calls; made by Serve with the arguments of `autoscaler_arguments`."""

    def __init__(self, bounds: Mapping[str, Any], role: str, namespace: str) -> None:
        self._autoscaling = Autoscaling(ScalingBounds(**bounds), SystemClock())
        self._registry: StatusRegistry = RemoteStatusRegistry(RemoteRole(role, namespace))
        self._posting: asyncio.Task[None] | None = None

    def __call__(self, view: ServeView) -> tuple[int, dict[str, Any]]:
        """How many replicas there are to be, and no state: this object keeps its own."""
        decided = self._autoscaling.decide(view)
        # On the loop of Serve's controller, which makes this call and may not wait in it.
        if self._posting is None or self._posting.done():
            self._posting = asyncio.get_running_loop().create_task(self._post())
        return decided, {}

    async def _post(self) -> None:
        # Where the registry is away, those who read it say so themselves.
        with suppress(Unavailable):
            await self._registry.post(AUTOSCALER, self._autoscaling.status())
        await asyncio.sleep(_POST_S)


def autoscaler_arguments(settings: ServeSettings, role: str, namespace: str) -> dict[str, Any]:
    """Those of `ServeAutoscaler`, as plain JSON; role and namespace of who keeps the statuses."""
    bounds = ScalingBounds(
        least=settings.replicas,
        most=settings.most_replicas,
        ongoing=settings.target_ongoing_requests,
        p99_ms=settings.target_p99_ms,
        down_after_s=settings.scale_down_after_s,
    )
    return {"bounds": asdict(bounds), "role": role, "namespace": namespace}


def _loads(metrics: Mapping[str, Mapping[Any, float]]) -> list[Load]:
    """Those that replicas have sent lately (`ScoringReplica.record_autoscaling_stats`)."""
    slow = metrics.get("p99_ms", {})
    return [
        Load(ongoing, slow.get(replica))
        for replica, ongoing in metrics.get("ongoing_requests", {}).items()
    ]
