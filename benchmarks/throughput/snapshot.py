"""What a snapshot of a million users costs a shard that goes on reading meanwhile.

The partitions of one shard hold the users, with the rows of the demo's feature views. A steady
stream of events and impressions is applied to them, while a heartbeat tells for how long nothing
else could run. Then snapshots are taken, one partition after the other, by the very `Snapshotter`
of a shard and into real files; in the end all of them are taken up again.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.actors.messages import Ints, RecordBatch
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.workloads.shop_events import CATEGORIES, ITEMS, KIND_SHARES, KINDS
from freshrank.benchmarks.workloads.shop_fixture import shop_file, user_name
from freshrank.deploy.cluster.host import settle
from freshrank.deploy.config.settings import Settings
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover
from freshrank.feature_actors.partition.spec import Bounds, PartitionSpec
from freshrank.feature_actors.shard.snapshotter import Snapshotter

USERS = 1_000_000
PARTITIONS = Settings().kafka.partitions
# The stream while snapshots are taken: so many events a second, in batches of a fortieth of that.
EVENTS_PER_S, BATCHES_PER_S = 10_000, 40
# Each batch brings one answer's impressions too.
SHOWN = 10
# Made and applied at once while the users are filled in.
FILL_BATCH = 10_000
# Seconds that the stream runs before the first snapshot: what it costs without.
QUIET_S = 3.0
# Seconds between two beats of the heart: below what can be felt, above what asking costs.
BEAT_S = 0.001


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it. Pauses are in seconds: by how much a beat was late."""

    quiet: Sequence[float]
    """While no snapshot was taken."""
    pauses: Sequence[Sequence[float]]
    """During each snapshot."""
    seconds: Sequence[float]
    """Of each round over all partitions, from the first snapshot to the last file safe on disk."""
    users: int
    file_bytes: int
    """Of the newest file of each partition."""
    restore_seconds: float


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Fill, measure, restore; nothing outside of this process is needed but a disk."""
    with tempfile.TemporaryDirectory(prefix="freshrank-bench-") as name:
        shop = Shop(int(USERS * options.scale))
        console.print(f"filling in {shop.users} users")
        shop.fill()
        settle()
        measured = uvloop.run(_measure(shop, Path(name), options.rounds))
    return figures(measured)


def figures(measured: Measured) -> list[Figure]:
    """Pauses over all beats during snapshots, and the longest one of the median snapshot."""
    pauses = np.concatenate([np.array(one) for one in measured.pauses]) * 1e3
    quiet = np.array(measured.quiet) * 1e3
    longest = median(max(one) for one in measured.pauses) * 1e3
    return [
        Figure("pause_p99_ms", float(np.percentile(pauses, 99)), "ms", "lower", 20.0),
        Figure("pause_p99_ms_without", float(np.percentile(quiet, 99)), "ms", "lower"),
        Figure("longest_pause_ms", longest, "ms", "lower"),
        Figure("longest_pause_ms_without", float(quiet.max()), "ms", "lower"),
        Figure("seconds", median(measured.seconds), "s", "lower"),
        Figure("bytes_per_user", measured.file_bytes / measured.users, "B", "lower"),
        Figure("restore_seconds", measured.restore_seconds, "s", "lower"),
    ]


class Shop:
    """The partitions, and what happens in them."""

    def __init__(self, users: int) -> None:
        pipeline = shop_file().load()
        # A quarter more than there are, so that nobody is evicted.
        self.spec: PartitionSpec = pipeline.spec(
            Bounds(users * 5 // 4 // PARTITIONS, event_ids=500_000)
        )
        self.states = {one: PartitionState(self.spec, one) for one in range(PARTITIONS)}
        self.users = users
        self._rng = np.random.default_rng(0)
        self._number = 0
        self._turn = 0

    def fill(self) -> None:
        """One event of each user."""
        for partition in self.states:
            whole = np.arange(partition, self.users, PARTITIONS)
            for begin in range(0, len(whole), FILL_BATCH):
                self._happen(partition, whole[begin : begin + FILL_BATCH])

    def go_on(self, events: int) -> None:
        """A batch of events of some users, and one answer that somebody saw."""
        self._turn = (self._turn + 1) % PARTITIONS
        partition = self._turn
        somebody = self._rng.integers(0, self.users // PARTITIONS, events + 1)
        who = somebody * PARTITIONS + partition
        self._happen(partition, who[:-1])
        self._show(partition, int(who[-1]))

    def _happen(self, partition: int, who: Ints) -> None:
        rng, now_ms = self._rng, time.time_ns() // 1_000_000
        kinds = rng.choice(len(KINDS), len(who), p=KIND_SHARES).tolist()
        items = (ITEMS * rng.random(len(who)) ** 3).astype(np.int64).tolist()
        values: list[bytes | None] = []
        for user, kind, item in zip(who.tolist(), kinds, items, strict=True):
            self._number += 1
            event = ShopEvent(
                event_id=f"e{self._number:09d}",
                user_id=user_name(user),
                item_id=item + 1,
                category_id=item % CATEGORIES + 1,
                type=KINDS[kind],
                price=9.9,
                ts=now_ms,
            )
            values.append(msgspec.json.encode(event))
        self._take(partition, self.spec.topics[0], values, now_ms)

    def _show(self, partition: int, user: int) -> None:
        layout, now_ms = self.spec.encoder.layout, time.time_ns() // 1_000_000
        items = self._rng.integers(1, ITEMS, SHOWN)
        impression = Impression(
            request_id="",
            entity=user_name(user),
            at_ms=now_ms,
            version="1.0",
            layout=self.spec.encoder.fingerprint,
            join_keys=hash_ints(items).tobytes(),
            dense=np.zeros((SHOWN, len(layout.dense)), dtype="<f4").tobytes(),
            ids=np.ones((SHOWN, layout.id_width), dtype="<i8").tobytes(),
        )
        self._take(partition, self.spec.topics[1], [encode_impression(impression)], now_ms)

    def _take(self, partition: int, topic: str, values: list[bytes | None], now_ms: int) -> None:
        state = self.states[partition]
        begin, count = state.offsets[topic], len(values)
        offsets = np.arange(begin, begin + count, dtype=np.int64)
        stamps = np.full(count, now_ms, dtype=np.int64)
        outcome = state.process(RecordBatch(topic, partition, values, offsets, stamps))
        assert not outcome.dead  # of our own making


@dataclass(slots=True)
class Heart:
    """Beats as long as the loop runs, and notes by how much each beat was late."""

    late_s: list[float] = field(default_factory=list)

    async def beat(self) -> None:
        """For ever."""
        while True:
            due = time.perf_counter() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.late_s.append(max(0.0, time.perf_counter() - due))

    def listen(self) -> list[float]:
        """What was noted since the last time."""
        heard, self.late_s = self.late_s, []
        return heard


async def _stream(shop: Shop) -> None:
    """Keep up the rate, for ever; what a pause delayed is made good."""
    due = time.perf_counter()
    while True:
        shop.go_on(EVENTS_PER_S // BATCHES_PER_S)
        due += 1 / BATCHES_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def _measure(shop: Shop, folder: Path, rounds: int) -> Measured:
    snapshots, heart = FileSnapshots(folder), Heart()
    snapshotter = Snapshotter(shop.states, snapshots, SystemClock(), interval_s=1.0, threaded=True)
    running = [asyncio.create_task(_stream(shop)), asyncio.create_task(heart.beat())]
    await asyncio.sleep(QUIET_S)
    quiet, pauses, seconds = heart.listen(), [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for partition in shop.states:
            heart.listen()
            await snapshotter.begin(partition, np.zeros(0, dtype=np.int64))
            await snapshotter.settle()
            pauses.append(heart.listen())
        seconds.append(time.perf_counter() - began)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert snapshotter.trouble is None, snapshotter.trouble
    return Measured(
        quiet=quiet,
        pauses=pauses,
        seconds=seconds,
        users=sum(len(state.table) for state in shop.states.values()),
        file_bytes=snapshotter.size(),
        restore_seconds=_restore(shop, snapshots),
    )


def _restore(shop: Shop, snapshots: FileSnapshots) -> float:
    """Take all of them up, as a shard does when it starts; gives how long it took."""
    began = time.perf_counter()
    for partition in shop.states:
        found = recover(shop.spec, partition, snapshots, progress=None)
        assert len(found.state.table) == len(shop.states[partition].table)
    return time.perf_counter() - began
