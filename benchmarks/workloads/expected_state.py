"""What the log says: features and examples made from its first record on, without any crash."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.benchmarks.workloads.status_client import LiveView
from freshrank.benchmarks.workloads.system_process import until_calm
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import Outside
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import Bounds

# At once: what one fetch brings, and one read of the store.
_RECORDS = 20_000
_ROWS = 1_000
_POLL_S = 0.2
# Rows of a partition, as the settings have it; beyond all users of a bench.
_MAX_ENTITIES = Settings().shards.max_entities_per_partition


@dataclass(frozen=True, slots=True)
class LogTruth:
    """The state of every partition at the end of the log."""

    states: list[PartitionState]

    @property
    def examples(self) -> int:
        """Over all partitions, those that wait for their label left out."""
        return sum(state.counters.examples for state in self.states)

    @property
    def events(self) -> int:
        """Over all partitions, each once."""
        return sum(state.counters.events for state in self.states)

    async def wrong_rows(self, store: RedisStore) -> int:
        """How many entities have another row in the online store than they should, or none."""
        wrong = 0
        for state in self.states:
            slots = state.table.slots()
            for begin in range(0, len(slots), _ROWS):
                some = slots[begin : begin + _ROWS]
                keys = [state.spec.row_key(name) for name in state.table.entities(some)]
                rows = [row.tobytes() for row in state.table.rows(some)]
                found = await store.read(keys)
                wrong += sum(one != row for one, row in zip(found, rows, strict=True))
        return wrong


async def read_truth(
    pipeline: Pipeline, kafka: KafkaAccess, partitions: int, max_entities: int
) -> LogTruth:
    """Read both topics from their beginning to their present end. Raises Unavailable."""
    bounds = Bounds(max_entities, Settings().shards.max_event_ids_per_partition)
    spec = pipeline.spec(bounds)
    states = [PartitionState(spec, partition) for partition in range(partitions)]
    source = KafkaSource(kafka)
    await source.start({(topic, one): None for topic in spec.topics for one in range(partitions)})
    try:
        while True:
            batches = await source.poll(_RECORDS, _POLL_S)
            for batch in batches:
                states[batch.partition].process(batch)
            if not batches and not sum((await source.lag()).values()):
                return LogTruth(states)
    finally:
        await source.stop()


@dataclass(frozen=True, slots=True)
class Compared:
    """What a running system holds beside what its log says."""

    wrong_rows: int
    expected_events: int
    applied_events: int
    expected_examples: int
    learned_examples: int
    quarantined_examples: int
    """Those that the guard refused, by name: they count as neither learned nor lost."""

    @property
    def lost_events(self) -> int:
        """Those that should have been applied to the features, and were not."""
        return max(self.expected_events - self.applied_events, 0)

    @property
    def doubled_events(self) -> int:
        """Those that were applied, and should not have been."""
        return max(self.applied_events - self.expected_events, 0)

    @property
    def lost_examples(self) -> int:
        """Those that should have been learned, and were not."""
        return max(self.expected_examples - self.taken_examples, 0)

    @property
    def doubled_examples(self) -> int:
        """Those that were learned, and should not have been."""
        return max(self.taken_examples - self.expected_examples, 0)

    @property
    def taken_examples(self) -> int:
        """Learned, or refused by name."""
        return self.learned_examples + self.quarantined_examples


async def compare(
    pipeline: Pipeline,
    outside: Outside,
    view: LiveView,
    patience_s: float,
    max_entities: int = _MAX_ENTITIES,
) -> Compared:
    """Wait until all is read and learned, and read the log again. Raises Unavailable."""
    await until_calm(view.waiting, patience_s)
    kafka = KafkaAccess(outside.broker.bootstrap)
    partitions = await partition_count(kafka, pipeline.stream.topic)
    truth = await read_truth(pipeline, kafka, partitions, max_entities)
    store = RedisStore(outside.redis.url, f"fr:{pipeline.name}")
    try:
        wrong = await truth.wrong_rows(store)
    finally:
        await store.close()
    parts = await view.statuses()
    learner = parts["learner"]
    return Compared(
        wrong_rows=wrong,
        expected_events=truth.events,
        applied_events=parts["shard-0"]["events"],
        expected_examples=truth.examples,
        learned_examples=learner["examples"],
        quarantined_examples=learner["examples_quarantined"],
    )
