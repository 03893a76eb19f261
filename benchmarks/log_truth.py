"""What the log says: features and examples made from its first record on, without any crash."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.deploy.pipeline import Pipeline
from freshrank.deploy.settings import Settings
from freshrank.feature_actors.kafka_source import KafkaSource
from freshrank.feature_actors.labelling import Bounds
from freshrank.feature_actors.online_store import RedisStore
from freshrank.feature_actors.partition import PartitionState

# At once: what one fetch brings, and one read of the store.
_RECORDS = 20_000
_ROWS = 1_000
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class LogTruth:
    """The state of every partition at the end of the log."""

    states: list[PartitionState]

    @property
    def examples(self) -> int:
        """Over all partitions, those that wait for their label left out."""
        return sum(state.counters.examples for state in self.states)

    async def wrong_rows(self, store: RedisStore) -> int:
        """How many entities have another row in the online store than they should, or none."""
        wrong = 0
        for state in self.states:
            slots = state.table.slots()
            for begin in range(0, len(slots), _ROWS):
                some = slots[begin : begin + _ROWS]
                keys = [state.recipe.row_key(name) for name in state.table.entities(some)]
                rows = [row.tobytes() for row in state.table.rows(some)]
                found = await store.read(keys)
                wrong += sum(one != row for one, row in zip(found, rows, strict=True))
        return wrong


async def read_truth(
    pipeline: Pipeline, bootstrap: str, partitions: int, max_entities: int
) -> LogTruth:
    """Read both topics from their beginning to their present end. Raises Unavailable."""
    bounds = Bounds(max_entities, Settings().shards.max_event_ids_per_partition)
    recipe = pipeline.recipe(bounds)
    states = [PartitionState(recipe, partition) for partition in range(partitions)]
    source = KafkaSource(bootstrap)
    await source.start({(topic, one): None for topic in recipe.topics for one in range(partitions)})
    try:
        while True:
            batches = await source.poll(_RECORDS, _POLL_S)
            for batch in batches:
                states[batch.partition].process(batch)
            if not batches and not sum((await source.lag()).values()):
                return LogTruth(states)
    finally:
        await source.stop()
