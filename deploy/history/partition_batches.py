"""Records of a history as batches of a partition's log."""

from __future__ import annotations

from dataclasses import replace

from freshrank.actors.records import RecordBatch
from freshrank.deploy.history.arrivals import Arrived
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.views.row_plan import RowSource


def batch_for(source: RowSource, arrived: Arrived, begin: int, partition: int = 0) -> RecordBatch:
    """The records as a partition's topic would hold them, from offset `begin` on.

    Events are decoded; those of a re-keyed stream are no copies (`RecordBatch.decoded`).
    """
    values = [b""] * len(arrived) if arrived.columns is not None else arrived.values
    batch = consecutive_records(source.log_topic, partition, values, arrived.times_ms, begin)
    return replace(batch, keys=arrived.keys, decoded=arrived.columns)
