"""Measures how snapshots of a million users delay a shard that goes on processing events.

The partitions of a shard hold the users, with the rows of the demo's feature views. The bench
applies a steady stream of events and impressions to them, and a monitor measures how late the event
loop is. Meanwhile the shard's `Snapshotter` writes the partitions to disk in turn. At the end the
bench restores all partitions from the files.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import track

from freshrank.actors.clock import SystemClock
from freshrank.actors.impressions import encode_impression
from freshrank.actors.kernels.partitioner import partitions_of
from freshrank.actors.messages import Ints
from freshrank.actors.runtime import freeze_heap
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median, quantile
from freshrank.benchmarks.workloads.impressions import impression_of, without_scores
from freshrank.benchmarks.workloads.shop_events import ITEMS, events_of, user_name
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.config.settings import Settings
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.snapshotter import Snapshotter

USERS = 1_000_000
PARTITIONS = Settings().kafka.partitions
# Rate of the stream while snapshots are taken: events per second, and batches per second.
EVENTS_PER_S, BATCHES_PER_S = 10_000, 40
# Items in an impression; each batch has an impression.
SHOWN = 10
# Events in a batch while the users are filled in.
FILL_BATCH = 10_000
# Seconds of the stream before the first snapshot, to measure the loop without snapshots.
QUIET_S = 3.0
# Seconds between two beats of the monitor: shorter than the delays that matter to users, longer
# than the work of a beat.
BEAT_S = 0.001


@dataclass(frozen=True, slots=True)
class SnapshotTimings:
    """The measurements. A pause is the delay of a beat of the monitor, in seconds."""

    quiet: Sequence[float]
    """The pauses before the first snapshot."""
    pauses: Sequence[Sequence[float]]
    """The pauses during each snapshot."""
    seconds: Sequence[float]
    """Duration of each round over all partitions, until the last file is safe on disk."""
    users: int
    file_bytes: int
    """Total size of the newest file of each partition."""
    restore_seconds: float


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Fill in the users, measure the snapshots, and restore them, all in this process."""
    with tempfile.TemporaryDirectory(prefix="freshrank-bench-") as name:
        partitions = FilledPartitions(int(USERS * options.scale))
        partitions.fill(console)
        freeze_heap()
        with console.status("taking snapshots"):
            timings = uvloop.run(_measure(partitions, Path(name), options.rounds))
    return figures(timings)


def figures(timings: SnapshotTimings) -> list[Figure]:
    """Return quantiles over all pauses, and the median over snapshots of the longest pause."""
    pauses = [pause for snapshot in timings.pauses for pause in snapshot]
    longest = median(max(snapshot) for snapshot in timings.pauses)
    return [
        Figure("pause_p99_ms", quantile(pauses, 0.99) * 1e3, "ms", "lower", 20.0),
        Figure("pause_p99_ms_without", quantile(timings.quiet, 0.99) * 1e3, "ms", "lower"),
        Figure("longest_pause_ms", longest * 1e3, "ms", "lower"),
        Figure("longest_pause_ms_without", max(timings.quiet) * 1e3, "ms", "lower"),
        Figure("seconds", median(timings.seconds), "s", "lower"),
        Figure("bytes_per_user", timings.file_bytes / timings.users, "B", "lower"),
        Figure("restore_seconds", timings.restore_seconds, "s", "lower"),
    ]


