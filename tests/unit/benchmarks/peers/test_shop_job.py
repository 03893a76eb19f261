"""The job of stream engines: by hand, and by our own features, it is what all events give."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from freshrank.benchmarks.peers import shop_job
from freshrank.benchmarks.throughput.engines import wrong
from freshrank.benchmarks.workloads.shared_job import (
    JobRow,
    events_by_user,
    is_right,
    job_events,
    job_file,
    own_row,
)
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings

COUNT, USERS, NEWEST_MS = 600, 20, 10**12
EVENTS = events_by_user(job_events(COUNT, USERS, NEWEST_MS))


def by_hand() -> dict[str, JobRow]:
    states: dict[str, shop_job.State] = defaultdict(dict)
    for key, value in job_events(COUNT, USERS, NEWEST_MS):
        shop_job.update(states[key.decode()], msgspec.json.decode(value))
    return {user: shop_job.row(state) for user, state in states.items()}


def test_rows_by_hand_are_right_and_one_that_is_not_is_found() -> None:
    rows = by_hand()
    assert sum(map(len, EVENTS.values())) == COUNT
    assert wrong(EVENTS, rows) == 0
    user = next(iter(rows))
    for name, changed in (("count_5m", 10_000), ("clicks", -1.0), ("last", []), ("sessions", 7)):
        assert not is_right({**rows[user], name: changed}, EVENTS[user])
    assert wrong(EVENTS, {one: row for one, row in rows.items() if one != user}) == 1


def test_our_features_are_right() -> None:
    pipeline = job_file("shop", "job").load()
    state = PartitionState(pipeline.spec(ShardSettings()), 0)
    values = [value for _, value in job_events(COUNT, USERS, NEWEST_MS)]
    state.process(consecutive_records("shop", 0, values, NEWEST_MS))
    (table,) = state.tables
    slots = table.slots()
    plan = pipeline.plan.tables[0]
    rows = {
        str(user): own_row(plan, row.tobytes())
        for user, row in zip(table.entities(slots), table.rows(slots), strict=True)
    }
    assert set(rows) == set(EVENTS)
    assert wrong(EVENTS, rows) == 0


def test_windows_and_sessions_end_and_late_events_find_their_tile() -> None:
    state: shop_job.State = {}
    event = {"item_id": 1, "type": "view", "price": 1.0}
    day_ms = 86_400_000
    times = (day_ms, day_ms + 60_000, day_ms + 30_000, day_ms + 3_000_000, 4 * day_ms)
    counts = []
    for number, at in enumerate(times):
        shop_job.update(state, {**event, "event_id": f"e{number}", "ts": at})
        found = shop_job.row(state)
        counts.append([found["count_5m"], found["count_1h"], found["count_1d"], found["sessions"]])
    assert counts == [[1, 1, 1, 1], [2, 2, 2, 1], [3, 3, 3, 1], [1, 4, 4, 2], [1, 1, 1, 3]]
