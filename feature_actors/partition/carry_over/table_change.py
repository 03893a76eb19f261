"""What becomes of the rows of a table when its definitions change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.errors import DefinitionChanged
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.aggregations.kernel_types import HEADER_WORDS
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.row_plan import RowPlan


class KeptTable(msgspec.Struct, frozen=True):
    """The definitions of a table of rows, as files keep them."""

    basis: str
    """See `RowPlan`."""
    fingerprint: str
    columns: tuple[tuple[str, str, int], ...]
    """Of each column its name, its definition, and its words in a row (`RowColumn`)."""

    @classmethod
    def of(cls, plan: RowPlan) -> KeptTable:
        """Those of a plan."""
        columns = tuple((one.name, one.definition, one.words) for one in plan.columns_of_rows)
        return cls(plan.basis, plan.fingerprint, columns)


@dataclass(frozen=True)
class TableChange:
    """From the rows of a table before to those of now.

    A column of now has the words of one of before with the same definition: that of its name
    first, else any, so that a feature which is renamed keeps its state.
    """

    name: str
    """See `RowPlan`."""
    before: KeptTable | None
    """None: the table is new."""
    now: RowPlan | None
    """None: it is gone."""

    @property
    def changed(self) -> bool:
        """Whether rows of before mean something else, or lie elsewhere in the online store."""
        if self.before is None or self.now is None:
            return True
        same = self.before.fingerprint == self.now.fingerprint
        return not same or bool(self.added or self.dropped)

    @property
    def kept(self) -> list[str]:
        """The columns whose words stay, by the names of now."""
        pairs = zip(self._names, self._sources, strict=True)
        return [name for name, source in pairs if source is not None]

    @property
    def added(self) -> list[str]:
        """The columns that begin empty."""
        pairs = zip(self._names, self._sources, strict=True)
        return [name for name, source in pairs if source is None]

    @property
    def dropped(self) -> list[str]:
        """The columns that nothing of now goes on with, by the names of before."""
        used = set(self._sources)
        return [name for place, (name, *_) in enumerate(self._columns) if place not in used]

    @property
    def renamed(self) -> dict[str, str]:
        """By names of now: the names that columns had."""
        pairs = zip(self._names, self._sources, strict=True)
        before = {name: self._columns[source][0] for name, source in pairs if source is not None}
        return {name: was for name, was in before.items() if was != name}

    @property
    def reads_again(self) -> bool:
        """Whether its topic holds what new columns lack: those of tables are compacted."""
        return isinstance(self.now, LatestRowPlan) and bool(self.added)

    def rows(self, rows: Doubles) -> Doubles:
        """float64[m, words]: rows of before in the layout of now; new columns are empty."""
        assert self.now is not None
        found = np.tile(self.now.empty_row, (len(rows), 1))
        kept = self._words >= 0
        found[:, kept] = rows[:, self._words[kept]]
        return found

    def __str__(self) -> str:
        """One line for people.

        >>> str(TableChange("user/visits", KeptTable("", "f", (("pages", "", 1),)), None))
        'rows of user/visits: dropped'
        """
        if self.now is None:
            return f"rows of {self.name}: dropped"
        if self.before is None:
            return f"rows of {self.name}: filled from the oldest records ({', '.join(self.added)})"
        renamed = [f"{before} is now {name}" for name, before in self.renamed.items()]
        dropped = set(self.dropped)
        new = [name for name in self.added if name not in dropped]
        otherwise = [name for name in self.added if name in dropped]
        begin = "filled from the topic, read again" if self.reads_again else "empty so far"
        parts = {
            "kept": self.kept,
            "renamed": renamed,
            f"new, {begin}": new,
            f"renewed, {begin}": otherwise,
            "dropped": [name for name in self.dropped if name not in otherwise],
        }
        texts = [f"{what}: {', '.join(names)}" for what, names in parts.items() if names]
        return f"rows of {self.name}: {'; '.join(texts)}"

    @property
    def _columns(self) -> Sequence[tuple[str, str, int]]:
        return () if self.before is None else self.before.columns

    @property
    def _names(self) -> list[str]:
        return [] if self.now is None else [one.name for one in self.now.columns_of_rows]

    @cached_property
    def _sources(self) -> list[int | None]:
        """Of each column of now: the place of that of before whose words it has."""
        if self.now is None:
            return []
        found: list[int | None] = []
        for column in self.now.columns_of_rows:
            same = [
                (name != column.name, place)
                for place, (name, *alike) in enumerate(self._columns)
                if alike == [column.definition, column.words]
            ]
            found.append(min(same)[1] if same else None)
        return found

    @cached_property
    def _words(self) -> Ints:
        """int64[words of now]: the word of before that each one is; -1 for one that is new."""
        assert self.now is not None
        ends = np.cumsum([HEADER_WORDS, *(words for _, _, words in self._columns)]).tolist()
        found = list(range(HEADER_WORDS))
        for column, source in zip(self.now.columns_of_rows, self._sources, strict=True):
            words = range(column.words)
            found += [-1 if source is None else ends[source] + word for word in words]
        return np.array(found, dtype=np.int64)


def plans_of(spec: PartitionSpec) -> list[RowPlan]:
    """Of all rows that the partitions keep: those of their entity, and those beside them."""
    return [*spec.plan.row_plans, *spec.beside]


def table_changes(
    before: Mapping[str, KeptTable], plans: Iterable[RowPlan]
) -> Mapping[str, TableChange]:
    """By name of the tables of before and of now: what becomes of each.

    Raises DefinitionChanged when the rows of one cannot be carried over.
    """
    found: dict[str, TableChange] = {}
    for plan in plans:
        kept = before.get(plan.name)
        if kept is not None and kept.basis != plan.basis:
            raise DefinitionChanged(
                f"the rows of {plan.name} are made of {kept.basis}, and would now be of "
                f"{plan.basis}: these have to stay"
            )
        found[plan.name] = TableChange(plan.name, kept, plan)
    gone = {name: kept for name, kept in before.items() if name not in found}
    return found | {name: TableChange(name, kept, None) for name, kept in gone.items()}


def tables_of(meta: Mapping[str, Any]) -> dict[str, KeptTable]:
    """By name: the tables of rows that a snapshot's header tells of."""
    return msgspec.convert(meta["tables"], dict[str, KeptTable])
