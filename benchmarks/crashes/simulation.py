"""The whole system in one process: its parts crash by a schedule and are started again."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.crashes.clock import SteppedClock
from freshrank.benchmarks.crashes.crash_points import StepwiseDisk, instrumented
from freshrank.benchmarks.crashes.expected import FinalState, final_state
from freshrank.benchmarks.crashes.handles import (
    FollowerProcessHandle,
    LearnerProcessHandle,
    ShardProcessHandle,
    only_unexpected,
    run_in,
)
from freshrank.benchmarks.crashes.invariants import Difference, InvariantChecker
from freshrank.benchmarks.crashes.process import CrashSchedule, Process, current_process
from freshrank.benchmarks.crashes.recorded_stream import recorded_log
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalParts, World, in_lock_step, poll_progress
from freshrank.deploy.wiring.lock_step import BatchSource, DeterministicBatches
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import snapshot_name
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.parameters.weights import ModelWeights

# Seconds of the simulated clock that a round takes.
ROUND_S = 0.25
# Rounds after which a run counts as stuck: a run without crashes takes some fifty.
MOST_ROUNDS = 500
# The round from which on a second pipeline reads the log, by lock-step: half of it is read by then.
_CHANGE_ROUND = {True: 14, False: 7}
# Rounds without work before a run ends: longer than `shard.DUTIES_S`, so that each shard has asked
# meanwhile how far a restarted learner is.
_QUIET_ROUNDS = 3
# Events of a batch in lock-step: some thirty steps in all.
BATCH_EVENTS = 4
# Newest files that are kept of each snapshot: so few that some are pruned.
_KEEP = 2
# Small limits and short intervals, so that everything happens several times in the short log.
_SETTINGS = Settings.model_validate(
    {
        "shards": {"count": 2, "poll_max_records": 7, "snapshot_interval_s": 1.5},
        "learner": {"batch_examples": 6, "max_wait_ms": 400, "checkpoint_interval_s": 1.0},
    }
)


class CrashSimulation:
    """One run over the recorded log; made and run within one event loop.

    Parameters
    ----------
    pipeline
        Whose recorded log is read.
    folder
        An empty folder for snapshots and checkpoints.
    schedule
        Which processes crash, and where.
    lock_step
        Whether the order of all steps follows from the log. Otherwise each shard reads what there
        is, the learner sums the gradients that come, and weights are followed in the background.
    away_rounds
        Rounds for which a crashed part is away, while the others go on.
    then
        Another pipeline that reads the log in place of the first from a round on in which each
        partition has a snapshot; None: the first does to the end.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        schedule: CrashSchedule,
        *,
        lock_step: bool,
        away_rounds: int = 0,
        then: Pipeline | None = None,
    ) -> None:
        self._then = then
        self.changed_at: dict[int, bytes | bytearray] = {}
        """By partition: the snapshot from which the second pipeline went on."""
        self._schedule = schedule
        self._lock_step = lock_step
        self._away_rounds = away_rounds
        self._round_number = 0
        self._starts_in_round: dict[str, int] = {}
        self._clock = SteppedClock()
        self._log = recorded_log(pipeline, then=then)
        self._world = World(
            self._log,
            self._clock,
            snapshots=FileSnapshots(folder / "shards", _KEEP, StepwiseDisk()),
            checkpoints=FileSnapshots(folder / "learner", _KEEP, StepwiseDisk()),
        )
        self._run_pipeline(pipeline)
        self._invariants = InvariantChecker(lambda process: process.name == "replica")
        self._learner = LearnerProcessHandle()
        self._core: Learner | None = None
        self._shards: dict[int, ShardProcessHandle] = {}
        self._replica: FollowerProcessHandle | None = None
        self._replica_weights: ModelWeights | None = None
        # Kept, so that their tasks are not destroyed while they are pending.
        self._crashed_learners: list[LearnerActor] = []

    def _run_pipeline(self, pipeline: Pipeline) -> None:
        """Make all parts of this pipeline from now on."""
        settings = in_lock_step(_SETTINGS) if self._lock_step else _SETTINGS
        self._pipeline = pipeline
        self._parts = LocalParts(pipeline, settings, self._world)
        self._batches = DeterministicBatches(self._log, pipeline.topics, BATCH_EVENTS)

    async def run(self) -> FinalState:
        """Run to the end of the log, starting again whatever crashes. Raises Difference."""
        asyncio.get_running_loop().set_exception_handler(only_unexpected)
        quiet = 0
        with self._invariants.observing(), instrumented():
            for self._round_number in range(MOST_ROUNDS):
                self._change_when_due()
                await self._start_missing_parts()
                busy = await self._round()
                self._invariants.check()
                quiet = quiet + 1 if not busy and self._settled() else 0
                if quiet >= _QUIET_ROUNDS and self._then is None:
                    return self._final_state()
                await self._clock.advance(ROUND_S)
        raise Difference(f"not at the end after {MOST_ROUNDS} rounds")

    def _change_when_due(self) -> None:
        """Switch all off, and let another pipeline go on, where there is one and it is time."""
        names = {at: snapshot_name(at) for at in range(self._log.partitions)}
        files = {at: self._world.snapshots.candidates(name) for at, name in names.items()}
        due = self._round_number >= _CHANGE_ROUND[self._lock_step] and all(files.values())
        if self._then is None or not due:
            return
        self.changed_at = {at: found[0].read() for at, found in files.items()}
        for process in (self._learner.process, *(one.process for one in self._followers())):
            if process is not None:
                process.alive = False
        self._run_pipeline(self._then)
        self._then = None

    async def _start_missing_parts(self) -> None:
        if not self._learner.alive and self._may_start("learner"):
            await self._start_learner()
        for index in range(_SETTINGS.shards.count):
            shard = self._shards.get(index)
            if shard is not None and shard.process.alive:
                continue
            self._shards.pop(index, None)
            if self._may_start(f"shard-{index}"):
                await self._start_shard(index)
        replica_alive = self._replica is not None and self._replica.process.alive
        if not replica_alive and self._may_start("replica"):
            self._start_replica()

    def _may_start(self, name: str) -> bool:
        """Return whether a part that is missing has been away for long enough."""
        away = self._away_rounds if self._schedule.crashes else 0
        first_round = self._starts_in_round.setdefault(name, self._round_number + away)
        if self._round_number < first_round:
            return False
        del self._starts_in_round[name]
        return True

    async def _start_learner(self) -> None:
        process = Process("learner", self._schedule)
        core, actor = self._parts.learner()
        await run_in(process, actor.start)
        if not process.alive:
            return
        if self._learner.actor is not None:
            self._crashed_learners.append(self._learner.actor)
        self._core, self._learner.process, self._learner.actor = core, process, actor
        for handle in self._followers():
            self._follow_in_background(handle)

    async def _start_shard(self, index: int) -> None:
        process = Process(f"shard-{index}", self._schedule)
        source = (
            BatchSource(self._log, self._pipeline.topics)
            if self._lock_step
            else MemorySource(self._log)
        )
        shard, follower = self._parts.shard(index, self._learner, source)
        await run_in(process, shard.start)
        if process.alive and shard.states:
            handle = ShardProcessHandle(process, follower, shard=shard, source=source)
            self._shards[index] = handle
            self._follow_in_background(handle)

    def _start_replica(self) -> None:
        process = Process("replica", self._schedule)
        self._replica_weights = ModelWeights(self._pipeline.bound_model)
        follower = Follower(self._learner, self._replica_weights, self._clock, hold_epochs=True)
        self._replica = FollowerProcessHandle(process, follower)
        self._follow_in_background(self._replica)

    def _follow_in_background(self, handle: FollowerProcessHandle) -> None:
        if not self._lock_step:
            token = current_process.set(handle.process)
            if handle.background is not None:
                handle.background.cancel()  # it may wait for the answer of a crashed learner
            handle.background = asyncio.create_task(handle.follower.run())
            current_process.reset(token)

    async def _round(self) -> bool:
        """Do once whatever can be done; return False when nothing is left to do."""
        busy = await (self._step_in_order() if self._lock_step else self._step_all())
        for handle in self._followers():
            if self._lock_step:
                await run_in(handle.process, partial(handle.follower.step, 0.0))
            handle.check()
        if self._learner.actor is not None and self._learner.alive:
            await self._learner.actor.ping()
        return busy

    async def _step_in_order(self) -> bool:
        for handle in self._shards.values():
            try:
                await poll_progress(handle.shard.states.values(), self._learner)
            except Unavailable:
                return True
            except ProgressError:
                handle.process.alive = False
        if not self._all_alive():
            return True
        step = self._batches.next_step(self._states())
        if step is None:
            return False
        for handle in self._shards.values():
            if step.partition in handle.shard.states and isinstance(handle.source, BatchSource):
                handle.source.give(step)
                await run_in(handle.process, partial(handle.shard.step, step.partition))
        return True

    async def _step_all(self) -> bool:
        for handle in self._shards.values():
            if handle.process.alive:
                await run_in(handle.process, handle.shard.step)
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
        """Return whether no row, example or version is still on its way."""
        if not self._all_alive() or self._core is None or self._replica is None:
            return False
        if self._core.due_in_s(self._clock.monotonic()) is not None:
            return False
        if any(
            len(table.dirty) or table.evicted
            for state in self._states()
            for table in state.row_tables
        ):
            return False
        return self._replica.follower.version == self._core.version

    def _final_state(self) -> FinalState:
        assert self._core is not None and self._replica_weights is not None  # it has settled
        return final_state(
            {state.partition: state for state in self._states()},
            self._world.store,
            self._parts.sink,
            self._core,
            self._replica_weights,
            self._invariants.learned_examples(),
        )

    def _states(self) -> list[PartitionState]:
        return [state for shard in self._shards.values() for state in shard.shard.states.values()]

    def _followers(self) -> list[FollowerProcessHandle]:
        return [*self._shards.values(), *([self._replica] if self._replica else [])]

    def _all_alive(self) -> bool:
        return (
            self._learner.alive
            and len(self._shards) == _SETTINGS.shards.count
            and all(handle.process.alive for handle in self._followers())
        )
