"""The features and examples that the log determines, computed without any crash.

Both topics are read from their first record by the same `PartitionState` as in a shard; the state
of a running system must equal the result, whatever happened to its processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.benchmarks.workloads.status_client import StatusClient
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings

# Records of one poll, and rows of one read of the online store.
_RECORDS = 20_000
_ROWS = 1_000
_POLL_S = 0.2
# Rows of a partition: the default setting, beyond the number of users of a bench.
_MAX_ENTITIES = Settings().shards.max_entities_per_partition


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """The state of every partition at the end of the log."""

    states: list[PartitionState]

    @property
    def examples(self) -> int:
        """Labelled examples of all partitions; impressions that wait for a label do not count."""
        return sum(state.counters.examples for state in self.states)

    @property
    def positives(self) -> int:
        """The examples with a positive label."""
        return sum(state.counters.positives for state in self.states)

    def labelled(self) -> list[LabelledRows]:
        """Return the rows of all examples, by partition."""
        return [LabelledRows.of_arrays(state.example_queue.freeze()()) for state in self.states]

    @property
    def events(self) -> int:
        """Events applied in all partitions, duplicates not counted."""
        return sum(state.counters.events for state in self.states)

    async def wrong_rows(self, store: RedisStore) -> int:
        """Count the entities whose row in `store` is missing or differs from the expected row."""
        wrong = 0
        for state in self.states:
            for table in state.tables:
                slots = table.slots()
                for begin in range(0, len(slots), _ROWS):
                    chunk = slots[begin : begin + _ROWS]
                    names = table.entities(chunk)
                    keys = [table.plan.row_key(name) for name in names]
                    rows = [row.tobytes() for row in table.rows(chunk)]
                    stored, _ = await store.read(keys)
                    wrong += sum(found != row for found, row in zip(stored, rows, strict=True))
        return wrong


async def read_expected_state(
    pipeline: Pipeline, kafka: KafkaAccess, partitions: int, max_entities: int
) -> ExpectedState:
    """Read both topics from their first record to their present end. Raises Unavailable."""
    spec = pipeline.spec(ShardSettings(max_entities_per_partition=max_entities))
    states = [PartitionState(spec, partition, partitions) for partition in range(partitions)]
    source = KafkaSource(kafka)
    await source.start(
        {(topic, partition): None for topic in spec.topics for partition in range(partitions)}
    )
    try:
        while True:
            batches = await source.poll(_RECORDS, _POLL_S)
            for batch in batches:
                states[batch.partition].process(batch)
            if not batches and not sum((await source.lag()).values()):
                return ExpectedState(states)
    finally:
        await source.stop()


@dataclass(frozen=True, slots=True)
class LogComparison:
    """What a running system holds, beside what its log determines."""

    wrong_rows: int
    expected_events: int
    applied_events: int
    expected_examples: int
    learned_examples: int
    quarantined_examples: int
    """Examples that the guard refused or holds back: neither learned nor lost."""
    expected_positives: int
    labelled_positives: int
    """Examples that the shard has labelled as positive."""
    expected_rows: list[LabelledRows]
    """The rows of the expected examples, with their labels."""

    @property
    def lost_events(self) -> int:
        """Events that should have been applied to the features and were not."""
        return max(self.expected_events - self.applied_events, 0)

    @property
    def doubled_events(self) -> int:
        """Events that were applied to the features more often than once."""
        return max(self.applied_events - self.expected_events, 0)

    @property
    def lost_examples(self) -> int:
        """Examples that should have been learned and were not."""
        return max(self.expected_examples - self.taken_examples, 0)

    @property
    def doubled_examples(self) -> int:
        """Examples that were learned more often than once."""
        return max(self.taken_examples - self.expected_examples, 0)

    @property
    def taken_examples(self) -> int:
        """Examples that were learned or quarantined."""
        return self.learned_examples + self.quarantined_examples


async def compare_with_log(
    pipeline: Pipeline,
    outside: ExternalServers,
    client: StatusClient,
    timeout_s: float,
    max_entities: int = _MAX_ENTITIES,
) -> LogComparison:
    """Wait until the system is idle, then read the log again and compare.

    Raises Unavailable when the system is still busy after `timeout_s`.
    """
    await client.until_idle(timeout_s)
    kafka = KafkaAccess(outside.broker.bootstrap)
    partitions = await partition_count(kafka, pipeline.stream.topic)
    expected = await read_expected_state(pipeline, kafka, partitions, max_entities)
    store = RedisStore(outside.redis.url, f"fr:{pipeline.name}", origin=None)
    try:
        wrong = await expected.wrong_rows(store)
    finally:
        await store.close()
    parts = await client.statuses()
    shard, learner = parts["shard-0"], parts["learner"]
    return LogComparison(
        wrong_rows=wrong,
        expected_events=expected.events,
        applied_events=shard["events"],
        expected_examples=expected.examples,
        learned_examples=learner["examples"],
        quarantined_examples=learner["examples_quarantined"] + learner["examples_held_back"],
        expected_positives=expected.positives,
        labelled_positives=shard["positives"],
        expected_rows=expected.labelled(),
    )
