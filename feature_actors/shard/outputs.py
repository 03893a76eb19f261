"""Where the results of a shard go: rows, examples, rejected records and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.shard.dead_letters import DeadLetterQueue
from freshrank.feature_actors.shard.gradient_pusher import Pusher
from freshrank.feature_actors.shard.online_writer import OnlineWriter
from freshrank.feature_actors.shard.snapshotter import Snapshotter


@dataclass(slots=True)
class ShardOutputs:
    """The four of them, woken and emptied together."""

    writer: OnlineWriter
    pusher: Pusher | None
    dead_letters: DeadLetterQueue
    snapshotter: Snapshotter
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _troubles: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Start to give away in the background whatever `wake` tells of."""
        self._loops = [asyncio.create_task(self.writer.run())]
        if self.pusher is not None:
            self._loops.append(asyncio.create_task(self.pusher.run()))

    def check(self) -> None:
        """Raise what ended the work in the background, if anything did."""
        for loop in self._loops:
            if loop.done():
                loop.result()

    async def end(self) -> None:
        """End the work in the background; what was under way goes on waiting."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def wake(self) -> None:
        """There may be something to give away."""
        self.writer.wake()
        if self.pusher is not None:
            self.pusher.wake()
        self.dead_letters.flush_in_background()

    async def give_all(self, turn: int | None = None) -> None:
        """Give away all that waits now, as far as the others take it.

        With `turn`, the learner gets the next span of this partition alone.
        """
        gives: dict[str, Callable[[], Awaitable[None]]] = {
            "online store": self.writer.flush,
            "rejects": self.dead_letters.flush,
        }
        if self.pusher is not None:
            push, push_next = self.pusher.push, self.pusher.push_next
            gives["learner"] = push if turn is None else partial(push_next, turn)
        for name, give in gives.items():
            try:
                await give()
                self._troubles.pop(name, None)
            except Unavailable as error:
                self._troubles[name] = str(error)

    async def save_when_due(self) -> None:
        """Begin a snapshot, when one is due and all that it says was dealt with has been."""
        partition = self.snapshotter.due()
        if partition is not None and await self.dead_letters.settle():
            await self.snapshotter.begin(partition, self.writer.under_way(partition))

    def troubles(self) -> dict[str, JsonValue]:
        """What does not work at present, by name."""
        found: dict[str, JsonValue] = {**self._troubles}
        named: list[tuple[str, str | None]] = [
            ("online store", self.writer.error),
            ("learner", self.pusher.trouble if self.pusher else None),
            ("rejects", self.dead_letters.trouble),
            ("snapshots", self.snapshotter.trouble),
            ("recovery", self.snapshotter.passed_over_until_saved()),
        ]
        return found | {name: trouble for name, trouble in named if trouble is not None}

    def figures(self, monotonic: float) -> dict[str, JsonValue]:
        """For the status."""
        return {
            "silent": self.writer.catching_up,
            "rows_written": self.writer.rows_written,
            "rows_waiting": self.writer.waiting,
            "spans_pushed": self.pusher.spans if self.pusher else 0,
            "spans_stale": self.pusher.stale if self.pusher else 0,
            "freshness": self.writer.freshness.at(monotonic).to_json(),
            "passed_over": self.snapshotter.passed_over,
            "snapshot_age_s": self.snapshotter.age_s(),
            "snapshot_bytes": self.snapshotter.size(),
        }
