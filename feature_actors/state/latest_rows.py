"""The rows of a table's topic in one partition: the latest of each key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.messages import Bools
from freshrank.feature_actors.state import hash_table
from freshrank.feature_actors.state.tracked_table import TrackedRows
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan


class LatestRows(TrackedRows):
    """Rows that records replace and tombstones delete."""

    plan: LatestRowPlan

    def put(self, columns: Columns) -> None:
        """Take the rows of records, in their order: of one key the last counts."""
        if not len(columns):
            return
        slots = self._assign(columns)
        self._keep(slots)
        _, last = np.unique(slots[::-1], return_index=True)
        places = len(slots) - 1 - last
        self._rows[slots[places]] = self.plan.rows(columns)[places]
        self.dirty.mark(slots)

    def known(self, entities: Sequence[str]) -> Bools:
        """bool[n]: which of `entities` have a row."""
        slots = np.empty(len(entities), dtype=np.int64)
        hash_table.look_up(self._slots, self._ids(list(entities)), slots)
        return slots >= 0
