"""The shared job in Faust: an agent, a table of states, and a timer that writes rows."""

from __future__ import annotations

import asyncio
from typing import Any

import faust

DURABLE = "a changelog topic, at least once; offsets may be committed before rows are written"
# Seconds between two writes of rows. A table cannot be changed from within `stream.take`, which
# would keep the offsets of a batch until its rows are written.
WRITE_S = 0.1


async def work_through(work: Any) -> None:
    """Start the app, wait until all records are done, stop."""
    app = faust.App(
        work.group,
        broker=f"kafka://{work.bootstrap}",
        datadir=work.folder,
        topic_partitions=work.partitions,
        broker_commit_interval=work.interval_s,
        stream_recovery_delay=0.0,
        web_enabled=False,
    )
    table = app.Table("shop", default=dict, partitions=work.partitions)
    done = asyncio.Event()
    left = work.count
    rows: dict[str, Any] = {}

    @app.agent(app.topic(work.topic, key_type=bytes, value_serializer="json"))
    async def apply(stream: Any) -> None:
        nonlocal left
        async for event in stream:
            work.writer.begin()
            user = event["user_id"]
            known = table[user]
            work.job.update(known, event)
            table[user] = known
            rows[user] = work.job.row(known)
            left -= 1

    @app.timer(WRITE_S)
    async def write() -> None:
        work.writer.write(rows)
        rows.clear()
        if left <= 0:
            done.set()

    app.finalize()
    await app.start()
    await done.wait()
    await app.stop()


def run(work: Any) -> None:
    """Read `work.count` records, and end."""
    asyncio.run(work_through(work))