class FilledPartitions:
    """The partitions of a shard with `users` users, and a stream of events for them.

    Each user belongs to the partition of its key.
    """

    def __init__(self, users: int) -> None:
        pipeline = shop_file().load()
        # A quarter more rows than users, so that no user is evicted.
        entities = users * 5 // 4 // PARTITIONS
        self.spec = pipeline.spec(ShardSettings(max_entities_per_partition=entities))
        self.states = {
            partition: PartitionState(self.spec, partition, PARTITIONS)
            for partition in range(PARTITIONS)
        }
        self.users = users
        owners = partitions_of([user_name(user).encode() for user in range(users)], PARTITIONS)
        self._users_of = [np.flatnonzero(owners == partition) for partition in self.states]
        self._rng = np.random.default_rng(0)
        self._events = 0
        self._next_partition = 0

    def fill(self, console: Console) -> None:
        """Apply an event of each user."""
        batches = [
            (partition, begin)
            for partition in self.states
            for begin in range(0, len(self._users_of[partition]), FILL_BATCH)
        ]
        for partition, begin in track(batches, f"filling in {self.users} users", console=console):
            self._apply_events(partition, self._users_of[partition][begin : begin + FILL_BATCH])

    def apply_batch(self, events: int) -> None:
        """Apply events and an impression, all of random users of the next partition."""
        partition = self._next_partition
        self._next_partition = (partition + 1) % PARTITIONS
        users = self._rng.choice(self._users_of[partition], events + 1)
        self._apply_events(partition, users[:-1])
        self._apply_impression(partition, int(users[-1]))

    def _apply_events(self, partition: int, users: Ints) -> None:
        now_ms = time.time_ns() // 1_000_000
        times_ms = [now_ms] * len(users)
        values = events_of(users.tolist(), times_ms, self._rng, "e", self._events)
        self._events += len(users)
        self._process(partition, self.spec.topics[0], list(values), now_ms)

    def _apply_impression(self, partition: int, user: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        items = self._rng.integers(1, ITEMS, SHOWN).tolist()
        shown = impression_of(self.spec.encoder, user_name(user), items, now_ms)
        # No learner takes examples away: with scores each would stay in the queue for ever.
        record = encode_impression(without_scores(shown))
        self._process(partition, self.spec.topics[1], [record], now_ms)

    def _process(self, partition: int, topic: str, values: list[bytes | None], now_ms: int) -> None:
        state = self.states[partition]
        begin = state.offsets[topic]
        batch = consecutive_records(topic, partition, values, now_ms, begin)
        outcome = state.process(batch)
        assert not outcome.dead  # the bench made the records itself


@dataclass(slots=True)
class LoopMonitor:
    """Measures the delay of an event loop: the excess duration of each of many short sleeps."""

    late_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Record the delay of each beat, until cancelled."""
        while True:
            due_s = time.perf_counter() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.late_s.append(max(0.0, time.perf_counter() - due_s))

    def take(self) -> list[float]:
        """Return the delays since the last call, in seconds."""
        taken, self.late_s = self.late_s, []
        return taken


async def _stream(partitions: FilledPartitions) -> None:
    """Apply batches at their rate until cancelled, and catch up after a pause."""
    due_s = time.perf_counter()
    while True:
        partitions.apply_batch(EVENTS_PER_S // BATCHES_PER_S)
        due_s += 1 / BATCHES_PER_S
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))


async def _measure(filled: FilledPartitions, folder: Path, rounds: int) -> SnapshotTimings:
    snapshots, monitor = FileSnapshots(folder), LoopMonitor()
    snapshotter = Snapshotter(
        filled.states, snapshots, SystemClock(), interval_s=1.0, threaded=True
    )
    tasks = [asyncio.create_task(_stream(filled)), asyncio.create_task(monitor.run())]
    await asyncio.sleep(QUIET_S)
    quiet, pauses, seconds = monitor.take(), [], []
    for _ in range(rounds):
        start_s = time.perf_counter()
        for partition in filled.states:
            monitor.take()
            await snapshotter.begin(partition, {})
            await snapshotter.settle()
            pauses.append(monitor.take())
        seconds.append(time.perf_counter() - start_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert snapshotter.error is None, snapshotter.error
    return SnapshotTimings(
        quiet=quiet,
        pauses=pauses,
        seconds=seconds,
        users=sum(len(state.tables[0]) for state in filled.states.values()),
        file_bytes=snapshotter.size(),
        restore_seconds=_restore(filled, snapshots),
    )


def _restore(filled: FilledPartitions, snapshots: FileSnapshots) -> float:
    """Restore every partition as a starting shard does; return the duration in seconds."""
    start_s = time.perf_counter()
    for partition, state in filled.states.items():
        recovered = recover(filled.spec, partition, snapshots, None, PARTITIONS)
        assert len(recovered.state.tables[0]) == len(state.tables[0])
    return time.perf_counter() - start_s
