"""The load of one replica: how many requests it works on at a time, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from freshrank.actors.clock import Clock
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.serve.autoscaling.policy import Load

# Seconds after which latencies are dropped, or twice as many: a policy acts on the present.
_PERIOD_S = 5.0
# Below so many requests their 99th percentile is the slowest of them: an accident.
_LEAST_REQUESTS = 100

# Seconds that the request of this task has waited for what it had asked for itself; None: the task
# answers no request.
_waited_s: ContextVar[float | None] = ContextVar("_waited_s", default=None)


class RequestLoad:
    """Measures the load of a replica. For one event loop.

    Serve's own count of ongoing requests lacks those of the fast path, which never reach it.
    What a request waits for on its own demand (``min_version``, ``max_model_age_ms``,
    ``min_offsets``) is no load: more replicas would not shorten it.

    >>> from freshrank.actors.clock import SystemClock
    >>> load = RequestLoad(SystemClock())
    >>> with load.request():
    ...     load.ongoing
    1
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ongoing = 0
        """Requests that have not been answered, those that wait among them."""
        self._working = 0
        self._latencies = RecentLatencies(_PERIOD_S)
        # The integral of `_working` over time, since the last sample.
        self._worked_s = 0.0
        self._sampled_at = self._changed_at = clock.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is answered."""
        token = _waited_s.set(0.0)
        begun = self._change(1)
        self.ongoing += 1
        try:
            yield
        finally:
            self.ongoing -= 1
            ended, waited_s = self._change(-1), _waited_s.get() or 0.0
            self._latencies.add_one((ended - begun - waited_s) * 1000.0, ended)
            _waited_s.reset(token)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Leave the request of this task out while it waits for what it has asked for."""
        before_s = _waited_s.get()
        if before_s is None:
            yield
            return
        begun = self._change(-1)
        try:
            yield
        finally:
            _waited_s.set(before_s + self._change(1) - begun)

    def sample(self) -> Load:
        """The load since the last sample; its latencies are those of the last seconds."""
        now = self._change(0)
        passed_s = now - self._sampled_at
        ongoing = self._worked_s / passed_s if passed_s > 0 else float(self._working)
        self._worked_s, self._sampled_at = 0.0, now
        recent = self._latencies.at(now)
        slow = recent.count >= _LEAST_REQUESTS
        return Load(ongoing, recent.quantile(0.99) if slow else None)

    def _change(self, by: int) -> float:
        """Have `by` more requests worked on from now on; gives the time, in monotonic seconds."""
        now = self._clock.monotonic()
        self._worked_s += self._working * (now - self._changed_at)
        self._changed_at = now
        self._working += by
        return now
