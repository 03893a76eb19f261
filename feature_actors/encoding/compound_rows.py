"""The rows of compound entities that a request needs: of its user in each category, say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from freshrank.actors.features.service import Candidates, RowLookup
from freshrank.actors.kernels.hashing import ABSENT
from freshrank.actors.messages import Ints
from freshrank.feature_actors.encoding.candidate_columns import column_of, count_of
from freshrank.feature_actors.encoding.shown_rows import words_of
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.row_plan import RowPlan


class CompoundRows:
    """Finds the keys of rows, a part of which each is: of the request, a candidate, or its row.

    Parameters
    ----------
    plans
        Of all entities, that of requests first.
    stream
        Whose fields the candidates carry.
    table_fields
        By name: the fields of the context that a candidate takes from its row in a table.
    """

    def __init__(
        self, plans: Sequence[FeaturePlan], stream: Stream, table_fields: Mapping[str, TableField]
    ) -> None:
        self._plans = [plan for plan in plans if plan.entity.compound]
        self._own = plans[0].entity.key
        self._kinds = {name: field.kind for name, field in stream.fields.items()}
        parts = {part for plan in self._plans for part in plan.entity.parts}
        self._taken = {name: field for name, field in table_fields.items() if name in parts}
        self._latest = {plan.source.topic: plan for one in plans for plan in one.latest}

    @property
    def follows(self) -> bool:
        """Whether a key has a part that is read from a row of a table."""
        return bool(self._taken)

    def needs(self, table: RowPlan) -> bool:
        """Whether a row of `table` holds a part of a key."""
        return any(table is self._latest[field.table.topic] for field in self._taken.values())

    def lookups(
        self,
        own: Ints,
        candidates: Candidates,
        leading: Sequence[RowLookup],
        rows: Sequence[bytes | None],
    ) -> Sequence[RowLookup]:
        """The rows of all compound entities.

        `own` int64[1] is the id of the request's entity, `rows` are those of the `leading` lookups.
        """
        if not self._plans:
            return []
        count = count_of(candidates)
        ids = dict(self._from_tables(leading, rows)) | {self._own: np.repeat(own, count)}
        return [
            lookup for plan in self._plans for lookup in self._of_plan(plan, ids, candidates, count)
        ]

    def owned(self, own: int) -> Callable[[bytes], bool]:
        """Tell whether a row's key has the id `own` of the entity that requests name as a part."""
        tables = [
            table
            for plan in self._plans
            if self._own in plan.entity.parts
            for table in plan.row_plans
        ]
        return lambda key: any(table.has_part(key, self._own, own) for table in tables)

    def _of_plan(
        self, plan: FeaturePlan, ids: Mapping[str, Ints], candidates: Candidates, count: int
    ) -> Iterator[RowLookup]:
        parts = np.empty((count, len(plan.entity.parts)), dtype=np.int64)
        for column, part in enumerate(plan.entity.parts):
            known = ids.get(part)
            if known is None:
                known = column_of(part, self._kinds[part], candidates).astype(np.int64)
            parts[:, column] = known
        unkeyed = np.flatnonzero((parts == ABSENT).any(axis=1)).tolist()
        lines: dict[tuple[int, ...], int] = {}
        which = [lines.setdefault(tuple(row), len(lines)) for row in parts.tolist()]
        for table in plan.tables:
            owned = table.source.owner is not None  # from the topic of the owner's own rows
            yield RowLookup(
                plan.entity.name,
                table.name if owned else table.source.log_topic,
                [table.compound_row_key(row) for row in lines],
                np.array(which, dtype=np.int64),
                shared=self._own not in plan.entity.parts,
                unkeyed=unkeyed,
            )

    def _from_tables(
        self, leading: Sequence[RowLookup], rows: Sequence[bytes | None]
    ) -> Iterator[tuple[str, Ints]]:
        """The parts that candidates take from their rows, int64[n] ids each."""
        begin = 0
        for lookup in leading:
            end = begin + len(lookup.keys)
            table: LatestRowPlan = self._latest[lookup.table]
            words = words_of(table, rows[begin:end])
            for name, field in self._taken.items():
                if field.table is table.source:
                    yield name, table.column(name, words)[lookup.which].astype(np.int64)
            begin = end
