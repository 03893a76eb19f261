"""Records of a history as batches of a partition's log."""

from __future__ import annotations

from dataclasses import replace

from freshrank.actors.records import RecordBatch
from freshrank.deploy.history.arrivals import Arrived
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.copies.origin import copied_in_turn, generation_of
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.row_plan import RowSource


def batch_for(
    source: RowSource, arrived: Arrived, begin: int, partition: int = 0, state: str = ""
) -> RecordBatch:
    """The records as a partition's topic would hold them, from offset `begin` on.

    Those of a re-keyed stream are copies for `state`, each of the record before.
    """
    topic = source.log_topic
    batch = consecutive_records(topic, partition, arrived.values, arrived.times_ms, begin)
    if isinstance(source, Stream) and source.rekeyed:
        return replace(batch, values=list(copied_in_turn(batch, generation_of(state))))
    return replace(batch, keys=arrived.keys, events=arrived.events)
