"""What each input of a model is made of, in one spelling: what was learned of it is about that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from freshrank.actors.inputs.cleaning import Cleaning, filled
from freshrank.feature_actors.encoding.entries.made_numbers import Age, ListPosition
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.table_plan import TablePlan


class InputMeanings:
    """The meanings of inputs, by their names.

    Parameters
    ----------
    tables
        Of features.
    context
        The entry of each input of the context, by name.
    kinds
        What each of these is taken for.
    derived
        By name of a number that is made of another one: that one, and how.
    cleaning
        What the learner does to numbers.
    """

    def __init__(
        self,
        tables: Sequence[TablePlan],
        context: Mapping[str, object],
        kinds: Mapping[str, Kind],
        derived: Mapping[str, tuple[str, str]],
        cleaning: Sequence[Cleaning],
    ) -> None:
        self._of = {
            name: f"{table.entity.name} of {table.source.topic}: {definition}"
            for table in tables
            for name, definition in table.definitions.items()
        }
        self._context = {
            name: f"{_entry(entry)} {kinds[name].value.__name__}" for name, entry in context.items()
        }
        self._derived = derived
        self._cleaning = cleaning

    def numbers(
        self, names: Sequence[str], matches: Mapping[str, tuple[str, str]]
    ) -> Iterator[str]:
        """Of the dense inputs `names`; `matches` has the bag and the field that each compares."""
        for name in names:
            if name in matches:
                yield " matches ".join(map(self._plain, matches[name])) + self._cleaned(name)
            else:
                yield self._number(name)

    def ids(
        self, names: Sequence[str], crosses: Mapping[str, Sequence[str]], buckets: Mapping[str, str]
    ) -> Iterator[str]:
        """Of the id fields `names`; `buckets` has, by name, the number whose bucket one is."""
        for name in names:
            sides = crosses.get(name, [name])
            yield " x ".join(
                f"bucket of {self._number(buckets[one])}" if one in buckets else self._plain(one)
                for one in sides
            )

    def absent(self, names: Sequence[str]) -> tuple[float, ...]:
        """The values of the dense inputs `names` in a row that does not carry them."""
        told = filled(self._cleaning)
        flags = {name for name, (_, how) in self._derived.items() if how == "missing"}
        return tuple(math.nan if name in told else float(name in flags) for name in names)

    def _number(self, name: str) -> str:
        if name in self._derived:
            of, how = self._derived[name]
            return f"{how} of {self._plain(of)}{self._cleaned(name)}"
        return f"{self._plain(name)}{self._cleaned(name)}"

    def _plain(self, name: str) -> str:
        return self._of.get(name) or self._context[name]

    def _cleaned(self, name: str) -> str:
        return "".join(f", {one!r}" for one in self._cleaning if one.name == name)


def _entry(entry: object) -> str:
    """What an entry of a context is made of; the names of the others tell."""
    of = entry.of if isinstance(entry, Age) else entry
    where = f"{of.table.topic}.{of.name}" if isinstance(of, TableField) else "carried"
    unit = f" in {entry.unit.value}" if isinstance(entry, Age) else ""
    return f"{entry!r}" if isinstance(entry, ListPosition) else f"{where}{unit}"
