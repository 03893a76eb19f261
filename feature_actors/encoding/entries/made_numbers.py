"""Numbers of the context that are made when they are needed: ages, and the place in the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.features.service import Candidates
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.encoding.candidate_columns import column_of
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.streams.times.units import TimeUnit
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan


class Age(NamedTuple):
    """How long ago the time was that a field has, in seconds; before it, below 0."""

    of: str | TableField
    unit: TimeUnit

    @property
    def name(self) -> str:
        """That of the input: ``published_age``."""
        return f"{self.of if isinstance(self.of, str) else self.of.name}_age"

    @property
    def field(self) -> Field:
        """Its name and kind."""
        return Field(self.name, Kind.NUMBER, optional=True)

    def seconds(self, times: Doubles, at_ms: int | Ints) -> Doubles:
        """float64[n]: the ages at `at_ms` of what has the times float64[n]; NaN where it has none.

        >>> Age("published", TimeUnit.SECONDS).seconds(np.array([90.0, np.nan]), 100_000).tolist()
        [10.0, nan]
        """
        return (at_ms - times * (1000.0 / self.unit.per_second)) / 1000.0


class ListPosition(NamedTuple):
    """The place in a list at which an item was shown."""

    served: int
    """That by which all candidates are scored."""

    @property
    def name(self) -> str:
        """That of the input."""
        return "position"

    @property
    def field(self) -> Field:
        """Its name and kind."""
        return Field(self.name, Kind.NUMBER)


def age(field: str | TableField, unit: str = "ms") -> Age:
    """How long ago the time was that a field has, as a numeric input in seconds.

    ``context=["item_id", age(catalogue.published)]`` is the input ``published_age``: as of the
    request when it is scored, and the same number when it is learned. It is missing where the field
    is, and below 0 before that time.

    Parameters
    ----------
    field
        Of integers or numbers, times since 1970-01-01 00:00 UTC: of a table, or by its name of the
        stream, whose candidates carry it then.
    unit
        Of these times: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.

    Raises ConfigError for what is no field, and for another unit.

    >>> age("published", "s").name
    'published_age'
    """
    if not isinstance(field, str | TableField):
        raise ConfigError(f"age({field!r})", "that is no field", "Write age(catalogue.published).")
    if unit not in list(TimeUnit):
        raise ConfigError(
            f"age(..., unit={unit!r})", "that is no unit", 'Take "s", "ms", "us" or "ns".'
        )
    return Age(field, TimeUnit(unit))


def position(served: int = 0) -> ListPosition:
    """The place in its list at which an item was shown, from 0 on, as the input ``position``.

    What is shown first is clicked more often, whatever it is. Where a model learns that from
    `position`, its other weights need not: what is learned is the place at which an item was shown,
    and all candidates are scored as if they were shown at one, `served`.

    Raises ConfigError for a place that no list has.

    >>> position()
    ListPosition(served=0)
    """
    if isinstance(served, bool) or not isinstance(served, int) or served < 0:
        raise ConfigError(
            f"position({served!r})", "that is no place in a list", "Take 0, the first, or another."
        )
    return ListPosition(served)


class MadeNumbers:
    """Makes the numbers of a context.

    Parameters
    ----------
    entries
        Of the context.
    """

    def __init__(self, entries: Sequence[object]) -> None:
        self._ages = [entry for entry in entries if isinstance(entry, Age)]
        places = [entry for entry in entries if isinstance(entry, ListPosition)]
        self.position = places[0] if places else None
        self.names = frozenset(entry.name for entry in (*self._ages, *places))
        self.carried = frozenset(one.of for one in self._ages if isinstance(one.of, str))
        """The fields of candidates that ages are made of."""
        self.canonical = ", ".join(
            [*(f"{one.name} {one.unit}" for one in self._ages), *map(repr, places)]
        )
        """What the names of the inputs do not tell."""

    def of_candidates(self, candidates: Candidates, at_ms: int) -> Mapping[str, Ints | Doubles]:
        """By name: what is made of the fields of candidates, and the place to score them by.

        Raises RequestError for times that are no numbers.
        """
        found: dict[str, Ints | Doubles] = {
            one.name: one.seconds(
                column_of(one.of, Kind.NUMBER, candidates).astype(np.float64), at_ms
            )
            for one in self._ages
            if isinstance(one.of, str)
        }
        if self.position is not None:
            found[self.position.name] = np.array([float(self.position.served)])
        return found

    def of_rows(self, plan: LatestRowPlan, rows: Doubles, at_ms: int) -> Mapping[str, Doubles]:
        """By name float64[m]: what is made of fields of `rows` float64[m, words] of a table."""
        return {
            one.name: one.seconds(plan.number(one.of.name, rows), at_ms)
            for one in self._ages
            if isinstance(one.of, TableField) and one.of.table is plan.source
        }

    def of_events(self, columns: Columns) -> Mapping[str, Doubles]:
        """By name float64[n]: the ages at the times of events, which have the fields themselves."""
        return {
            one.name: one.seconds(columns.number(one.of), columns.event_times_ms)
            for one in self._ages
            if isinstance(one.of, str)
        }
