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


class Users:
    """What the graph calls: the job, and what writes the rows of users."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._names = ShopEvents.column_names()
        self._read = 0
        self._rows: dict[str, Any] = {}

    def apply(self, state: bytes | None, batch: list[tuple[list[Any], int]]) -> bytes:
        """Called with a user's events of a batch, and how often each is there."""
        known, read = ({}, 0) if state is None else orjson.loads(state)
        events = [dict(zip(self._names, values, strict=True)) for values, _ in batch]
        for event in sorted(events, key=lambda event: event["ts"]):
            self._work.job.update(known, event)
        return orjson.dumps((known, read + sum(times for _, times in batch)))

    def changed(self, key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        """Called with each state that a batch has changed: the one before, and the one after.

        Later batches may have been applied already, whose states are still to come.
        """
        known, read = orjson.loads(row["shop"])
        self._read += read if is_addition else -read
        if is_addition:
            self._rows[row["user_id"]] = self._work.job.row(known)

    def write(self, time: int) -> None:
        """Called at the end of a batch."""
        self._work.writer.write(self._rows)
        self._rows.clear()
        if self._read >= self._work.count:
            raise Finished


def run(work: Any) -> None:
    """Read `work.count` records, and end."""
    users = Users(work)
    settings = {
        "bootstrap.servers": work.bootstrap,
        "group.id": work.group,
        "auto.offset.reset": "earliest",
    }
    events = pw.io.kafka.read(
        settings, work.topic, schema=ShopEvents, format="json", autocommit_duration_ms=BATCH_MS
    )
    shop = pw.reducers.stateful_many(users.apply)
    fields = (pw.this[name] for name in ShopEvents.column_names())
    states = events.groupby(pw.this.user_id).reduce(pw.this.user_id, shop=shop(*fields))
    pw.io.subscribe(states, on_change=users.changed, on_time_end=users.write)
    backend = pw.persistence.Backend.filesystem(str(work.folder))
    kept = pw.persistence.Config(backend, snapshot_interval_ms=round(1_000 * work.interval_s))
    work.writer.begin()  # a batch has been read and decoded before the job is given its events
    with contextlib.suppress(Finished):
        pw.run(
            monitoring_level=pw.MonitoringLevel.NONE,
            default_logging=False,
            persistence_config=kept,
        )
