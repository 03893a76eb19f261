"""What an event costs in the state of a partition, of a thousand users and of a million.

No Kafka, no Redis: batches of events of the demo's stream are decoded and applied to its features,
in this process. Each user has one event before; then batches of random users are timed by the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.workloads.shop_events import events_of
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings

FEW, MANY = 1_000, 1_000_000
# Events of a batch: as many as a shard polls at most.
BATCH = 20_000
# Batches that are timed in each round.
TIMED = 8
# Of the first event, in milliseconds since the epoch; one comes in each.
BEGIN_MS = 1_700_000_000_000
REACH = 1.5


class _Partition:
    """A partition's state, and how much it has read."""

    def __init__(self, rng: np.random.Generator) -> None:
        pipeline = shop_file().load()
        # Of both the same: how often a batch is split to look for idle entities follows from it.
        settings = ShardSettings(max_entities_per_partition=2 * MANY)
        self._topic = pipeline.stream.topic
        self._state = PartitionState(pipeline.spec(settings), 0)
        self._rng = rng
        self._read = 0

    def apply(self, users: Sequence[int]) -> float:
        """Apply an event of each of `users`; gives the CPU time in seconds."""
        first, count = self._read, len(users)
        begin_ms = BEGIN_MS + first
        times_ms = range(begin_ms, begin_ms + count)
        values = list(events_of(users, times_ms, self._rng, "e", first))
        batch = consecutive_records(self._topic, 0, values, begin_ms + count, first)
        self._read += count
        began = time.process_time()
        self._state.process(batch)
        return time.process_time() - began


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure both in turn, round by round."""
    sizes = {users: max(1, int(users * options.scale)) for users in (FEW, MANY)}
    found: dict[int, list[float]] = {users: [] for users in sizes}
    timed = max(1, int(TIMED * options.scale))
    for number in range(options.rounds):
        for users, size in sizes.items():
            with console.status(f"round {number + 1}: {size:,} users"):
                found[users].append(_event_us(size, timed, number))
    return figures(found)


def _event_us(users: int, batches: int, seed: int) -> float:
    """The median CPU time of an event in so many batches, in microseconds."""
    rng = np.random.default_rng(seed)
    partition = _Partition(rng)
    for begin in range(0, users, BATCH):
        partition.apply(range(begin, min(begin + BATCH, users)))
    seconds = [partition.apply(rng.integers(0, users, BATCH).tolist()) for _ in range(batches)]
    return median(seconds) / BATCH * 1e6


def figures(found: Mapping[int, Sequence[float]]) -> list[Figure]:
    """Return medians over the rounds; the ratio is computed within each round."""
    ratio = median(many / few for few, many in zip(found[FEW], found[MANY], strict=True))
    return [
        Figure("ratio_of_many_to_few_users", ratio, "1", "lower", REACH),
        Figure("cpu_us_per_event_of_few_users", median(found[FEW]), "µs", "lower"),
        Figure("cpu_us_per_event_of_many_users", median(found[MANY]), "µs", "lower"),
    ]
