"""The features and examples that the log determines, computed without any crash.

All topics are read from their first record by the same `PartitionState` as in a shard; the state
of a running system must equal the result, whatever happened to its processes. Rows of entities that
candidates name are made of copies of events, which the shards have written: of each event that the
source topic holds there has to be one that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freshrank.benchmarks.workloads.status_client import StatusClient, shards_of
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.state.records import origin_recorded
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
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
    """Of the entity that requests name."""
    candidates: list[PartitionState]
    """Of the entities that candidates name."""
    copies: int
    """Copies of events that those should have taken: one of each for each of their views."""

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
        return sum(state.counters.events for state in (*self.states, *self.candidates))

    @property
    def copies_taken(self) -> int:
        """Copies of events that count, also where the event is a duplicate or late."""
        return sum(map(_events_in, self.candidates))

    async def wrong_rows(self, store: RedisStore) -> int:
        """Count the entities whose row in `store` is missing or differs from the expected row."""
        wrong = 0
        for state in (*self.states, *self.candidates):
            for table in state.row_tables:
                slots = table.slots()
                for begin in range(0, len(slots), _ROWS):
                    chunk = slots[begin : begin + _ROWS]
                    names = table.entities(chunk)
                    keys = [table.plan.row_key(name) for name in names]
                    rows = [row.tobytes() for row in table.rows(chunk)]
                    stored, _ = await store.read(keys)
                    wrong += sum(found != row for found, row in zip(stored, rows, strict=True))
        return wrong


class _LogReader:
    """Reads all topics of some partitions, and counts the events of topics that are copied."""

    def __init__(self, kafka: KafkaAccess, copied: Sequence[str]) -> None:
        self._kafka = kafka
        self._copied = Counter(copied)
        self.copies = 0
        """Events in the topics that are `copied`, as often as they are named there."""

    async def states_of(self, spec: PartitionSpec) -> list[PartitionState]:
        """The partitions of an entity, before their first record."""
        count = await partition_count(self._kafka, spec.topics[0])
        return [PartitionState(spec, partition, count) for partition in range(count)]

    async def read(self, states: Sequence[PartitionState]) -> None:
        """Read from the first record to the present end."""
        readers: dict[tuple[str, int], list[PartitionState]] = {}
        for state in states:
            for topic in state.spec.topics:
                readers.setdefault((topic, state.partition), []).append(state)
        source = KafkaSource(self._kafka)
        await source.start(dict.fromkeys(readers))
        try:
            while True:
                batches = await source.poll(_RECORDS, _POLL_S)
                for batch in batches:
                    for state in readers[batch.topic, batch.partition]:
                        known = _events_in(state)
                        state.process(batch)
                        self.copies += self._copied[batch.topic] * (_events_in(state) - known)
                if not batches and not sum((await source.lag()).values()):
                    return
        finally:
            await source.stop()


def _events_in(state: PartitionState) -> int:
    """The records that are events of the partition's entities: they are copied."""
    counted = state.counters
    return counted.events + counted.duplicates + counted.late


async def read_expected_state(
    pipeline: Pipeline, kafka: KafkaAccess, state: str, max_entities: int
) -> ExpectedState:
    """Read all topics from their first record to their present end.

    `state` is the origin of the run's. Raises Unavailable.
    """
    settings = ShardSettings(max_entities_per_partition=max_entities)
    plans = pipeline.candidate_plans
    sources = [table.source for plan in plans for table in plan.tables]
    reader = _LogReader(kafka, [one.topic for one in sources if one.of_another_key])
    states = await reader.states_of(pipeline.spec(settings, state))
    candidates = [
        one
        for plan in plans
        for one in await reader.states_of(replace(features_only(plan, settings), state=state))
    ]
    await reader.read([*states, *candidates])
    return ExpectedState(states, candidates, reader.copies)


@dataclass(frozen=True, slots=True)
class LogComparison:
    """What a running system holds, beside what its log determines."""

    wrong_rows: int
    expected_events: int
    applied_events: int
    expected_copies: int
    """Of events, for the rows of entities that candidates name."""
    taken_copies: int
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
    def lost_copies(self) -> int:
        """Events that do not count for the rows of entities that candidates name."""
        return max(self.expected_copies - self.taken_copies, 0)

    @property
    def doubled_copies(self) -> int:
        """Events that count there more often than once."""
        return max(self.taken_copies - self.expected_copies, 0)

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
    state_folder: Path,
    timeout_s: float,
    max_entities: int = _MAX_ENTITIES,
) -> LogComparison:
    """Wait until the system is idle, then read the log again and compare.

    Raises Unavailable when the system is still busy after `timeout_s`.
    """
    await client.until_idle(timeout_s)
    kafka = KafkaAccess(outside.broker.bootstrap)
    state = origin_recorded(state_folder) or ""
    expected = await read_expected_state(pipeline, kafka, state, max_entities)
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
        applied_events=sum(part["events"] for part in shards_of(parts).values()),
        expected_copies=expected.copies,
        taken_copies=expected.copies_taken,
        expected_examples=expected.examples,
        learned_examples=learner["examples"],
        quarantined_examples=learner["examples_quarantined"] + learner["examples_held_back"],
        expected_positives=expected.positives,
        labelled_positives=shard["positives"],
        expected_rows=expected.labelled(),
    )
