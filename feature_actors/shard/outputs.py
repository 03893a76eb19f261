"""The outputs of a shard: rows, examples, rejected records and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.dead_letters import DeadLetterQueue
from freshrank.feature_actors.shard.gradient_pusher import GradientPusher
from freshrank.feature_actors.shard.online_writer import OnlineWriter
from freshrank.feature_actors.shard.ports import ShardPorts
from freshrank.feature_actors.shard.snapshotter import Snapshotter


@dataclass(slots=True)
class ShardOutputs:
    """The outputs of a shard, woken and drained together."""

    writer: OnlineWriter
    pusher: GradientPusher | None
    """None: nothing is learned."""
    dead_letters: DeadLetterQueue
    snapshotter: Snapshotter
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _errors: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Start the background loops, which `wake` wakes."""
        writing = self.writer.run(), self.writer.sweep_forever()
        self._loops = [asyncio.create_task(loop) for loop in writing]
        if self.pusher is not None:
            self._loops.append(asyncio.create_task(self.pusher.run()))

    def check(self) -> None:
        """Raise the error that ended a background loop, if one has ended."""
        for loop in self._loops:
            if loop.done():
                loop.result()

    async def end(self) -> None:
        """End the background loops; their rows and examples stay queued."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def wake(self) -> None:
        """Tell the loops that there may be rows, examples or rejected records to write."""
        self.writer.wake()
        if self.pusher is not None:
            self.pusher.wake()
        self.dead_letters.flush_in_background()

    async def give_all(self, partition: int | None = None) -> None:
        """Write all that is queued, as far as store, broker and learner take it.

        With `partition`, the learner gets the next offset range of that partition only.
        """
        await self.give_rows()
        await self._give("rejects", self.dead_letters.flush)
        if self.pusher is not None:
            push, push_next = self.pusher.push, self.pusher.push_next
            give = push if partition is None else partial(push_next, partition)
            await self._give("learner", give)

    async def give_rows(self) -> None:
        """Write the rows that wait, as far as the store takes them."""
        await self._give("online store", self.writer.flush)

    async def _give(self, to: str, give: Callable[[], Awaitable[None]]) -> None:
        try:
            await give()
            self._errors.pop(to, None)
        except Unavailable as error:
            self._errors[to] = str(error)

    async def save_when_due(self) -> None:
        """Begin a snapshot when one is due and the rejected records below it are written."""
        partition = self.snapshotter.due()
        if partition is not None and await self.dead_letters.settle():
            await self.snapshotter.begin(partition, self.writer.under_way(partition))

    def errors(self) -> dict[str, JsonValue]:
        """The present errors, by the name of the output."""
        found: dict[str, JsonValue] = {**self._errors}
        named: list[tuple[str, str | None]] = [
            ("online store", self.writer.error),
            ("learner", self.pusher.error if self.pusher else None),
            ("rejects", self.dead_letters.error),
            ("snapshots", self.snapshotter.error),
            ("recovery", self.snapshotter.passed_over_until_saved()),
        ]
        return found | {name: error for name, error in named if error is not None}

    def metrics(self, monotonic: float) -> dict[str, JsonValue]:
        """For the status."""
        return {
            "silent": self.writer.catching_up,
            "rows_written": self.writer.rows_written,
            "rows_restored": self.writer.rows_restored,
            "rows_waiting": self.writer.waiting,
            "spans_pushed": self.pusher.ranges if self.pusher else 0,
            "spans_stale": self.pusher.stale if self.pusher else 0,
            "freshness": self.writer.freshness.at(monotonic).to_json(),
            "passed_over": list(self.snapshotter.passed_over),
            "carried_over": list(self.snapshotter.carried_over),
            "snapshot_age_s": self.snapshotter.age_s(),
            "snapshot_bytes": self.snapshotter.size(),
        }


def make_outputs(
    states: Mapping[int, PartitionState],
    ports: ShardPorts,
    settings: ShardSettings,
    *,
    threaded: bool,
) -> ShardOutputs:
    """The outputs of a shard that starts now; `threaded`: see `Snapshotter`."""
    connectors, training = ports.connectors, ports.training
    clock, interval_s = connectors.clock, settings.snapshot_interval_s
    pusher = None
    if training is not None:
        pusher = GradientPusher(states, training, clock, settings.push_timeout_s)
    return ShardOutputs(
        # The epoch is the moment of the start: a later start of the shard has a greater one.
        OnlineWriter(
            states,
            connectors.store,
            clock.now_ms(),
            clock,
            sweep_s=settings.sweep_s,
            alerts=ports.alerts,
        ),
        pusher,
        DeadLetterQueue(connectors.sink),
        Snapshotter(
            states, ports.snapshots, clock, interval_s, threaded=threaded, alerts=ports.alerts
        ),
    )
