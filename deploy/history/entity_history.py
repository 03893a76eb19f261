"""The rows of one entity's features as its history goes on, read as of any time in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.deploy.history.arrivals import Arrivals, Arrived
from freshrank.deploy.history.partition_batches import batch_for
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.row_plan import RowPlan
from freshrank.feature_actors.views.table_plan import TablePlan

Read: TypeAlias = FeatureBlock | Doubles
"""What was read of ``n`` rows of a table: features, or of a `Table` the rows themselves."""


@dataclass(frozen=True, slots=True)
class AskedRows:
    """Rows of one entity to be read, each as of a time."""

    ids: Ints
    """int64[n]: those of the entities (`entity_ids`)."""
    times_ms: Ints
    """int64[n], ascending."""

    def __len__(self) -> int:
        return len(self.ids)


class EntityHistory:
    """The state of one entity's features, by the engine that a shard has: in a single partition.

    What has arrived up to a time, that time included, is known then. Events are applied in long
    batches: a row is read at some point between its time and the next event that could change it.

    Parameters
    ----------
    plan
        Of the entity's features.
    settings
        Their bounds are those of all partitions together.
    asked
        What `take` reads by the way.
    """

    def __init__(self, plan: FeaturePlan, settings: ShardSettings, asked: AskedRows) -> None:
        self.plan = plan
        self.asked = asked
        self._state = PartitionState(features_only(plan, settings), 0)
        self._name = plan.entity.name
        self._next = 0  # of the rows asked, which are read in order of time
        self._sources = {rows.source.topic: rows.source for rows in plan.row_plans}
        self.found: list[Read] = [_blank(rows, len(asked)) for rows in plan.row_plans]
        """What was read, by table of the plan, in the order of the rows asked."""

    @property
    def late(self) -> int:
        """Events that were too old for all features that they were meant for."""
        return self._state.counters.late

    def entities(self) -> list[str]:
        """All that have a row now, in the order of their names."""
        tables = self._state.row_tables
        return sorted({name for table in tables for name in table.entities(table.slots())})

    def take(self, arrivals: Arrivals) -> None:
        """Apply what has arrived, and read the rows of times before the last of it."""
        parts = [_Part(one) for one in arrivals if one.topic in self._sources]
        while open_parts := [part for part in parts if part.rest]:
            limit = self._limit(open_parts)
            for cut_ms, places in self._cuts(open_parts, limit):
                self._apply(open_parts, cut_ms)
                self._read(places)
            self._apply(open_parts, limit + 1)

    def finish(self) -> None:
        """Read the rows that are left, as of the end of the history."""
        self._read(np.arange(self._next, len(self.asked)))
        self._next = len(self.asked)

    def read(self, names: Sequence[str], at_ms: int) -> list[Read]:
        """Read the rows of `names` now, as of `at_ms`."""
        field = self.plan.row_plans[0].source.fields[self.plan.entity.key]
        times = np.full(len(names), at_ms, dtype=np.int64)
        return self._rows(entity_ids(field, names), times)

    def _limit(self, parts: Sequence[_Part]) -> int:
        """The time of the last record; or, before it, of the next that may drop idle entities."""
        looks = [table.idle_look_ms for table in self._state.tables]
        look = min((one for one in looks if one is not None), default=None)
        last = max(int(part.times_ms[-1]) for part in parts)
        if look is None or last <= look:
            return last
        return min(at for part in parts if (at := part.first_after(look)) is not None)

    def _cuts(self, parts: Sequence[_Part], limit: int) -> Iterator[tuple[int, Ints]]:
        """Times, ascending, and the rows to read before the records of these times are applied.

        All rows asked of before `limit`: each is read before the next record of its entity that is
        later. As few cuts as there can be: intervals are stabbed in the order of their ends.
        """
        begin = self._next
        end = int(np.searchsorted(self.asked.times_ms, limit))
        if end == begin:
            return
        self._next = end
        times = self.asked.times_ms[begin:end]
        ends = self._next_changes(parts, self.asked.ids[begin:end], times, limit)
        cut, places = 0, list[int]()
        order = np.argsort(ends, kind="stable")
        at_once = zip(order.tolist(), times[order].tolist(), ends[order].tolist(), strict=True)
        for place, time_ms, end_ms in at_once:
            if places and cut <= time_ms:
                yield cut, np.array(places)
                places = []
            if not places:
                cut = end_ms
            places.append(begin + place)
        yield cut, np.array(places)

    def _next_changes(self, parts: Sequence[_Part], ids: Ints, times: Ints, limit: int) -> Ints:
        """int64[n]: the time of the next record of each row's entity, at most `limit`."""
        of_events = np.concatenate([part.ids(self._name) for part in parts])
        at = np.concatenate([part.times_ms for part in parts])
        moments = np.unique(at)
        entities, codes = np.unique(of_events, return_inverse=True)
        width = len(moments) + 1
        changes = np.sort(codes * width + np.searchsorted(moments, at))
        own = np.minimum(np.searchsorted(entities, ids), len(entities) - 1)
        wanted = own * width + np.searchsorted(moments, times, side="right")
        found = np.minimum(np.searchsorted(changes, wanted), len(changes) - 1)
        change = changes[found]
        is_own = (entities[own] == ids) & (change >= wanted) & (change // width == own)
        return np.where(is_own, np.minimum(moments[change % width], limit), limit)

    def _apply(self, parts: Sequence[_Part], before_ms: int) -> None:
        """Apply the records of times before `before_ms`."""
        for part in parts:
            chosen = part.take_before(before_ms)
            if chosen is not None:
                source = self._sources[chosen.topic]
                begin = self._state.offsets[source.log_topic]
                self._state.process(batch_for(source, chosen, begin))
        for table in self._state.row_tables:
            table.evicted.clear()  # no online store is to remove them

    def _read(self, places: Ints) -> None:
        """Read rows asked, at `places`, now."""
        if not len(places):
            return
        read = self._rows(self.asked.ids[places], self.asked.times_ms[places])
        for into, new in zip(self.found, read, strict=True):
            if isinstance(into, FeatureBlock) and isinstance(new, FeatureBlock):
                into.values[places], into.ids[places] = new.values, new.ids
                into.id_weights[places] = new.id_weights
            elif isinstance(into, np.ndarray):
                into[places] = new

    def _rows(self, ids: Ints, times_ms: Ints) -> list[Read]:
        found: list[Read] = []
        for table in self._state.row_tables:
            rows = table.rows_of(ids)
            plan = table.plan
            found.append(plan.read(rows, times_ms) if isinstance(plan, TablePlan) else rows)
        return found


class _Part:
    """What is left of the records of one topic."""

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived
        self._begin = 0

    @property
    def rest(self) -> int:
        """How many are left."""
        return len(self._arrived) - self._begin

    @property
    def times_ms(self) -> Ints:
        """int64[rest]: when they arrived."""
        return self._arrived.times_ms[self._begin :]

    def ids(self, entity: str) -> Ints:
        """int64[rest]: their ids of an entity."""
        return self._arrived.ids[entity][self._begin :]

    def first_after(self, at_ms: int) -> int | None:
        """The time of the first that is later than `at_ms`."""
        later = int(np.searchsorted(self.times_ms, at_ms, side="right"))
        return int(self.times_ms[later]) if later < self.rest else None

    def take_before(self, at_ms: int) -> Arrived | None:
        """Those of times before `at_ms`, which are left no more; None: there are none."""
        end = self._begin + int(np.searchsorted(self.times_ms, at_ms))
        if end == self._begin:
            return None
        chosen = self._arrived.between(self._begin, end)
        self._begin = end
        return chosen


def _blank(rows: RowPlan, count: int) -> Read:
    if isinstance(rows, TablePlan):
        return rows.block(count)
    return np.empty((count, rows.row_words), dtype=np.float64)
