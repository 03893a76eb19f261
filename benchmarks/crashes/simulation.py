"""The whole system in one process, whose parts end and are started again, to the end of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from freshrank.actors.errors import ChecksumMismatch, ProgressError, Unavailable
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.crashes.clock import SteppedClock
from freshrank.benchmarks.crashes.crash_points import (
    Crash,
    CrashSchedule,
    Process,
    StepwiseDisk,
    instrumented,
    running,
)
from freshrank.benchmarks.crashes.expected import (
    Difference,
    FinalState,
    InvariantChecker,
    final_state,
)
from freshrank.benchmarks.crashes.handles import (
    FollowerProcessHandle,
    LearnerProcessHandle,
    ShardProcessHandle,
    alive,
)
from freshrank.benchmarks.crashes.recorded_stream import recorded
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalParts, World, in_lock_step, look_at_learner
from freshrank.deploy.wiring.lock_step import Cells, CellSource
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.parameters.weights import ModelWeights

# Seconds of the simulated clock that a round takes.
ROUND_S = 0.25
# Rounds after which a run has gone wrong: an undisturbed one takes some fifty.
PATIENCE = 500
# Rounds without work before the end: longer than `shard.DUTIES_S`, so that each shard has asked
# meanwhile how far a learner is that was started again.
_QUIET_ROUNDS = 3
# Events of a cell: some thirty turns in all.
CELL_EVENTS = 4
# Files of a name: so few that some are pruned.
_KEEP = 2
# Everything small, so that each thing happens several times in a short stream.
_SETTINGS = Settings.model_validate(
    {
        "shards": {"count": 2, "poll_max_records": 7, "snapshot_interval_s": 1.5},
        "learner": {"batch_examples": 6, "max_wait_ms": 400, "checkpoint_interval_s": 1.0},
    }
)


class CrashSimulation:
    """One run over the recorded stream, made within its event loop.

    Parameters
    ----------
    folder
        Empty: for snapshots and checkpoints.
    fate
        What ends when.
    lock_step
        Whether the order of all spans follows from the log; else shards step as they can, the
        learner sums what comes, and weights follow in the background.
    away_rounds
        For so long a part that ended is away, while the others go on.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        fate: CrashSchedule,
        *,
        lock_step: bool,
        away_rounds: int = 0,
    ) -> None:
        self._pipeline = pipeline
        self._fate = fate
        self._lock_step = lock_step
        self._away_rounds = away_rounds
        self._rounds = 0
        self._back: dict[str, int] = {}
        self._clock = SteppedClock()
        self._log = recorded(pipeline)
        self._world = World(
            self._log,
            self._clock,
            snapshots=FileSnapshots(folder / "shards", _KEEP, StepwiseDisk()),
            checkpoints=FileSnapshots(folder / "learner", _KEEP, StepwiseDisk()),
        )
        settings = in_lock_step(_SETTINGS) if lock_step else _SETTINGS
        self._parts = LocalParts(pipeline, settings, self._world)
        self._cells = Cells(self._log, pipeline.topics, CELL_EVENTS)
        self._ledger = InvariantChecker(lambda process: process.name == "replica")
        self._learner = LearnerProcessHandle()
        self._core: Learner | None = None
        self._shards: dict[int, ShardProcessHandle] = {}
        self._replica: FollowerProcessHandle | None = None
        self._answers: ModelWeights | None = None
        self._gone: list[LearnerActor] = []

    async def run(self) -> FinalState:
        """To the end of the log, starting again whatever ends. Raises Difference."""
        asyncio.get_running_loop().set_exception_handler(_only_unexpected)
        quiet = 0
        with self._ledger.watching(), instrumented():
            for self._rounds in range(PATIENCE):
                await self._start_what_ended()
                busy = await self._round()
                self._ledger.check()
                quiet = quiet + 1 if not busy and self._settled() else 0
                if quiet == _QUIET_ROUNDS:
                    return self._end()
                await self._clock.advance(ROUND_S)
        raise Difference(f"not at the end after {PATIENCE} rounds")

    async def _start_what_ended(self) -> None:
        if not alive(self._learner.process) and self._is_back("learner"):
            await self._start_learner()
        for index in range(_SETTINGS.shards.count):
            seat = self._shards.get(index)
            if seat is not None and seat.process.alive:
                continue
            self._shards.pop(index, None)
            if self._is_back(f"shard-{index}"):
                await self._start_shard(index)
        if not alive(self._replica.process if self._replica else None) and self._is_back("replica"):
            self._start_replica()

    def _is_back(self, name: str) -> bool:
        """Whether a process that is not there, or has ended, may be started now."""
        away = self._away_rounds if self._fate.crashes else 0
        if self._rounds < self._back.setdefault(name, self._rounds + away):
            return False
        del self._back[name]
        return True

    async def _start_learner(self) -> None:
        process = Process("learner", self._fate)
        core, actor = self._parts.learner()
        await self._within(process, actor.start)
        if not process.alive:
            return
        if self._learner.actor is not None:
            self._gone.append(self._learner.actor)
        self._core, self._learner.process, self._learner.actor = core, process, actor
        for seat in self._following():
            self._follow_in_background(seat)

    async def _start_shard(self, index: int) -> None:
        process = Process(f"shard-{index}", self._fate)
        source = (CellSource(self._log, self._pipeline.topics) if self._lock_step
                  else MemorySource(self._log))  # fmt: skip
        shard, follower = self._parts.shard(index, self._learner, source)
        await self._within(process, shard.start)
        if process.alive and shard.states:
            self._shards[index] = seat = ShardProcessHandle(
                process, follower, shard=shard, source=source
            )
            self._follow_in_background(seat)

    def _start_replica(self) -> None:
        process = Process("replica", self._fate)
        self._answers = ModelWeights(self._pipeline.bound_model)
        follower = Follower(self._learner, self._answers, self._clock, hold_epochs=True)
        self._replica = FollowerProcessHandle(process, follower)
        self._follow_in_background(self._replica)

    def _follow_in_background(self, seat: FollowerProcessHandle) -> None:
        if not self._lock_step:
            token = running.set(seat.process)
            if seat.background is not None:
                seat.background.cancel()  # it may wait for the answer of a learner that has ended
            seat.background = asyncio.create_task(seat.follower.run())
            running.reset(token)

    async def _round(self) -> bool:
        """Whatever can be done once; False when there is nothing left to do."""
        busy = await (self._take_turn() if self._lock_step else self._step_all())
        for seat in self._following():
            if self._lock_step:
                await self._within(seat.process, partial(seat.follower.step, 0.0))
            seat.check()
        if self._learner.actor is not None and alive(self._learner.process):
            await self._learner.actor.ping()
        return busy

    async def _take_turn(self) -> bool:
        for seat in self._shards.values():
            try:
                await look_at_learner(seat.shard.states.values(), self._learner)
            except Unavailable:
                return True
            except ProgressError:
                seat.process.alive = False
        if not self._all_alive():
            return True
        turn = self._cells.next_turn(self._states())
        if turn is None:
            return False
        for seat in self._shards.values():
            if turn.partition in seat.shard.states and isinstance(seat.source, CellSource):
                seat.source.give(turn)
                await self._within(seat.process, partial(seat.shard.step, turn.partition))
        return True

    async def _step_all(self) -> bool:
        for seat in self._shards.values():
            if seat.process.alive:
                await self._within(seat.process, seat.shard.step)
        if not self._all_alive():
            return True
        return any(
            state.replaying or state.example_queue.unsent or self._unread(state)
            for state in self._states()
        )

    def _unread(self, state: PartitionState) -> bool:
        return any(
            self._log.end(topic, state.partition) != state.offsets[topic]
            for topic in self._pipeline.topics
        )

    def _settled(self) -> bool:
        """Whether rows, examples and weights have arrived where they belong."""
        if not self._all_alive() or self._core is None or self._replica is None:
            return False
        if self._core.due_in_s(self._clock.monotonic()) is not None:
            return False
        if any(len(state.dirty) or state.evicted for state in self._states()):
            return False
        return self._replica.follower.version == self._core.version

    def _end(self) -> FinalState:
        assert self._core is not None and self._answers is not None  # it has settled
        states = {state.partition: state for state in self._states()}
        sink, store = self._parts.sink, self._world.store
        return final_state(states, store, sink, self._core, self._answers, self._ledger)

    def _states(self) -> list[PartitionState]:
        return [one for seat in self._shards.values() for one in seat.shard.states.values()]

    def _following(self) -> list[FollowerProcessHandle]:
        return [*self._shards.values(), *([self._replica] if self._replica else [])]

    def _all_alive(self) -> bool:
        return (
            alive(self._learner.process)
            and len(self._shards) == _SETTINGS.shards.count
            and all(seat.process.alive for seat in self._following())
        )

    async def _within(self, process: Process, work: Callable[[], Awaitable[object]]) -> None:
        """Do `work` as `process`, if it lives; the supervisor starts it again when it fails."""
        if not process.alive:
            return
        token = running.set(process)
        try:
            await work()
        except (Unavailable, ChecksumMismatch):
            pass  # the learner was away, or is to be asked for all weights: in the next round
        except (Crash, ProgressError):
            process.alive = False
        finally:
            running.reset(token)


def _only_unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not isinstance(context.get("exception"), Crash | Difference):
        loop.default_exception_handler(context)
