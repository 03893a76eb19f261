"""The inputs of a shard: its topics, how far they are read, and whether they still are the same."""

from __future__ import annotations

from collections.abc import Mapping

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.protocols import EventSource, JsonValue
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.partition.backpressure import waiting_topics
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.reading.backlog import Backlog, Lag, broker_error
from freshrank.feature_actors.reading.lag_watch import LagWatch
from freshrank.feature_actors.reading.log_watch import WATCH_S, LogWatch
from freshrank.feature_actors.reading.progress_watch import ProgressWatch, check_ends
from freshrank.feature_actors.reading.retention_watch import RetentionWatch


class ShardInputs:
    """Reads the topics of some partitions, and lets those wait whose records would not fit.

    ``start``, then ``poll`` again and again, with ``refresh`` in between; in the end ``stop``.
    """

    def __init__(
        self, source: EventSource, spec: PartitionSpec, clock: Clock, alerts: AlertSink | None
    ) -> None:
        self.lag: Lag = {}
        """By topic and partition: records beyond what is read, as of `asked_ms`."""
        self.asked_ms = 0
        """When the lag was asked for."""
        self.backlog = Backlog()
        self._source = source
        self._spec = spec
        self._clock = clock
        self._alerts = alerts
        self._states: Mapping[int, PartitionState] = {}
        self._paused: set[tuple[str, int]] = set()
        self._progress = ProgressWatch(alerts)
        self._lag_watch = LagWatch(alerts)
        self._log = LogWatch({}, alerts)
        self._retention = RetentionWatch(alerts)
        self._watch_at = 0.0

    async def start(self, states: Mapping[int, PartitionState]) -> None:
        """Begin to read where `states` end. Raises Unavailable, ConfigError."""
        await self._source.start(
            {
                (topic, partition): state.offsets[topic] or None
                for partition, state in states.items()
                for topic in self._spec.topics
            }
        )
        self._log = LogWatch(await self._source.identities(self._spec.topics), self._alerts)
        self.lag = await self._source.lag()
        self.backlog = Backlog(sum(self.lag.values()))
        self._states = states
        begun = [(topic, at) for at in states for topic in self._spec.kept_topics]
        await self._retention.begin(
            self._source, [(topic, at) for topic, at in begun if not states[at].offsets[topic]]
        )
        self._pass_deleted()

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records, none of a topic that is another one than at the start.

        Raises Unavailable.
        """
        batches = await self._source.poll(max_records, timeout_s)
        self._pass_deleted()
        for batch in batches:
            self._log.check_order(batch, self._states[batch.partition])
        if not self._log.changed:
            return batches
        await self._clock.sleep(timeout_s)  # records of such a topic may come at once
        return [batch for batch in batches if batch.topic not in self._log.changed]

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Give `offset` next."""
        self._source.seek(topic, partition, offset)

    def balance(self, *, all_wait: bool) -> None:
        """Let each topic wait, or go on, as the policy says; with `all_wait` every topic waits."""
        wanted: set[tuple[str, int]] = set()
        for partition, state in self._states.items():
            lag = self.lag.get((self._spec.impressions_topic or "", partition), 0)
            topics = self._spec.topics if all_wait else waiting_topics(state, lag)
            wanted |= {(topic, partition) for topic in topics}
        for topic, partition in wanted - self._paused:
            self._source.pause(topic, partition)
        for topic, partition in self._paused - wanted:
            self._source.resume(topic, partition)
        self._paused = wanted

    async def refresh(self) -> None:
        """Ask the broker for the lag, and now and then for the identities of the topics.

        Raises Unavailable, and ProgressError where a topic ends before what the learner has.
        """
        self.asked_ms = self._clock.now_ms()
        self.lag = await self._source.lag()
        self.backlog.update(sum(self.lag.values()))
        self._watch_progress()
        if self._clock.monotonic() >= self._watch_at:
            self._watch_at = self._clock.monotonic() + WATCH_S
            self._log.compare(await self._source.identities(self._spec.topics))
        if not self._log.changed:
            check_ends(self._states, self.lag)

    def errors(self) -> dict[str, JsonValue]:
        """What keeps records from being read, by topic, partition or server."""
        stalled = {} if self._log.changed else self._progress.stalled
        return {**broker_error(self._source.fetch_age_s()), **stalled, **self._log.changed}

    def warnings(self) -> dict[str, str]:
        """What is wrong while records are read: lost ones, by topic and partition, and the lag."""
        behind = {"lag": self._lag_watch.behind} if self._lag_watch.behind else {}
        return {**self._retention.lost(self._clock.monotonic()), **behind}

    def metrics(self) -> dict[str, JsonValue]:
        """For the status."""
        return {
            "lag_total": sum(self.lag.values()),
            "fetch_age_s": self._source.fetch_age_s(),
            "catching_up": self.backlog.status(),
            "waiting": sorted(f"{topic}-{partition}" for topic, partition in self._paused),
        }

    async def stop(self) -> None:
        """Close the connection to the broker; safe to call twice."""
        await self._source.stop()

    def _pass_deleted(self) -> None:
        """Let the states go on after records that were deleted before they were read."""
        for deleted in self._source.take_deleted():
            self._retention.note(deleted, self._clock.monotonic())
            back_to = self._states[deleted.partition].pass_deleted(deleted)
            if back_to is not None:
                self.seek(deleted.topic, deleted.partition, back_to)

    def _watch_progress(self) -> None:
        """Note how far each topic has been read, but for those that wait on purpose."""
        read = [(topic, at) for at in self._states for topic in self._spec.topics]
        offsets = {(topic, at): self._states[at].offsets[topic] for topic, at in read}
        stopped = {(topic, at) for topic, at in read if self._states[at].stopped(topic)}
        now_s = self._clock.monotonic()
        self._progress.update(offsets, self.lag, self._paused | stopped, now_s)
        if self.backlog.status() is not None:  # told as such
            self._lag_watch.forget()
        else:
            self._lag_watch.update(sum(offsets.values()), sum(self.lag.values()), now_s)
