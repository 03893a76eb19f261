"""The loop of a feature shard: some partitions, from their topics to store and learner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from freshrank.actors.backoff import Backoff
from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.messages import RecordBatch
from freshrank.actors.metrics.rate_counter import RateCounter
from freshrank.actors.protocols import JsonValue, Status
from freshrank.feature_actors.partition.backpressure import waiting_topics
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.dead_letters import DeadLetterQueue
from freshrank.feature_actors.shard.gradient_pusher import Pusher
from freshrank.feature_actors.shard.online_writer import OnlineWriter
from freshrank.feature_actors.shard.outputs import ShardOutputs
from freshrank.feature_actors.shard.ports import ShardPorts, ShardSettings
from freshrank.feature_actors.shard.snapshotter import Snapshotter
from freshrank.feature_actors.shard.status import (
    RATE_S,
    Backlog,
    broker_trouble,
    partition_figures,
    totals,
)

# Seconds between two looks at lag and durability, and two posts of the status.
DUTIES_S = 0.5
# Seconds, at most, before a part that was away is asked again.
RETRY_S = 0.5
# Seconds that `stop` gives to rows and examples that wait; the rest is in the snapshots.
DRAIN_S = 1.5


class Shard:
    """Owns some partitions: reads, updates features, writes rows, gives examples away.

    ``start``, then ``step`` again and again (or ``run``, which does both), in the end ``stop``.
    What is outside may go away and come back: rows and examples wait, and reading waits when
    too many do. Any error but Unavailable ends `run` and is raised there.
    """

    def __init__(
        self,
        spec: PartitionSpec,
        partitions: Sequence[int],
        ports: ShardPorts,
        settings: ShardSettings,
    ) -> None:
        self.settings = settings
        self.states: dict[int, PartitionState] = {}
        self._spec = spec
        self._partitions = list(partitions)
        self._ports = ports
        self._paused: set[tuple[str, int]] = set()
        self._lag: dict[tuple[str, int], int] = {}
        self._looked_ms = 0
        self._looking: asyncio.Task[None] | None = None
        self._duties_due = 0.0
        self._rate = RateCounter(RATE_S)
        self._troubles: dict[str, str] = {}
        self._backlog = Backlog()
        self._stopping = False
        self._failed = False
        self._running: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Ask the learner, take up the snapshots, begin reading where they end.

        Raises Unavailable (try again), DefinitionChanged, ProgressError, ConfigError.
        """
        ports, clock, settings = self._ports, self._ports.clock, self.settings
        states, passed_over = {}, []
        for partition in self._partitions:
            progress = await ports.learner.progress(partition) if ports.learner else None
            found = recover(self._spec, partition, ports.snapshots, progress)
            states[partition] = found.state
            passed_over += found.problems
        await ports.source.start(
            {
                (topic, partition): state.offsets[topic] or None
                for partition, state in states.items()
                for topic in self._spec.topics
            }
        )
        self._lag = await ports.source.lag()
        self._backlog = Backlog(sum(self._lag.values()))
        interval_s, threaded = settings.snapshot_interval_s, not settings.lock_step
        self._out = ShardOutputs(
            OnlineWriter(states, ports.store, clock.now_ms(), clock),
            self._make_pusher(states),
            DeadLetterQueue(ports.sink),
            Snapshotter(
                states,
                ports.snapshots,
                clock,
                interval_s,
                threaded=threaded,
                alerts=ports.alerts,
            ),
        )
        self._out.snapshotter.passed_over = passed_over
        self.states = states

    async def run(self) -> None:
        """Start, then step until `stop`. Raises what ended it."""
        self._running = asyncio.get_running_loop().create_future()
        try:
            await self._patiently("start", self.start)
            if self.states:
                self._out.begin()
            while not self._stopping:
                await self._patiently("step", self.step)
                self._out.check()
        except BaseException:
            self._failed = True
            raise
        finally:
            if self.states:
                await self._out.end()
            self._running.set_result(None)

    async def step(self, turn: int | None = None) -> None:
        """One round; the learner gets all spans, or the next one of partition `turn`.

        Raises Unavailable when the broker is away: nothing is lost by that.
        """
        # 1. Take what has come: all of it pure.
        batches = await self._ports.source.poll(
            self.settings.poll_max_records, self.settings.poll_timeout_s
        )
        for batch in batches:
            self._take(batch)
        # 2. Rows to the store, 3. examples to the learner, 4. useless records to their topics.
        if self.settings.lock_step:
            await self._out.give_all(turn)
        else:
            self._out.wake()
        # 5. Who has too much waits.
        self._balance()
        # 6. Snapshots, one partition at a time.
        await self._out.save_when_due()
        # 7. What can wait for half a second.
        if self._ports.clock.monotonic() >= self._duties_due:
            await self._duties()

    async def stop(self) -> None:
        """Stop reading, give away what is taken in time, write all snapshots, leave."""
        self._stopping = True
        if self._running is not None:
            await self._running
        if self.states and not self._failed:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._out.give_all()
            except TimeoutError:
                pass  # what was not given away is in the snapshots
            if await self._out.dead_letters.settle():
                await self._out.snapshotter.save_all()
        await self._ports.source.stop()

    def freeze(self) -> None:
        """Keep a copy of the present weights, to score beside the live ones from now on."""
        if self._ports.differentiator is not None:
            self._ports.differentiator.freeze_reference()

    async def status(self) -> Status:
        """Figures of now."""
        named: dict[str, JsonValue] = {
            "name": self.settings.name,
            "process_id": self.settings.process_id,
            "starting": not self.states,
        }
        if not self.states:
            return {**named, "health": dict(self._troubles)}
        now, weights = self._ports.clock.monotonic(), self._ports.weights
        version = weights.version if weights is not None else None
        fetch_age_s = self._ports.source.fetch_age_s()
        return {
            **named,
            "health": {**self._troubles, **broker_trouble(fetch_age_s), **self._out.troubles()},
            "events_per_s": self._rate.per_second(now) or 0.0,
            "lag_total": sum(self._lag.values()),
            "fetch_age_s": fetch_age_s,
            "catching_up": self._backlog.status(),
            "waiting": sorted(f"{topic}-{partition}" for topic, partition in self._paused),
            "version": None if version is None else str(version),
            "bytes_per_entity": self._spec.plan.bytes_per_entity,
            **totals(self.states),
            **self._out.figures(now),
            "alerts": {} if self._ports.alerts is None else self._ports.alerts.status(),
            "partitions": partition_figures(self.states, self._lag),
        }

    def _make_pusher(self, states: Mapping[int, PartitionState]) -> Pusher | None:
        ports, timeout_s = self._ports, self.settings.push_timeout_s
        if ports.learner is None:
            return None
        return Pusher(states, ports.learner, ports.differentiator, ports.clock, timeout_s)

    async def _patiently(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, again and again while a part that it needs is away."""
        away = Backoff(RETRY_S, RETRY_S)
        while not self._stopping:
            try:
                await work()
            except Unavailable as error:
                self._troubles[name] = str(error)
                await self._post()
                await self._ports.clock.sleep(away.next_s())
            else:
                self._troubles.pop(name, None)
                return

    def _take(self, batch: RecordBatch) -> None:
        state = self.states[batch.partition]
        outcome = state.process(batch)
        self._out.dead_letters.add(outcome)
        if outcome.unread_from is not None:
            self._ports.source.seek(batch.topic, batch.partition, outcome.unread_from)
        self._rate.add(len(batch.values), self._ports.clock.monotonic())
        self._backlog.read += len(batch.values)

    def _balance(self) -> None:
        """Let each topic wait, or go on, as the policy says."""
        wanted: set[tuple[str, int]] = set()
        for partition, state in self.states.items():
            lag = self._lag.get((self._spec.impressions_topic or "", partition), 0)
            waiting = waiting_topics(state, self.settings.limits, lag)
            topics = self._spec.topics if self._out.dead_letters.full else waiting
            wanted |= {(topic, partition) for topic in topics}
        for topic, partition in wanted - self._paused:
            self._ports.source.pause(topic, partition)
        for topic, partition in self._paused - wanted:
            self._ports.source.resume(topic, partition)
        self._paused = wanted

    async def _duties(self) -> None:
        self._duties_due = self._ports.clock.monotonic() + DUTIES_S
        shown = self._spec.impressions_topic
        for partition, state in self.states.items():
            if state.joiner is not None and shown is not None and self._lag[shown, partition] == 0:
                state.joiner.all_shown_until(self._looked_ms)
        if self.settings.lock_step:
            await self._look()
        elif self._looking is None or self._looking.done():
            if self._looking is not None:
                self._looking.result()
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            self._looked_ms = self._ports.clock.now_ms()
            self._lag = await self._ports.source.lag()
            self._backlog.look(sum(self._lag.values()))
            _check_ends(self.states, self._lag)
            await self._out.writer.confirm()
            if self._out.pusher is not None:
                await self._out.pusher.refresh()
            self._troubles.pop("look", None)
        except Unavailable as error:
            self._troubles["look"] = str(error)
        # Whoever is away: that is when the figures are wanted.
        await self._post()

    async def _post(self) -> None:
        with contextlib.suppress(Unavailable):  # readers of a board that is away say so themselves
            await self._ports.status_registry.post(self.settings.name, await self.status())


def _check_ends(states: Mapping[int, PartitionState], lag: Mapping[tuple[str, int], int]) -> None:
    for partition, state in states.items():
        for topic, wanted in state.example_queue.replay_target.items():
            at = state.offsets[topic]
            if at < wanted and lag[topic, partition] == 0:
                raise ProgressError(
                    f"{topic}-{partition} ends at {at}, but the learner has applied up to "
                    f"{wanted}: the topic was made anew, or the learner's state is another's"
                )
