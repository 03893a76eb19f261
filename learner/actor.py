"""The learner as a running component: locks, loops, checkpoints and the log of deltas around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from freshrank.actors.alerts import AlertKind, Alerts, Severity, tell_passed_over
from freshrank.actors.clock import Clock
from freshrank.actors.errors import SnapshotError, Unavailable
from freshrank.actors.messages import Delta, Examples, Gradient, SourceOffsets, Version
from freshrank.actors.parameters.delta_log import DeltaLog
from freshrank.actors.protocols import Progress, Status
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.reporters import Reporters

T = TypeVar("T")

# Seconds between two tries to write the first checkpoint of an epoch.
_CLAIM_RETRY_S = 1.0
# Seconds between two points of the curves: a change shows within a minute.
_LOG_INTERVAL_S = 5.0

_log = logging.getLogger(__name__)

Offload = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments off the event loop (`asyncio.to_thread`)."""


async def inline(function: Callable[..., T], *args: object) -> T:
    """An `Offload` that runs at once, on the event loop: for simulations, which are sequential."""
    return function(*args)


class LearnerActor:
    """`GradientSink` and `ParameterSource` over one `Learner`.

    Everything that reads or changes the learner holds one lock. Heavy work runs off the event loop
    meanwhile, so that long polls and questions of progress are answered at once.

    Parameters
    ----------
    learner, clock
        The core, fresh, and the time.
    store
        Where checkpoints are kept; None: every start begins with untrained weights.
    reporters
        Where alerts and curves go.
    offload
        Runs heavy work off the event loop.
    """

    def __init__(
        self,
        learner: Learner,
        clock: Clock,
        store: SnapshotStore | None = None,
        *,
        reporters: Reporters | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self._learner = learner
        self._clock = clock
        self._store = store
        reporters = reporters or Reporters()
        self._alerts = reporters.alerts or Alerts("learner", clock)
        self._log = reporters.log
        self._offload = offload
        self._lock = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._deltas: DeltaLog | None = None
        self._waiting = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self._saved_at: float | None = None
        self._restored = checkpoints.Restored()
        self._save_error: str | None = None
        """Why the last checkpoint could not be written; None when it was."""
        self._log_error: str | None = None
        """Why the last point of the curves could not be written; None when it was."""

    async def start(self) -> None:
        """Go on from the newest checkpoint, one epoch later. A second call does nothing.

        Waits for a disk that takes no checkpoint. Raises DefinitionChanged and SnapshotError (see
        `checkpoints.restore`).
        """
        if self._deltas is not None:
            return
        if self._store is not None:
            found = await self._offload(checkpoints.restore, self._learner, self._store)
            self._restored = found
            tell_passed_over(self._alerts, found.problems)
            if found.changed:
                _log.warning("the model goes on with other inputs: %s", found.changed)
        await self._claim_epoch()
        self._deltas = DeltaLog(self._learner.version, self._snapshot)
        self._tasks = [asyncio.create_task(loop) for loop in self._loops()]

    async def _claim_epoch(self) -> None:
        """Write a checkpoint of the new epoch before it is published, so that it never comes twice.

        Retries without end: an error would stop the callers, who have to wait all the same.
        """
        await self.save()
        while self._save_error is not None:
            await self._clock.sleep(_CLAIM_RETRY_S)
            await self.save()

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        loops = [self._step_when_due()]
        if self._store is not None:
            loops.append(self._every(self._learner.settings.checkpoint_interval_s, self.save))
        if self._log is not None:
            loops.append(self._every(_LOG_INTERVAL_S, self._write_log))
        return loops

    async def ping(self) -> None:
        """Raise the error that ended one of the background loops, if one did.

        Raises Unavailable while a disk that takes no checkpoint delays the start.
        """
        if self._deltas is None and self._save_error is not None:
            raise Unavailable("learner", f"cannot begin: {self._save_error}")
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def push(self, work: Gradient | Examples) -> Progress:
        """Offer work; a step that it makes due is taken before the answer.

        Raises Unavailable before `start` and after `stop`.
        """
        self._published()
        await self.ping()
        # A caller that is cancelled must not release the lock while a thread still steps.
        return await asyncio.shield(self._push(work))

    async def _push(self, work: Gradient | Examples) -> Progress:
        async with self._lock:
            now = self._clock.monotonic()
            if isinstance(work, Examples):
                progress: Progress = await self._offload(self._learner.offer, work, now)
            else:
                progress = self._learner.offer(work, now)
            if self._learner.due_in_s(now) == 0.0:
                await self._step()
                progress = replace(progress, version=self._learner.version)
            self._raise_alerts()
        self._waiting.set()
        return progress

    async def progress(self, partition: int) -> Progress:
        """What has been taken of `partition`. Raises Unavailable before `start`."""
        self._published()
        return self._learner.progress(partition)

    async def applied(self) -> Mapping[int, SourceOffsets]:
        """How far each partition is contained in the weights. Raises Unavailable before `start`."""
        self._published()
        return dict(self._learner.applied)

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource`. Raises Unavailable before `start` and after `stop`."""
        deltas = self._published()
        await self.ping()
        return await deltas.newer_than(version, timeout_s, refused)

    async def freeze_reference(self) -> None:
        """Compare with the present weights from now on (see `Learner.freeze_reference`)."""
        async with self._lock:
            await self._offload(self._learner.freeze_reference)

    async def status(self) -> Status:
        """Metrics of the learner, errors, and the checkpoint's age."""
        async with self._lock:
            metrics = await self._offload(self._learner.status, self._clock.monotonic())
        age = None if self._saved_at is None else self._clock.monotonic() - self._saved_at
        errors = {"checkpoints": self._save_error, "curves": self._log_error}
        return {
            **metrics,
            "health": {
                **{name: error for name, error in errors.items() if error is not None},
                **self._learner.rollback_log.health(),
            },
            **self._restored.status(),
            "checkpoint_age_s": age,
            "alerts": self._alerts.status(),
        }

    async def save(self) -> None:
        """Write a checkpoint of this moment; the offsets in it become durable.

        Pending gradients are learned first. A disk that does not take the checkpoint shows in the
        status; the older checkpoints stay, the shards keep their examples, and learning goes on.
        """
        if self._store is not None:
            await asyncio.shield(self._save(self._store))

    async def _save(self, store: SnapshotStore) -> None:
        async with self._saving:
            async with self._lock:
                await self._step()
                checkpoint = await self._offload(checkpoints.take, self._learner)
                moment = self._clock.monotonic()
            try:
                await self._offload(_write, store, checkpoint)
            except SnapshotError as error:
                if self._save_error is None:
                    message = f"{error}; the older ones stay, and it is tried again"
                    self._alerts.emit(AlertKind.NOT_SAVED, Severity.ERROR, message)
                self._save_error = str(error)
                return
            if self._save_error is not None:
                _log.warning("checkpoints can be written again")
                self._save_error = None
            self._learner.durable = checkpoint.applied
            self._saved_at = moment

    async def stop(self) -> None:
        """Learn pending gradients, write a last checkpoint, end the loops. Safe to call twice."""
        if self._deltas is None or self._stopped:
            return
        self._stopped = True
        async with self._saving, self._lock:  # so no loop is inside a step or a save
            for task in self._tasks:
                task.cancel()
            await self._step()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.save()

    async def _step(self) -> None:
        """Take a step and publish its delta; the lock is held."""
        delta: Delta | None = await self._offload(
            self._learner.step, self._clock.now_ms(), self._clock.monotonic()
        )
        if delta is not None and self._deltas is not None:
            self._deltas.append(delta)
        self._raise_alerts()

    def _raise_alerts(self) -> None:
        """Raise the alerts that the core has noted."""
        for alert in self._learner.quarantine.take():
            self._alerts.emit(*alert)

    async def _step_when_due(self) -> None:
        """Step when the first pending example has waited long enough."""
        while True:
            due = self._learner.due_in_s(self._clock.monotonic())
            if due is None:
                self._waiting.clear()
                await self._waiting.wait()
            elif due > 0.0:
                await self._clock.sleep(due)
            else:
                async with self._lock:
                    if self._learner.due_in_s(self._clock.monotonic()) == 0.0:
                        await self._step()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            await work()

    async def _snapshot(self) -> Delta:
        async with self._lock:
            delta: Delta = await self._offload(self._learner.snapshot, self._clock.now_ms())
            self._raise_alerts()
            return delta

    async def _write_log(self) -> None:
        if self._log is None:
            return
        steps, now_ms, status = (
            self._learner.trained.total_steps,
            self._clock.now_ms(),
            await self.status(),
        )
        try:
            await self._offload(self._log.write, steps, now_ms, status)
            self._log_error = None
        except OSError as error:
            self._log_error = f"a point is lost: {error}"

    def _published(self) -> DeltaLog:
        if self._deltas is None or self._stopped:
            raise Unavailable("learner", "stopped" if self._stopped else "not started yet")
        return self._deltas


def _write(store: SnapshotStore, checkpoint: checkpoints.Checkpoint) -> None:
    store.save(checkpoints.NAME, checkpoint.pieces())
