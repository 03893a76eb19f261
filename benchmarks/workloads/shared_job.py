"""The job that stream engines are compared by: features of shoppers, their events, and a check.

Events are those of `shop_events`, of which some come twice. Per user: events without repeats and
the sum of their prices over 5 minutes, an hour and a day, the last 20 items, the time since the
last order, clicks that halve in 30 minutes, different items of an hour, and sessions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from freshrank.benchmarks.peers import shop_job
from freshrank.benchmarks.workloads.shop_events import shop_events
from freshrank.benchmarks.workloads.shop_fixture import changed_example
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.aggregations.kernel_types import NEWEST
from freshrank.feature_actors.views.table_plan import TablePlan

JobRow: TypeAlias = Mapping[str, float | list[int] | None]
"""What `shop_job.row` gives."""

# Every so many events the one before is written once more.
REPEATED = 50
_WINDOWS_MS = {name: size * tiles for name, (size, tiles) in shop_job.WINDOWS.items()}
_VIEW = """class Activity(FeatureView):
    entity, source = user, behaviour
    count = Count(windows=["5m", "1h", "1d"])
    sum = Sum("price", windows=["5m", "1h", "1d"])
    last = LastK("item_id", k=20)
    order = TimeSince(where=col.type == "order")
    clicks = DecayedCount(by="type", where=col.type == "click", half_life="30m", top=1)
    items = DistinctCount("item_id", windows=["1h"], most=64)
    visit = Session(gap="30m")


"""


def job_file(topic: str, name: str) -> PipelineFile:
    """The demo's pipeline file with the features of the job, another topic and another name."""
    text = changed_example("recommend.py", {"class Activity(FeatureView):": "@class"})
    begin, end = text.index("@class"), text.index("pipeline = Pipeline(")
    text = text[:begin] + _VIEW + text[end:]
    text = text.replace("    DecayedCount,\n", "    DecayedCount,\n    DistinctCount,\n", 1)
    text = text.replace("    Pipeline,\n", "    Pipeline,\n    Session,\n", 1)
    text = text.replace('Stream("behaviour"', f'Stream("{topic}"').replace(
        '"recommend",', f'"{name}",'
    )
    return PipelineFile("examples/recommend.py", text)


def job_events(count: int, users: int, newest_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and JSON of `count` events; those that come twice count twice.

    >>> len(list(job_events(100, 3, 10**12)))
    100
    """
    rng, left = np.random.default_rng(0), count
    for number, event in enumerate(shop_events(count, users, newest_ms, rng), 1):
        for _ in range(1 + (number % REPEATED == 0)):
            if left:
                yield event
                left -= 1


def own_row(plan: TablePlan, row: bytes) -> JobRow:
    """The features of a row of ours as of its newest event, with the names of `shop_job.row`."""
    words = np.frombuffer(row).reshape(1, -1)
    at = int(words.view(np.int64)[0, NEWEST])
    block = plan.read(words, np.array([at]))
    found = dict(zip(plan.columns, block.values[0].tolist(), strict=True))
    since, width = found["order"], plan.id_fields[0].width
    shown = block.id_weights[0, :width] > 0
    windows = {
        f"{what}_{window}": found[f"{what}_{window}"]
        for what in ("count", "sum")
        for window in shop_job.WINDOWS
    }
    return {
        "at": at,
        "last": block.ids[0, :width][shown][::-1].tolist(),
        "clicks": float(block.id_weights[0, width]),
        "since_order": None if math.isnan(since) else since * 1000.0,
        "items_1h": found["items_1h"],
        "sessions": found["visit_count"],
        **windows,
    }


def is_right(row: JobRow, events: Sequence[ShopEvent]) -> bool:
    """Whether a row is what the events of its user give, computed from all of them.

    A window may be longer or shorter by one of its tiles (`shop_job.WINDOWS`).
    """
    known = sorted({event.event_id: event for event in events}.values(), key=lambda one: one.ts)
    at = known[-1].ts
    orders = [event.ts for event in known if event.type == "order"]
    pauses = sum(
        second.ts > first.ts + shop_job.SESSION_GAP_MS
        for first, second in itertools.pairwise(known)
    )
    hour = {event.item_id for event in known if event.ts > at - shop_job.HOUR_MS}
    clicks = sum(
        2.0 ** ((event.ts - at) / shop_job.HALF_LIFE_MS) for event in known if event.type == "click"
    )
    exact: JobRow = {
        "at": at,
        "last": [event.item_id for event in known[-shop_job.LAST :]],
        "clicks": clicks,
        "since_order": at - orders[-1] if orders else None,
        "items_1h": len(hour),
        "sessions": 1 + pauses,
    }
    return all(_near(row.get(name), value) for name, value in exact.items()) and all(
        _within(row, name, known) for name in shop_job.WINDOWS
    )


def _near(found: float | list[int] | None, value: float | list[int] | None) -> bool:
    if isinstance(found, int | float) and isinstance(value, int | float):
        return math.isclose(found, value, rel_tol=1e-5, abs_tol=1e-5)
    return found == value


def _within(row: JobRow, window: str, known: Sequence[ShopEvent]) -> bool:
    """Whether count and sum of a window lie between those of a tile less and a tile more."""
    tile_ms, length_ms, at = shop_job.WINDOWS[window][0], _WINDOWS_MS[window], known[-1].ts
    bounds = []
    for edge in (length_ms - tile_ms, length_ms + tile_ms):
        prices = [event.price for event in known if event.ts > at - edge]
        bounds.append((len(prices), math.fsum(prices)))
    count, total = row.get(f"count_{window}"), row.get(f"sum_{window}")
    return (
        isinstance(count, int | float)
        and isinstance(total, int | float)
        and bounds[0][0] <= count <= bounds[1][0]
        and bounds[0][1] - 1e-2 <= total <= bounds[1][1] + 1e-2
    )


def events_by_user(events: Iterator[tuple[bytes, bytes]]) -> dict[str, list[ShopEvent]]:
    """The decoded events of each user, in their order."""
    decode = msgspec.json.Decoder(ShopEvent).decode
    found: dict[str, list[ShopEvent]] = {}
    for key, value in events:
        found.setdefault(key.decode(), []).append(decode(value))
    return found
