"""The shared job in Bytewax: `stateful_map` by user, and a sink that writes each batch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

DURABLE = "snapshots of state and offsets in SQLite, one each interval; at least once"


class WorkerPart(StatelessSinkPartition[Any]):
    """Writes the last row of each user of a batch."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write_batch(self, items: list[Any]) -> None:
        """Called with what one activation of the operator before has given."""
        self._writer.write(dict(items))


class WorkerRows(DynamicSink[Any]):
    """A part for each worker."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def build(self, step_id: str, worker_index: int, worker_count: int) -> WorkerPart:
        """See `DynamicSink`."""
        return WorkerPart(self._writer)


def run(work: Any) -> None:
    """Read the topic to its end, or beyond."""

    def apply(state: dict[str, Any] | None, event: dict[str, Any]) -> tuple[Any, Any]:
        work.writer.begin()
        known = {} if state is None else state
        work.job.update(known, event)
        return known, work.job.row(known)

    flow = Dataflow("shop")
    source = KafkaSource([work.bootstrap], [work.topic], tail=work.tail)
    records = op.input("records", flow, source)
    events = op.map("decode", records, lambda one: (one.key.decode(), orjson.loads(one.value)))
    op.output("rows", op.stateful_map("job", events, apply), WorkerRows(work.writer))
    init_db_dir(work.folder, 1)
    run_main(
        flow,
        epoch_interval=timedelta(seconds=work.interval_s),
        recovery_config=RecoveryConfig(work.folder),
    )
