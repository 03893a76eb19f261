"""The policy that decides how many replicas there are. Knows no Ray and no clock.

Two loads are held below a bound each. *Ongoing requests* are what replicas work on and what waits
inside them: by Little's law their mean is the rate of requests times the seconds that each takes,
so their sum gives the number of replicas to share it, whatever their number is now. *The 99th
percentile* of the time to answer says that replicas are too slow, but not how many more would do:
it adds one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

UP_AFTER_S = 3.0
"""Seconds for which a bound is exceeded before a replica is added: a burst is over by then."""

SETTLE_S = 15.0
"""Seconds after the last replica of a step runs before the next step up: the loads that are
measured are means over some seconds, and a new replica answers slowly at first."""

DOWN_SHARE = 0.7
"""A replica is removed where the others would have at most this share of both bounds. Between this
share and the bounds nothing changes, so that noise moves no replica."""


@dataclass(frozen=True, slots=True)
class Load:
    """The report of a replica on the last seconds."""

    ongoing: float
    """Mean number of requests that it worked on at a time."""
    p99_ms: float | None = None
    """Of the time to answer; None where too few requests came to tell."""


@dataclass(frozen=True, slots=True)
class ScalingBounds:
    """What is held, and by how many replicas."""

    least: int
    """Replicas, at least."""
    most: int
    """Replicas, at most."""
    ongoing: float
    """Ongoing requests of each replica."""
    p99_ms: float
    """Of the time to answer, of each replica."""
    down_after_s: float
    """For so long a replica has to be unnecessary before it is removed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there are to be."""

    replicas: int
    needed: int
    """As many as the loads ask for: above `replicas` where these may not be more."""
    reason: str
    """Of the last change; else of what is waited for; "" where the loads are within the bounds."""


class ScalingPolicy:
    """Decides again and again, and remembers since when a bound is exceeded.

    Up in seconds, at most to twice as many in one step, and no further before the replicas of the
    step before are up; down one at a time, after `ScalingBounds.down_after_s` each.

    >>> policy = ScalingPolicy(ScalingBounds(1, 4, ongoing=10, p99_ms=50, down_after_s=60))
    >>> busy = [Load(ongoing=25.0)]
    >>> policy.decide(busy, wanted=1, running=1, at_s=0.0).replicas
    1
    >>> decision = policy.decide(busy, wanted=1, running=1, at_s=3.0)
    >>> decision.replicas, decision.needed, decision.reason
    (2, 3, '25.0 ongoing requests of 1 replica(s), more than 10 each')
    """

    def __init__(self, bounds: ScalingBounds) -> None:
        self.bounds = bounds
        self._over_since: float | None = None
        self._under_since: float | None = None
        self._up_again_at = -math.inf

    def decide(self, loads: Sequence[Load], wanted: int, running: int, at_s: float) -> Decision:
        """How many replicas there are to be.

        Parameters
        ----------
        loads
            Of the replicas that have reported lately; others run, perhaps, that have not.
        wanted
            Replicas that were decided last.
        running
            Replicas that take requests at present.
        at_s
            Now, in seconds of a clock that never goes back.
        """
        within = min(max(wanted, self.bounds.least), self.bounds.most)
        known = [load for load in loads if math.isfinite(load.ongoing)]
        total = sum(load.ongoing for load in known)
        slowest = max((_finite(load.p99_ms) for load in known), default=0.0)
        if running < wanted:
            self._up_again_at = at_s + SETTLE_S
        needed, reason = self._needed(total, slowest, within)
        if needed > within:
            self._under_since = None
            return self._up(needed, within, reason, at_s)
        self._over_since = None
        if (
            within > self.bounds.least
            and len(known) >= running
            and self._fits(total, slowest, within - 1)
        ):
            return self._down(within, total, at_s)
        self._under_since = None
        return Decision(within, max(needed, self.bounds.least), "")

    def _needed(self, total: float, slowest: float, now: int) -> tuple[int, str]:
        """How many replicas the loads ask for, and why; no fewer than now are asked for here."""
        by_ongoing = math.ceil(total / self.bounds.ongoing)
        if by_ongoing > now:
            each = f"more than {self.bounds.ongoing:g} each"
            return by_ongoing, f"{total:.1f} ongoing requests of {now} replica(s), {each}"
        if slowest > self.bounds.p99_ms:
            return now + 1, f"a p99 of {slowest:.1f} ms, above {self.bounds.p99_ms:g} ms"
        return by_ongoing, ""

    def _fits(self, total: float, slowest: float, replicas: int) -> bool:
        return (
            total <= DOWN_SHARE * self.bounds.ongoing * replicas
            and slowest <= DOWN_SHARE * self.bounds.p99_ms
        )

    def _up(self, needed: int, now: int, reason: str, at_s: float) -> Decision:
        if self._over_since is None:
            self._over_since = at_s
        waited = at_s - self._over_since >= UP_AFTER_S and at_s >= self._up_again_at
        most = min(needed, 2 * now, self.bounds.most)
        if not waited or most == now:
            return Decision(now, needed, reason)
        self._over_since, self._up_again_at = None, at_s + SETTLE_S
        return Decision(most, needed, reason)

    def _down(self, now: int, total: float, at_s: float) -> Decision:
        if self._under_since is None:
            self._under_since = at_s
        reason = f"{total:.1f} ongoing requests, which {now - 1} replica(s) can do"
        needed = max(self.bounds.least, math.ceil(total / self.bounds.ongoing))
        if at_s - self._under_since < self.bounds.down_after_s:
            return Decision(now, needed, reason)
        self._under_since = None
        return Decision(now - 1, needed, reason)


def _finite(p99_ms: float | None) -> float:
    return p99_ms if p99_ms is not None and math.isfinite(p99_ms) else 0.0
