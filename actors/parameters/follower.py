"""Keeps a copy of the weights at the learner's newest version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import ChecksumMismatch, StaleParameters, Unavailable
from freshrank.actors.messages import Delta, SourceOffsets, Version, dominates
from freshrank.actors.parameters.follower_state import TRANSITIONS, FollowerEvent, FollowerState
from freshrank.actors.parameters.source import ParameterSource, Weights
from freshrank.actors.protocols import JsonValue
from freshrank.actors.transitions import next_state

# Seconds after which an idle long poll returns: it proves that the learner still answers.
POLL_S = 5.0
# Seconds before the first retry after a failure; doubled each time up to the second. A learner that
# restarts takes seconds, and its followers should not all ask at the same instant.
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 3.0
# The longest pause after weights that differed, each of which costs a snapshot. Differences that
# often in a row mean a disk, a network or a memory that corrupts data; twice as long without any
# ends the row.
_LONGEST_REPAIR_S = 30.0
_CALM_S = 2.0 * _LONGEST_REPAIR_S
# Seconds between two verifications of all weights held. Damage to a row in memory is rare, and
# found at once when a delta touches that row; a million rows of width 9 take 20 ms of a thread.
_VERIFY_S = 60.0


class Follower:
    """Applies the deltas of `source` to `weights`, each as a whole and in order.

    Each delta names the checksum of the weights that it leads to, and is applied only if it gives
    them; from time to time the checksum of all weights held is computed again. Where they differ
    from the learner's, a snapshot without the refused versions replaces them, whatever its version.
    Until then the weights held answer on, under their last version: a delta that did not fit was
    not applied, and damage concerns few rows. `differs` is True meanwhile. While weights differ
    again and again, the pauses before the next snapshot grow.

    Parameters
    ----------
    source, weights, clock
        The learner, the copy, and the time.
    hold_epochs
        For replicas: weights of a restarted learner, which may have learned less, are taken only
        when they contain all examples that the weights held contain. Shards take them at once:
        they have to compute gradients for that learner.
    alerts
        Takes an alert when the copy is not what the learner published; None: it is counted only.
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
        self.state = FollowerState.FOLLOWING
        self._source = source
        self._weights = weights
        self._clock = clock
        self._hold_epochs = hold_epochs
        self._alerts = alerts
        self._retries = Backoff(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S)
        self._repairs = Backoff(_FIRST_BACKOFF_S, _LONGEST_REPAIR_S)
        self._applied: Mapping[int, SourceOffsets] = {}
        self._created_ms: int | None = None
        self._newest_event_ms = 0
        self._position: Version | None = weights.version
        """The version that the next poll asks to be led on from; None: it asks for a snapshot."""
        self._refused: Version | None = None
        """The newest version of the last answer, where that did not give the learner's weights."""
        self._answered_ms: int | None = None
        self._lag_ms: int | None = None
        self._mismatches = 0
        self._mismatch_at = clock.monotonic() - _CALM_S
        self._verified_at = clock.monotonic()
        self._failures = 0
        self._error: str | None = None
        self._changed = asyncio.Event()

    @property
    def version(self) -> Version | None:
        """The version of the weights; None before the first snapshot."""
        return self._weights.version

    @property
    def error(self) -> str | None:
        """The error of the learner's last answer; None while all is well."""
        return self._error

    @property
    def applied(self) -> Mapping[int, SourceOffsets]:
        """How far each partition's examples are contained in the weights."""
        return self._applied

    @property
    def holding_back(self) -> bool:
        """Whether a newer epoch is known and not taken, because it has learned less so far."""
        return self.state in (FollowerState.HOLDING, FollowerState.DIFFERING_HELD)

    @property
    def differs(self) -> bool:
        """Whether the weights are known to differ from the learner's; a snapshot is on its way."""
        return self.state in (FollowerState.DIFFERING, FollowerState.DIFFERING_HELD)

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights (0 before the first)."""
        return self._newest_event_ms

    def age_ms(self) -> int | None:
        """Milliseconds since the weights were published; None before the first snapshot."""
        return self._since(self._created_ms)

    def silence_ms(self) -> int | None:
        """Milliseconds since the learner last answered: only newer versions can be missing."""
        return self._since(self._answered_ms)

    def lag_ms(self) -> int | None:
        """Milliseconds that the newest answer took to be applied; None before the first.

        The weights may lack versions that were published in that time, and no older version.
        """
        return self._lag_ms

    def status(self) -> dict[str, JsonValue]:
        """The metrics of this copy."""
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
                self._retries.reset()
            except Unavailable as error:
                await self._pause(error, self._retries)
            except ChecksumMismatch as error:
                await self._pause(error, self._repairs)

    async def step(self, timeout_s: float = POLL_S) -> None:
        """Poll once, and apply the answer.

        Raises Unavailable, ProgressError, and ChecksumMismatch: the next step asks for a snapshot.
        """
        deltas = await self._source.newer_than(self._position, timeout_s, self._refused)
        answered_ms = self._clock.now_ms()
        try:
            self._take_all(deltas)
            await self._verify_when_due()
        except ChecksumMismatch as error:
            self._refused = deltas[-1].version if deltas else None
            self._count_mismatch(str(error))
            raise
        self._answered_ms, self._error, self._refused = answered_ms, None, None
        self._lag_ms = self._clock.now_ms() - answered_ms

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        """Return once the weights are at least `version`; raises StaleParameters."""
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
        event = self._event_of(deltas)
        state = next_state(TRANSITIONS, self.state, event)
        if event is FollowerEvent.HELD:
            self._position = deltas[-1].version
        elif event is FollowerEvent.CAUGHT_UP:
            self._position = None
        elif event is FollowerEvent.REPLACED:
            self._weights.replace(deltas)
            self._took(deltas[-1])
        else:
            for delta in deltas:
                self._weights.apply(delta)
                self._took(delta)
        self.state = state

    def _event_of(self, deltas: Sequence[Delta]) -> FollowerEvent:
        # A snapshot may be older than the deltas behind it: the version that all lead to decides.
        first, newest = deltas[0], deltas[-1]
        new_epoch = self.version is not None and newest.version.epoch != self.version.epoch
        if new_epoch and self._hold_epochs and not self._contains_held(newest):
            return FollowerEvent.HELD
        if new_epoch and first.base is not None:
            return FollowerEvent.CAUGHT_UP
        return FollowerEvent.REPLACED if self.differs else FollowerEvent.APPLIED

    def _contains_held(self, delta: Delta) -> bool:
        """Whether the version of `delta` contains all examples that the weights held contain."""
        return all(
            partition in delta.applied and dominates(delta.applied[partition], offsets)
            for partition, offsets in self._applied.items()
        )

    def _took(self, delta: Delta) -> None:
        """Note that the weights are now those that `delta` leads to."""
        self._position = delta.version
        self._applied = delta.applied
        self._created_ms = delta.created_ms
        self._newest_event_ms = delta.newest_event_ms
        self._changed.set()
        self._changed = asyncio.Event()

    async def _verify_when_due(self) -> None:
        """Compute the checksum of all weights held, off the event loop: scores go on meanwhile."""
        now = self._clock.monotonic()
        if self.differs or self.version is None or now < self._verified_at + _VERIFY_S:
            return
        self._verified_at = now
        found = await asyncio.to_thread(self._weights.checksum)
        if found != self._weights.expected_checksum:
            raise ChecksumMismatch(f"weights held as {self.version} were damaged")

    def _count_mismatch(self, message: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, FollowerEvent.MISMATCH)
        now = self._clock.monotonic()
        if now >= self._mismatch_at + _CALM_S:
            self._repairs.reset()
        self._mismatch_at = now
        self._position = None
        self._mismatches += 1
        if self._alerts is not None:
            self._alerts.emit(AlertKind.WEIGHTS_DIFFER, Severity.WARNING, message)

    async def _pause(self, error: Exception, backoff: Backoff) -> None:
        self._failures += 1
        self._error = str(error)
        await self._clock.sleep(backoff.next_s())
