"""The shared job in Quix Streams: a stateful function over a `StreamingDataFrame`, and a sink."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch

DURABLE = "RocksDB, changelog topics and offsets committed together; at least once"


class RedisRows(BatchingSink):
    """Writes the last row of each user of a checkpoint."""

    def __init__(self, writer: Any) -> None:
        super().__init__()
        self._writer = writer

    def write(self, batch: SinkBatch) -> None:
        """Called by each checkpoint, for each partition."""
        self._writer.write({item.key.decode(): item.value for item in batch})


def run(work: Any) -> None:
    """Read `work.count` records, and end."""
    app = Application(
        broker_address=work.bootstrap,
        consumer_group=work.group,
        auto_offset_reset="earliest",
        commit_interval=work.interval_s,
        state_dir=work.folder,
        loglevel="WARNING",
    )

    def apply(event: dict[str, Any], state: State) -> dict[str, Any]:
        work.writer.begin()
        known = state.get("shop", {})
        work.job.update(known, event)
        state.set("shop", known)
        row: dict[str, Any] = work.job.row(known)
        return row

    topic = app.topic(work.topic, value_deserializer="json", key_deserializer="bytes")
    app.dataframe(topic).apply(apply, stateful=True).sink(RedisRows(work.writer))
    app.run(count=work.count)
