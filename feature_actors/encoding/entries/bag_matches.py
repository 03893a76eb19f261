"""Bags over fields that the context has too: how much a bag has of a row's own value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from freshrank.feature_actors.views.table_plan import TablePlan


class BagMatch(NamedTuple):
    """A bag over a field that the context has too."""

    name: str
    bag: str
    begin: int
    """The bag's first id column, of all tables."""
    end: int
    own: int
    """The column of the context's ids."""


def bag_matches(tables: Sequence[TablePlan], id_names: Sequence[str]) -> Iterator[BagMatch]:
    """Those of all tables; `id_names` are the fields of the context that are ids."""
    begin = 0
    for bag in (bag for table in tables for bag in table.layout.bags):
        end = begin + bag.field.width
        if bag.learned and bag.source in id_names:
            own = id_names.index(bag.source)
            yield BagMatch(f"{bag.field.name}_match", bag.field.name, begin, end, own)
        begin = end
