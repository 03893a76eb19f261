"""What each aggregate costs over windows from a minute to 90 days, and how far it is off.

An aggregate is alone in a table of a thousand users; batches of events that are decoded already are
applied to it, and timed by the CPU. Windows of every length have equally many events: the events
are the same, their times are stretched. What is read then is compared with what all events of the
user say. *Beyond the hop* compares with the window whose ends are moved to the hops of its ring;
*of the exact window* with the window as it is meant, so that it tells what the hop costs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from freshrank import FeatureView
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median, must_be_zero, readable
from freshrank.benchmarks.throughput.window_cases import CASES, LIFETIME, AggregateCase, Given
from freshrank.benchmarks.throughput.window_events import UserEvents, WindowEvents, touches, user
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns, entity_ids
from freshrank.feature_actors.views.table_plan import TablePlan, exactness

LENGTHS_MS = {"1m": 60_000, "1h": 3_600_000, "1d": 86_400_000, "90d": 7_776_000_000}
USERS, EVENTS_PER_USER = 1_000, 150
# A standard error is an expectation: that of a thousand users may be so much larger.
_STATISTICAL_ROOM = 1.15


class AggregateCost(NamedTuple):
    """Of one aggregate at one length."""

    case: AggregateCase
    length: str
    event_us: float
    """CPU time to apply an event, the user's row found."""
    read_us: float
    """CPU time to read the feature from a row."""
    bytes: int
    """Of a user's row, without its header."""
    stated: str
    """The error in the product's words."""
    beyond: float
    """The greatest relative error beyond the hop; of an estimate, the root of its mean square."""
    off: float | None
    """The mean relative distance from the exact window; None where there is no window."""

    @property
    def kept(self) -> bool:
        """Whether it is no further off than stated."""
        room = _STATISTICAL_ROOM if self.case.statistical else 1.0
        return self.beyond <= self.case.stated * room + 1e-6


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure each aggregate at each length; print the table."""
    users, per_user = max(20, int(USERS * options.scale)), EVENTS_PER_USER
    found = []
    for length, length_ms in LENGTHS_MS.items():
        events = WindowEvents(users, per_user, length_ms)
        batches, histories = events.batches(), list(events.histories())
        # What has no window, nor a half-life, nor a gap is the same at every length.
        lifetime = LIFETIME if length == "90d" else ()
        for case in (*CASES, *lifetime):
            with console.status(f"{case.name}, {length}"):
                found.append(_cost(case, length, batches, histories, options.rounds))
    console.print(table(found))
    return figures(found)


def _cost(
    case: AggregateCase,
    length: str,
    batches: Sequence[Columns],
    histories: Sequence[UserEvents],
    rounds: int,
) -> AggregateCost:
    body = {"entity": user, "source": touches, "f": case.made(histories[0].length_ms)}
    plan = TablePlan([type("View", (FeatureView,), body)])
    warm = EntityTable(plan, len(histories))
    for batch in batches:  # computes the columns that the aggregate reads, and loads kernels
        warm.apply(batch, before=False)
    plan.read(warm.rows(warm.slots()), np.zeros(len(warm), dtype=np.int64))
    ids = entity_ids(touches.fields[user.key], [user_name(one) for one in range(len(histories))])
    events, event_s, read_s = sum(map(len, batches)), list[float](), list[float]()
    for _ in range(rounds):
        rows = EntityTable(plan, len(histories))
        began = time.process_time()
        for batch in batches:
            rows.apply(batch, before=False)
        event_s.append(time.process_time() - began)
        words = rows.rows_of(ids)
        at_ms = np.array([one.at_ms for one in histories])
        began = time.process_time()
        block = plan.read(words, at_ms)
        read_s.append(time.process_time() - began)
    placed = plan.layout.placed
    beyond, off = _errors(case, block, histories)
    return AggregateCost(
        case,
        length if case in CASES else "all",
        median(event_s) / events * 1e6,
        median(read_s) / len(histories) * 1e6,
        8 * sum(one.words for one in placed),
        exactness(placed[0]),
        beyond,
        off,
    )


def _errors(
    case: AggregateCase, block: FeatureBlock, histories: Sequence[UserEvents]
) -> tuple[float, float | None]:
    """The greatest error beyond the hop, and the mean distance from the exact window."""
    beyond, off = [], []
    for row, history in enumerate(histories):
        bag = [
            (one, weight)
            for one, weight in zip(
                block.ids[row].tolist(), block.id_weights[row].tolist(), strict=True
            )
            if weight > 0
        ]
        given = Given(block.values[row].tolist(), bag)
        beyond.append(case.off(given, case.events(history, snapped=True)))
        off.append(case.off(given, case.events(history, snapped=False)))
    if case.statistical:
        return float(np.sqrt(np.mean(np.square(beyond)))), float(np.mean(off))
    return max(beyond), float(np.mean(off)) if case.windowed else None


def table(costs: Sequence[AggregateCost]) -> Table:
    """Print one line for each aggregate and length."""
    made = Table("aggregate", "length", box=None)
    for heading in ("µs an event", "µs a read", "bytes", "beyond the hop", "of the exact window"):
        made.add_column(heading, justify="right")
    made.add_column("stated")
    for cost in costs:
        made.add_row(
            cost.case.name,
            cost.length,
            f"{cost.event_us:.3f}",
            f"{cost.read_us:.3f}",
            str(cost.bytes),
            "exact" if cost.beyond < 1e-6 else readable(cost.beyond),
            "" if cost.off is None else f"{100 * cost.off:.1f} %",
            cost.stated,
        )
    return made


def figures(costs: Sequence[AggregateCost]) -> list[Figure]:
    """Return each cell of the table as a detail, and how many are further off than stated."""
    made = []
    for cost in costs:
        name = f"{cost.case.name} {cost.length}".replace(", ", "_").replace(" ", "_")
        made += [
            Figure(f"{name}_us_per_event", cost.event_us, "µs", "lower", detail=True),
            Figure(f"{name}_us_per_read", cost.read_us, "µs", "lower", detail=True),
            Figure(f"{name}_bytes", cost.bytes, "B", "lower", detail=True),
            Figure(f"{name}_error_beyond_hop", cost.beyond, "1", "lower", detail=True),
        ]
    return [
        *made,
        Figure("median_us_per_event", median(one.event_us for one in costs), "µs", "lower"),
        Figure("most_us_per_event", max(one.event_us for one in costs), "µs", "lower"),
        must_be_zero("further_off_than_stated", sum(not one.kept for one in costs)),
    ]
