"""What an event costs in the state of a partition, from a thousand users to five million.

No Kafka, no Redis: batches of events of the demo's stream are decoded and applied to its features,
in this process. Each user has one event before; then batches of random users are timed by the CPU,
at each number of users in turn. The largest needs 12 GB of memory while it grows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.workloads.shop_events import events_of
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings

USERS = (1_000, 100_000, 1_000_000, 5_000_000)
# Events of a batch: as many as a shard polls at most.
BATCH = 20_000
# Batches that are timed in each round.
TIMED = 8
# Of the first event, in milliseconds since the epoch; one comes in each.
BEGIN_MS = 1_700_000_000_000
# Of the cost of an event of the most users to that of the fewest.
REACH = 1.5


class _Partition:
    """A partition's state, and how much it has read."""

    def __init__(self, rng: np.random.Generator) -> None:
        pipeline = shop_file().load()
        # Of all the same: how often a batch is split to look for idle entities follows from it.
        settings = ShardSettings(max_entities_per_partition=2 * USERS[-1])
        self._topic = pipeline.stream.topic
        self._state = PartitionState(pipeline.spec(settings), 0)
        self._rng = rng
        self._read = 0

    @property
    def row_bytes(self) -> int:
        """The bytes of a user's row."""
        return 8 * self._state.tables[0].plan.row_words

    def apply(self, users: Sequence[int]) -> float:
        """Apply an event of each of `users`; gives the CPU time of an event in microseconds."""
        first, count = self._read, len(users)
        begin_ms = BEGIN_MS + first
        times_ms = range(begin_ms, begin_ms + count)
        values = list(events_of(users, times_ms, self._rng, "e", first))
        batch = consecutive_records(self._topic, 0, values, begin_ms + count, first)
        self._read += count
        began = time.process_time()
        self._state.process(batch)
        return (time.process_time() - began) / count * 1e6


@dataclass(slots=True)
class StateCosts:
    """What was measured at one number of users."""

    row_bytes: int
    memory_bytes: float
    """By which the process grew, for each user."""
    new_us: float
    """CPU time of the first event of a user, growth of the tables included."""
    known_us: list[float] = field(default_factory=list)
    """CPU time of a further event, by round: the median of its batches."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Fill the states, then measure them in turn, round by round."""
    rng = np.random.default_rng(0)
    partitions: dict[int, _Partition] = {}
    found: dict[int, StateCosts] = {}
    sizes = {users: max(1, int(users * options.scale)) for users in USERS}
    for users, size in sizes.items():
        with console.status(f"the first event of {size:,} users"):
            partitions[users], found[users] = _filled(size, rng)
    timed = max(1, int(TIMED * options.scale))
    for number in range(options.rounds):
        for users, partition in partitions.items():
            with console.status(f"round {number + 1}: {sizes[users]:,} users"):
                batches = rng.integers(0, sizes[users], (timed, BATCH)).tolist()
                found[users].known_us.append(median(map(partition.apply, batches)))
    return figures(found)


def _filled(users: int, rng: np.random.Generator) -> tuple[_Partition, StateCosts]:
    """A partition with one event of each user, and what that took."""
    process, partition = psutil.Process(), _Partition(rng)
    before, spent_us = process.memory_info().rss, 0.0
    for begin in range(0, users, BATCH):
        batch = range(begin, min(begin + BATCH, users))
        spent_us += partition.apply(batch) * len(batch)
    grown = process.memory_info().rss - before
    return partition, StateCosts(partition.row_bytes, grown / users, spent_us / users)


def figures(found: Mapping[int, StateCosts]) -> list[Figure]:
    """Return medians over the rounds; ratios to the fewest users are computed within each round.

    Memory and cost of new users are those of the most: of few, they are those of an empty state.
    """
    few, most = found[USERS[0]], found[USERS[-1]]
    made = []
    for users, costs in found.items():
        made.append(
            Figure(f"cpu_us_per_event_{users}_users", median(costs.known_us), "µs", "lower")
        )
        if costs is few:
            continue
        ratio = median(one / base for base, one in zip(few.known_us, costs.known_us, strict=True))
        reach = REACH if costs is most else None
        made.append(Figure(f"ratio_of_{users}_to_{USERS[0]}_users", ratio, "1", "lower", reach))
    return [
        *made,
        Figure("cpu_us_per_new_user", most.new_us, "µs", "lower"),
        Figure("memory_bytes_per_user", most.memory_bytes, "B", "lower"),
        Figure("row_bytes_per_user", most.row_bytes, "B", "lower"),
    ]
