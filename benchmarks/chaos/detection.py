"""Whether a system tells of a fault: by a counter, an alert, its readiness, or no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from freshrank.actors.alerts import AlertKind
from freshrank.actors.clock import Clock
from freshrank.actors.metrics.latency_histogram import LatencyHistogram

# Seconds between two observations.
POLL_S = 0.2
# Seconds within which a system that says that it is ready has to tell of a fault. When it says that
# it is not ready it is not silent, and they begin again: it may be mending another fault.
TOLD_S = 10.0
# Seconds after which a fault counts as silent, ready or not: an application starts in less.
GIVE_UP_S = 240.0


@dataclass(frozen=True, slots=True)
class Observation:
    """The answers of the endpoint about the system at a moment."""

    at_ms: int
    missing: Mapping[str, str] | None
    """What `/readyz` misses, by part; None: it gave no such answer."""
    statuses: Mapping[str, Mapping[str, Any]]
    """The newest status of each part that `/v1/status` has shown so far, by part."""

    @property
    def ready(self) -> bool:
        """Whether the system says that nothing is missing."""
        return self.missing is not None and not self.missing


Detection: TypeAlias = Callable[[Observation, Observation], bool]
"""Whether the second observation tells of a fault that was injected after the first one."""


def counted(counter: str) -> Detection:
    """The shard has counted more than before in the field `counter` of its status.

    >>> before, now = (Observation(0, {}, {"shard-0": {"late": n}}) for n in (4, 5))
    >>> counted("late")(before, now), counted("late")(now, now)
    (True, False)
    """
    return lambda before, now: _count(now, counter) > _count(before, counter)


def alerted(kind: AlertKind) -> Detection:
    """The status of some part has an alert of this kind since."""
    return lambda before, now: any(
        alert["kind"] == kind and alert["at_ms"] >= before.at_ms
        for status in now.statuses.values()
        for alert in status.get("alerts", {}).get("newest", ())
    )


def not_ready(*parts: str) -> Detection:
    """`/readyz` names any of these parts, with another reason than before, or does not answer.

    >>> before, now = (Observation(0, {"learner": why}, {}) for why in ("starting", "no status"))
    >>> not_ready("learner")(before, now), not_ready("learner")(now, now)
    (True, False)
    """

    def detected(before: Observation, now: Observation) -> bool:
        if now.missing is None:
            return True
        known = before.missing or {}
        return any(part in now.missing and now.missing[part] != known.get(part) for part in parts)

    return detected


def unreachable(_: Observation, now: Observation) -> bool:
    """`/readyz` gives no answer, or not that of a replica."""
    return now.missing is None


def slow(p50_ms: float) -> Detection:
    """The shard's latency from an event to its row is beyond `p50_ms` at the median."""

    def detected(_: Observation, now: Observation) -> bool:
        latencies = now.statuses.get("shard-0", {}).get("freshness")
        if not latencies:
            return False
        histogram = LatencyHistogram.from_json(latencies)
        return histogram.count > 0 and histogram.quantile(0.5) > p50_ms

    return detected


def replaced(part: str) -> Detection:
    """Another process posts the status of `part`."""
    return lambda before, now: (
        now.statuses.get(part, {}).get("process_id")
        not in {None, before.statuses.get(part, {}).get("process_id")}
    )


def either(*detections: Detection) -> Detection:
    """Any of these is enough."""
    return lambda before, now: any(detected(before, now) for detected in detections)


def every(*detections: Detection) -> Detection:
    """All of these, in a single observation."""
    return lambda before, now: all(detected(before, now) for detected in detections)


class Observable(Protocol):
    """What an observer asks; a `StatusClient` answers it."""

    async def missing(self) -> Mapping[str, str] | None:
        """What `/readyz` misses, by part; None where no replica answers."""
        ...

    async def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """The newest status of each part, by the part's name."""
        ...


class Observer:
    """Observes a system all the time; several tasks may wait for what it sees."""

    def __init__(self, system: Observable, clock: Clock) -> None:
        self.newest = Observation(clock.now_ms(), None, {})
        self._system = system
        self._clock = clock
        self._observed = asyncio.Condition()

    async def observe_forever(self) -> None:
        """Observe until cancelled."""
        while True:
            at_ms = self._clock.now_ms()
            missing = await self._system.missing()
            statuses = self.newest.statuses
            if missing is not None:
                statuses = {**statuses, **await self._system.statuses()}
            async with self._observed:
                self.newest = Observation(at_ms, missing, statuses)
                self._observed.notify_all()
            await self._clock.sleep(POLL_S)

    async def seconds_until(self, detected: Detection, before: Observation) -> float | None:
        """Return the seconds until an observation tells of a fault that came after `before`.

        None where none does while the system is ready for `TOLD_S`, or at all in `GIVE_UP_S`.
        """
        began = ready_since = now = self._clock.monotonic()
        while now - ready_since <= TOLD_S and now - began <= GIVE_UP_S:
            async with self._observed:
                await self._observed.wait()
            now = self._clock.monotonic()
            if detected(before, self.newest):
                return now - began
            if not self.newest.ready:
                ready_since = now
        return None


def _count(observation: Observation, counter: str) -> int:
    found: int = observation.statuses.get("shard-0", {}).get(counter, 0)
    return found
