"""Keeping a copy of the weights at the learner's newest version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import ChecksumMismatch, StaleParameters, Unavailable
from freshrank.actors.messages import Delta, SourceOffsets, Version, dominates
from freshrank.actors.protocols import JsonValue, ParameterSource, Weights

# An idle long poll comes back this often: it proves that the learner still answers.
POLL_S = 5.0
# The first repetition after a failure; doubled each time up to the second. A learner that
# restarts takes seconds, and its followers should not all knock at the same instant.
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 3.0
# The same after weights that differed, which cost a snapshot each. So often in a row means a disk,
# a network or a memory that lies; twice as long without any ends the row.
_LONGEST_REPAIR_S = 30.0
_CALM_S = 2.0 * _LONGEST_REPAIR_S
# Seconds between two looks at all weights held. Damage to a row in memory is rare, and found at
# once when a delta touches that row; a million rows of width 9 take 20 ms of another thread.
_VERIFY_S = 60.0


class Follower:
    """Applies whatever `source` publishes to `weights`, in order and whole.

    Each delta names the checksum of the weights that it leads to, and is applied only if it would
    give them; now and then all weights held are summed anew. Where they differ from the learner's,
    a snapshot without what was refused replaces them, whatever the version. Until then the copy
    answers on, as the version it was last: a delta that did not fit has changed nothing, and a row
    that was damaged is one of many. But it says so (`differs`). Should they differ again and again,
    the pauses before the next snapshot grow.

    Parameters
    ----------
    source, weights, clock
        The learner, the copy, and the time.
    hold_epochs
        For replicas: weights of a restarted learner, which may have learned less than the held
        ones, are taken only when they contain all that the held ones do. Shards take them at
        once: they have to compute gradients for that very learner.
    alerts
        Told when the copy is not what the learner published; None: counted only.
    """

    def __init__(
        self,
        source: ParameterSource,
        weights: Weights,
        clock: Clock,
        *,
        hold_epochs: bool,
        alerts: AlertSink | None = None,
    ) -> None:
        self._source = source
        self._weights = weights
        self._clock = clock
        self._hold_epochs = hold_epochs
        self._alerts = alerts
        self._away = Backoff(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S)
        self._repairs = Backoff(_FIRST_BACKOFF_S, _LONGEST_REPAIR_S)
        self._applied: Mapping[int, SourceOffsets] = {}
        self._created_ms: int | None = None
        self._newest_event_ms = 0
        self._seen: Version | None = weights.version
        self._heard_ms: int | None = None
        self._lag_ms: int | None = None
        self._differs = False
        self._mismatches = 0
        self._differed_at = clock.monotonic() - _CALM_S
        self._refused: Version | None = None
        """The newest version of the last answer, where that did not give the learner's weights."""
        self._verified_at = clock.monotonic()
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
    def applied(self) -> Mapping[int, SourceOffsets]:
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

    @property
    def differs(self) -> bool:
        """Whether the weights are known not to be the learner's; a snapshot is on its way."""
        return self._differs

    def lag_ms(self) -> int | None:
        """How long the newest answer took to be applied; None before the first.

        Whatever was published meanwhile the weights do not contain yet: nothing older is missing.
        """
        return self._lag_ms

    def status(self) -> dict[str, JsonValue]:
        """The figures of this copy."""
        return {
            "version": None if self.version is None else str(self.version),
            "age_ms": self.age_ms(),
            "silence_ms": self.silence_ms(),
            "holding_back": self.holding_back,
            "differs": self.differs,
            "mismatches": self._mismatches,
            "failures": self._failures,
            "error": self._error,
        }

    async def run(self) -> None:
        """Follow for ever, retrying what is unavailable; any other error ends it and is raised."""
        while True:
            try:
                await self.step()
                self._away.reset()
            except Unavailable as error:
                await self._pause(error, self._away)
            except ChecksumMismatch as error:
                await self._pause(error, self._repairs)

    async def step(self, timeout_s: float = POLL_S) -> None:
        """One long poll and what comes of it.

        Raises Unavailable, ProgressError, and ChecksumMismatch: the next step asks for a snapshot.
        """
        deltas = await self._source.newer_than(self._seen, timeout_s, self._refused)
        heard_ms = self._clock.now_ms()
        try:
            self._take_all(deltas)
            await self._verify_when_due()
        except ChecksumMismatch as error:
            self._refused = deltas[-1].version if deltas else None
            self._mismatch(str(error))
            raise
        self._heard_ms, self._error, self._refused = heard_ms, None, None
        self._lag_ms = self._clock.now_ms() - heard_ms

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

    def _take_all(self, deltas: Sequence[Delta]) -> None:
        """Apply `deltas`, which lead on from each other, unless their epoch is held back."""
        if not deltas:
            return
        # A snapshot may be older than the deltas behind it: what all lead to is what counts.
        first, newest = deltas[0], deltas[-1]
        if self._holds(newest):
            self._seen = newest.version
        elif self._is_strange(newest) and first.base is not None:
            self._seen = None  # the held-back epoch has caught up: the next poll takes it whole
        elif self._differs and first.base is None:
            self._weights.replace(deltas)
            self._differs = False
            self._taken(newest)
        else:
            for delta in deltas:
                self._weights.apply(delta)
                self._taken(delta)

    def _holds(self, delta: Delta) -> bool:
        """Whether the held weights are kept, for those of `delta` contain less."""
        return self._hold_epochs and self._is_strange(delta) and not self._contains_held(delta)

    def _is_strange(self, delta: Delta) -> bool:
        version = self._weights.version
        return version is not None and delta.version.epoch != version.epoch

    def _taken(self, delta: Delta) -> None:
        """The weights are those that `delta` leads to."""
        self._seen = delta.version
        self._applied = delta.applied
        self._created_ms = delta.created_ms
        self._newest_event_ms = delta.newest_event_ms
        self._changed.set()
        self._changed = asyncio.Event()

    async def _verify_when_due(self) -> None:
        """Sum all weights held, now and then: scores are given meanwhile, deltas wait."""
        now = self._clock.monotonic()
        if self._differs or self.version is None or now < self._verified_at + _VERIFY_S:
            return
        self._verified_at = now
        found = await asyncio.to_thread(self._weights.checksum)
        if found != self._weights.expected_checksum:
            raise ChecksumMismatch(f"weights held as {self.version} were damaged")

    def _mismatch(self, message: str) -> None:
        now = self._clock.monotonic()
        if now >= self._differed_at + _CALM_S:
            self._repairs.reset()
        self._differed_at = now
        self._differs, self._seen = True, None
        self._mismatches += 1
        if self._alerts is not None:
            self._alerts.emit(AlertKind.WEIGHTS_DIFFER, Severity.WARNING, message)

    def _contains_held(self, delta: Delta) -> bool:
        return all(
            partition in delta.applied and dominates(delta.applied[partition], offsets)
            for partition, offsets in self._applied.items()
        )

    async def _pause(self, error: Exception, backoff: Backoff) -> None:
        self._failures += 1
        self._error = str(error)
        await self._clock.sleep(backoff.next_s())
