"""The loop of a feature shard: some partitions, from their topics to store and learner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from freshrank.actors.errors import Unavailable
from freshrank.actors.metrics.rate_counter import RateCounter
from freshrank.actors.protocols import JsonValue, Status
from freshrank.actors.records import RecordBatch
from freshrank.actors.transitions import next_state
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.reading.inputs import ShardInputs
from freshrank.feature_actors.reading.share_watch import ShareWatch
from freshrank.feature_actors.shard.lifecycle import TRANSITIONS, ShardEvent, ShardState
from freshrank.feature_actors.shard.outputs import make_outputs
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts
from freshrank.feature_actors.shard.status import (
    RATE_S,
    not_ready,
    partition_metrics,
    topic_counts,
    totals,
    unread_rows,
    with_copies,
)
from freshrank.feature_actors.shard.work_watch import WorkWatch

# Seconds between two questions for lag and durability, and between two posts of the status.
PERIOD_S = 0.5
# Seconds before the learner or the broker, which was away, is asked again.
RETRY_S = 0.5
# Seconds that `stop` gives to rows and examples that wait; the rest is in the snapshots.
DRAIN_S = 1.5

_BEFORE_RUNNING = ShardState.NEW, ShardState.STARTING


class Shard:
    """Owns some partitions: reads records, updates features, writes rows, pushes examples.

    ``start``, then ``step`` again and again (or ``run``, which does both), in the end ``stop``.
    While broker, store or learner is away, rows and examples wait, and reading waits when too many
    do. Any error but Unavailable ends `run` and is raised there.

    Parameters
    ----------
    lock_step
        Each step waits for its own writes, pushes and snapshots, and starts no thread: what
        happens then follows from the records alone. For simulation and replay.
    """

    def __init__(
        self,
        spec: PartitionSpec,
        identity: ShardIdentity,
        ports: ShardPorts,
        *,
        lock_step: bool = False,
    ) -> None:
        self.states: dict[int, PartitionState] = {}
        """By partition; empty before the start."""
        self.state = ShardState.NEW
        self._spec = spec
        self._settings = spec.settings
        self._identity = identity
        self._ports = ports
        self._clock = ports.connectors.clock
        self._lock_step = lock_step
        self._in = ShardInputs(ports.connectors.source(), spec, self._clock, ports.alerts)
        self._shares = ShareWatch(ports.alerts)
        self._asking: asyncio.Task[None] | None = None
        self._period_ends = 0.0
        self._rate = RateCounter(RATE_S)
        self._errors: dict[str, str] = {}
        self._running: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._watch = WorkWatch(identity.name)
        self.rekeyers = ports.rekeyers
        """They run beside the shard, whose status tells of them."""

    async def start(self) -> None:
        """Ask the learner, restore the snapshots, begin to read where they end.

        Raises Unavailable (try again), DefinitionChanged, ProgressError, ConfigError.
        """
        self._happen(ShardEvent.START)
        ports, training = self._ports, self._ports.training
        states, passed_over = {}, []
        for partition in self._identity.partitions:
            progress = await training.learner.progress(partition) if training else None
            found = recover(
                self._spec, partition, ports.snapshots, progress, ports.connectors.partitions
            )
            states[partition] = found.state
            passed_over += found.problems
            if found.state.waiting is not None and training is not None:
                found.state.waiting.predict = training.predict
        await self._in.start(states)
        self._out = make_outputs(states, ports, self._settings, threaded=not self._lock_step)
        self._out.snapshotter.start_after(passed_over)
        await self._out.snapshotter.save_carried_over()
        self.states = states
        self._watch_shares()
        if self._lock_step:
            await self._out.give_rows()
        self._happen(ShardEvent.STARTED)

    async def run(self) -> None:
        """Start, then step until `stop`. Raises the error that ended it."""
        self._running = asyncio.get_running_loop().create_future()
        try:
            while self.state in _BEFORE_RUNNING:
                await self._try("start", self.start)
            if self.states:
                self._out.begin()
            while self.state is ShardState.RUNNING:
                with self._watch.under_way("a step"):
                    await self._try("step", self.step)
                self._out.check()
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else None
            self._happen(ShardEvent.FAIL)
            raise
        finally:
            if self.states:
                await self._out.end()
            self._running.set_result(None)

    async def step(self, partition: int | None = None) -> None:
        """One round; the learner gets all examples, or the next range of `partition`.

        Raises Unavailable when the broker is away: nothing is lost by that.
        """
        timeout_s = 0.0 if self._lock_step else self._settings.poll_timeout_ms / 1000
        # 1. Process the records that have come: a pure function of the state.
        for batch in await self._in.poll(self._settings.poll_max_records, timeout_s):
            self._process(batch)
        # 2. Rows to the store, examples to the learner, rejected records to their topics.
        if self._lock_step:
            await self._out.give_all(partition)
        else:
            self._out.wake()
        # 3. Topics whose records would not fit wait.
        self._in.balance(all_wait=self._out.dead_letters.full)
        # 4. Snapshots, one partition at a time.
        await self._out.save_when_due()
        # 5. Twice a second: lag, durability, status.
        if self._clock.monotonic() >= self._period_ends:
            await self._periodic()

    async def stop(self) -> None:
        """Stop reading, give away what was taken, within `DRAIN_S`; write all snapshots, leave."""
        self._happen(ShardEvent.STOP)
        if self._running is not None:
            await self._running
        if self.state is ShardState.STOPPING:
            if self.states:
                await self._drain()
            self._happen(ShardEvent.STOPPED)
        await self._in.stop()

    def check(self) -> None:
        """Raise the error that ended `run`, or PartFailed for a step or a status that is stuck.

        `run` itself raises the error when its outputs have ended, which may hang.
        """
        if self._failure is not None:
            raise self._failure
        self._watch.check()

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights; from now on both they and the live weights score."""
        training = self._ports.training
        if training is not None and training.differentiator is not None:
            training.differentiator.freeze_reference()

    async def status(self) -> Status:
        """Metrics of now."""
        identity, ports = self._identity, self._ports
        named: dict[str, JsonValue] = {
            "name": identity.name,
            "process_id": identity.process_id,
            "starting": not self.states,
        }
        if not self.states:
            return {**named, "health": dict(self._errors)}
        now, training = self._clock.monotonic(), ports.training
        weights = None if training is None else training.weights
        version = weights.version if weights is not None else None
        inputs, outputs = {**self._in.errors(), **self._errors}, self._out.errors()
        status: dict[str, JsonValue] = {
            **named,
            "health": {**inputs, **outputs, **self._in.warnings(), **self._shares.exceeded},
            "not_ready": {
                **not_ready(inputs, outputs),
                **self._shares.not_ready,
                **unread_rows(self._spec.plan, self._in.backlog),
            },
            "events_per_s": self._rate.per_second(now) or 0.0,
            **self._in.metrics(),
            "version": None if version is None else str(version),
            "bytes_per_entity": self._spec.plan.bytes_per_entity,
            **totals(self.states),
            **self._out.metrics(now),
            "alerts": {} if ports.alerts is None else ports.alerts.status(),
            "partitions": partition_metrics(self.states, self._in.lag),
        }
        return with_copies(status, self.rekeyers)

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`; post why it fails, and rest, while broker or learner is away."""
        try:
            await work()
            self._errors.pop(name, None)
        except Unavailable as error:
            self._errors[name] = str(error)
            await self._post()
            await self._clock.sleep(RETRY_S)

    def _process(self, batch: RecordBatch) -> None:
        outcome = self.states[batch.partition].process(batch)
        self._out.dead_letters.add(outcome)
        if outcome.unread_from is not None:
            self._in.seek(batch.topic, batch.partition, outcome.unread_from)
        self._rate.add(len(batch.values), self._clock.monotonic())
        self._in.backlog.read += len(batch.values)

    async def _periodic(self) -> None:
        self._period_ends = self._clock.monotonic() + PERIOD_S
        shown = self._spec.impressions_topic
        for partition, state in self.states.items():
            if (
                state.joiner is not None
                and shown is not None
                and self._in.lag[shown, partition] == 0
            ):
                state.joiner.all_shown_until(self._in.asked_ms)
        if self._lock_step:
            await self._ask()
        elif self._asking is None or self._asking.done():
            if self._asking is not None:
                self._asking.result()
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        """Ask for lag, claims and durability, and post the status."""
        with self._watch.under_way("a status"):
            try:
                await self._in.refresh()
                self._watch_shares()
                await self._out.writer.confirm()
                if self._out.pusher is not None:
                    await self._out.pusher.refresh()
                self._errors.pop("poll", None)
            except Unavailable as error:
                self._errors["poll"] = str(error)
            await self._post()  # also during an outage: that is when the status is wanted

    def _watch_shares(self) -> None:
        now_s = self._clock.monotonic()
        self._shares.update(totals(self.states), now_s, topic_counts(self.states))

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):  # what was not given away is in the snapshots
            async with asyncio.timeout(DRAIN_S):
                await self._out.give_all()
        if await self._out.dead_letters.settle():
            await self._out.snapshotter.save_all()

    async def _post(self) -> None:
        # A registry that is away is noticed by its readers.
        with contextlib.suppress(Unavailable):
            registry = self._ports.connectors.status_registry
            await registry.post(self._identity.name, await self.status())

    def _happen(self, event: ShardEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
