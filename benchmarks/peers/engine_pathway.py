"""The shared job in Pathway: a stateful reducer by user, and a subscriber that writes rows."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pathway as pw

DURABLE = "its log of the input with offsets, replayed to the state; at least once"
# Milliseconds of a batch: what an event waits for at most.
BATCH_MS = 10


class ShopEvents(pw.Schema):
    """The fields of an event that the job reads."""

    event_id: str
    user_id: str
    item_id: int
    type: str
    price: float
    ts: int


class Finished(Exception):
    """All records are done: a graph ends by an error, or not at all."""


def run(work: Any) -> None:
    """Read `work.count` records, and end."""
    names = ShopEvents.column_names()
    applied, rows = 0, {}

    @pw.reducers.stateful_many
    def shop(state: bytes | None, batch: list[tuple[list[Any], int]]) -> bytes:
        nonlocal applied
        known = {} if state is None else orjson.loads(state)
        events = [dict(zip(names, values, strict=True)) for values, _ in batch]
        for event in sorted(events, key=lambda event: event["ts"]):
            work.job.update(known, event)
        applied += sum(times for _, times in batch)
        return orjson.dumps(known)

    def changed(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            rows[row["user_id"]] = work.job.row(orjson.loads(row["shop"]))

    def write(time: int) -> None:
        work.writer.write(rows)
        rows.clear()
        if applied >= work.count:
            raise Finished

    settings = {
        "bootstrap.servers": work.bootstrap,
        "group.id": work.group,
        "auto.offset.reset": "earliest",
    }
    events = pw.io.kafka.read(
        settings, work.topic, schema=ShopEvents, format="json", autocommit_duration_ms=BATCH_MS
    )
    users = events.groupby(pw.this.user_id).reduce(
        pw.this.user_id, shop=shop(*(pw.this[name] for name in names))
    )
    pw.io.subscribe(users, on_change=changed, on_time_end=write)
    backend = pw.persistence.Backend.filesystem(str(work.folder))
    persistence = pw.persistence.Config(
        backend, snapshot_interval_ms=round(1_000 * work.interval_s)
    )
    work.writer.begin()  # a batch has been read and decoded before the job is given its events
    with contextlib.suppress(Finished):
        pw.run(
            monitoring_level=pw.MonitoringLevel.NONE,
            default_logging=False,
            persistence_config=persistence,
        )
