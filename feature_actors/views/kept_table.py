"""What the columns of a table of rows hold, as files keep it; and which go on in another table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from freshrank.feature_actors.views.row_plan import RowColumn, RowPlan


class KeptTable(msgspec.Struct, frozen=True):
    """A table of rows of a file, which tells which columns of another one are the same."""

    basis: str
    """`RowPlan.basis`: where it differs, no row is carried over."""
    fingerprint: str
    """`RowPlan.fingerprint`."""
    columns: tuple[tuple[str, str, int], ...]
    """`RowPlan.columns_of_rows`: name, definition and words of each."""

    @classmethod
    def of(cls, plan: RowPlan) -> KeptTable:
        """That of a plan."""
        columns = ((one.name, one.definition, one.words) for one in plan.columns_of_rows)
        return cls(plan.basis, plan.fingerprint, tuple(columns))

    def places(self, now: Sequence[RowColumn]) -> list[int]:
        """The column here from which each of `now` goes on; -1 where none holds the same.

        A column of the same name comes first: what was renamed goes on, too.

        >>> was = KeptTable("", "", (("a", "count", 2), ("b", "count", 2), ("c", "sum", 3)))
        >>> was.places([RowColumn("b", "count", 2), RowColumn("d", "count", 2)])
        [1, 0]
        >>> was.places([RowColumn("c", "mean", 3)])
        [-1]
        """
        named: dict[tuple[str, str], int] = {}
        holding: dict[str, int] = {}
        for place, (name, definition, _) in enumerate(self.columns):
            named[name, definition] = place
            holding.setdefault(definition, place)
        return [
            named.get((one.name, one.definition), holding.get(one.definition, -1)) for one in now
        ]


def tables_of(meta: Mapping[str, Any]) -> dict[str, KeptTable]:
    """By `RowPlan.name`: the tables that a file's header names; none: an earlier version wrote it.

    >>> tables_of({"tables": {"user/plays": {"basis": "", "fingerprint": "", "columns": []}}})
    {'user/plays': KeptTable(basis='', fingerprint='', columns=())}
    """
    return msgspec.convert(meta.get("tables", {}), dict[str, KeptTable])
