"""Keeping a copy of the weights at the learner's newest version."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from freshrank.actors.clock import Clock
from freshrank.actors.errors import StaleParameters, Unavailable
from freshrank.actors.messages import Cut, Delta, Version, covers
from freshrank.actors.protocols import JsonValue, ParameterSource, Weights

# An idle long poll comes back this often: it proves that the learner still answers.
POLL_S = 5.0
# The first repetition after a failure; doubled each time up to the second. A learner that
# restarts takes seconds, and its followers should not all knock at the same instant.
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 3.0


class Follower:
    """Applies whatever `source` publishes to `weights`, in order and whole.

    Parameters
    ----------
    source, weights, clock
        The learner, the copy, and the time.
    hold_epochs
        For replicas: weights of a restarted learner, which may have learned less than the held
        ones, are taken only when they contain all that the held ones do. Shards take them at
        once: they have to compute gradients for that very learner.
    seed
        Of the jitter between retries.
    """

    def __init__(
        self,
        source: ParameterSource,
        weights: Weights,
        clock: Clock,
        *,
        hold_epochs: bool,
        seed: int = 0,
    ) -> None:
        self._source = source
        self._weights = weights
        self._clock = clock
        self._hold_epochs = hold_epochs
        self._random = random.Random(seed)
        self._applied: Mapping[int, Cut] = {}
        self._created_ms: int | None = None
        self._newest_event_ms = 0
        self._seen: Version | None = weights.version
        self._heard_ms: int | None = None
        self._failures = 0
        self._error: str | None = None
        self._changed = asyncio.Event()

    @property
    def version(self) -> Version | None:
        """Of the weights; None before the first snapshot."""
        return self._weights.version

    @property
    def error(self) -> str | None:
        """What the learner's last answer failed with; None while all is well."""
        return self._error

    @property
    def applied(self) -> Mapping[int, Cut]:
        """How far each partition's examples are contained in the weights."""
        return self._applied

    @property
    def holding_back(self) -> bool:
        """Whether a newer epoch is known and not taken, because it has learned less so far."""
        return self._seen != self._weights.version

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights (0 before the first)."""
        return self._newest_event_ms

    def age_ms(self) -> int | None:
        """How long ago the weights were published; None before the first snapshot."""
        return self._since(self._created_ms)

    def silence_ms(self) -> int | None:
        """How long ago the learner last answered: nothing newer than that can be missed."""
        return self._since(self._heard_ms)

    def status(self) -> dict[str, JsonValue]:
        """The figures of this copy."""
        return {
            "version": None if self.version is None else str(self.version),
            "age_ms": self.age_ms(),
            "silence_ms": self.silence_ms(),
            "holding_back": self.holding_back,
            "failures": self._failures,
            "error": self._error,
        }

    async def run(self) -> None:
        """Follow for ever, retrying what is unavailable; any other error ends it and is raised."""
        failed = 0
        while True:
            try:
                await self.step()
                failed = 0
            except Unavailable as error:
                self._failures += 1
                self._error = str(error)
                await self._clock.sleep(self._backoff_s(failed))
                failed += 1

    async def step(self, timeout_s: float = POLL_S) -> None:
        """One long poll and what comes of it. Raises Unavailable and ProgressError."""
        deltas = await self._source.newer_than(self._seen, timeout_s)
        self._heard_ms = self._clock.now_ms()
        self._error = None
        for delta in deltas:
            if not self._take(delta, deltas[-1]):
                return

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        """Come back when the weights are at least `version`; raises StaleParameters."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.version is None or self.version < version:
                    await self._changed.wait()
        except TimeoutError as error:
            raise StaleParameters(
                f"version {version} is wanted, {self.version} is the newest after {timeout_s} s"
            ) from error

    def _since(self, then_ms: int | None) -> int | None:
        return None if then_ms is None else max(0, self._clock.now_ms() - then_ms)

    def _take(self, delta: Delta, last: Delta) -> bool:
        """Apply `delta` unless its epoch is held back; False: the rest of the list is void.

        What counts is what the `last` of the list contains: nobody sees the weights in between.
        """
        version = self._weights.version
        strange = version is not None and delta.version.epoch != version.epoch
        if strange and self._hold_epochs and not self._contains_held(last):
            self._seen = delta.version
            return True
        if strange and delta.base is not None:
            self._seen = None  # the held-back epoch has caught up: the next poll takes it whole
            return False
        self._weights.apply(delta)
        self._seen = delta.version
        self._applied = delta.applied
        self._created_ms = delta.created_ms
        self._newest_event_ms = delta.newest_event_ms
        self._changed.set()
        self._changed = asyncio.Event()
        return True

    def _contains_held(self, delta: Delta) -> bool:
        return all(
            partition in delta.applied and covers(delta.applied[partition], cut)
            for partition, cut in self._applied.items()
        )

    def _backoff_s(self, failed: int) -> float:
        """Doubled with each failure in a row, up to a bound; half of it left to chance."""
        longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failed, 16))
        return longest * (0.5 + 0.5 * self._random.random())
