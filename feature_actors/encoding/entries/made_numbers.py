"""Ages and the place in the list, as inputs."""

from __future__ import annotations

from typing import NamedTuple

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.streams.times.units import TimeUnit


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

        >>> import numpy as np
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
