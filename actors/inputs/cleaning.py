"""How numbers are cleaned on their way into a model: what a pipeline declares of each by its name.

Each declaration is fitted to what has come: its bounds, its fill, its ranges are part of what the
learner versions. A number that several name is imputed first, then clipped, then scaled. Its
buckets are those of the number as it came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TypeAlias

from freshrank.actors.errors import ConfigError, did_you_mean

SCALES = ("standard", "min_max", "robust")
FILLS = ("mean", "median", "most_frequent", "last")
# The shares of the values below the bounds where none are named.
LOW, HIGH = 0.01, 0.99
# More ranges than the quantiles that are followed could tell apart.
MOST_BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Clipped:
    """Values beyond two bounds count as the nearer bound (winsorising).

    The bounds are running quantiles, or lie so many robust standard deviations from the running
    median (a quarter of the values lies beyond 0.674 of them on either side, as of a normal
    distribution).

    Parameters
    ----------
    name
        Of a numeric input.
    low, high
        The shares of the values that lie below each bound; 0 and 1 are no bounds.
    deviations
        In place of `low` and `high`.

    Raises ConfigError for bounds that are none.

    >>> Clipped("price", high=0.99), Clipped("price", deviations=4.0)
    (Clipped(name='price', low=0.01, high=0.99, deviations=None), \
Clipped(name='price', low=0.01, high=0.99, deviations=4.0))
    """

    name: str
    _: KW_ONLY
    low: float = LOW
    high: float = HIGH
    deviations: float | None = None

    def __post_init__(self) -> None:
        place = f"Clipped({self.name!r})"
        for name in ("low", "high") if self.deviations is None else ("deviations",):
            _check_number(f"{place}.{name}", getattr(self, name))
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ConfigError(
                place,
                f"low={self.low!r} and high={self.high!r} are no shares in this order",
                "Take e.g. low=0.01, high=0.99.",
            )
        if self.deviations is None:
            return
        if not 0.0 < self.deviations < math.inf:
            raise ConfigError(
                f"{place}.deviations", f"{self.deviations!r} is no distance", "Take e.g. 4.0."
            )
        if (self.low, self.high) != (LOW, HIGH):
            raise ConfigError(
                place,
                "it has bounds by shares (low, high) and by deviations",
                "Leave one of them out.",
            )


@dataclass(frozen=True, slots=True)
class Imputed:
    """A number that is missing counts as another; without it as 0.

    Parameters
    ----------
    name
        Of a feature or a numeric field of the context.
    by
        ``"mean"``, ``"median"``, ``"most_frequent"`` or ``"last"`` of the values that came, or a
        constant in the number's own unit.

    Raises ConfigError for anything else, with the nearest name.

    >>> Imputed("age", "medain")
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.ConfigError: Imputed('age').by: 'medain' is no way to fill. Did you \
mean 'median'?
    """

    name: str
    by: str | float

    def __post_init__(self) -> None:
        place = f"Imputed({self.name!r}).by"
        if isinstance(self.by, str):
            _check_one_of(place, self.by, "way to fill", FILLS)
        else:
            _check_number(place, self.by)


@dataclass(frozen=True, slots=True)
class Scaled:
    """The scale of a number: by mean and standard deviation where none is declared.

    Parameters
    ----------
    name
        Of a numeric input.
    by
        ``"standard"``; ``"min_max"``: from 0 for the least value that came to 1 for the greatest;
        ``"robust"``: by the median and the range between the quartiles, which wild values do not
        move.

    Raises ConfigError for another scale, with the nearest name.
    """

    name: str
    by: str = "standard"

    def __post_init__(self) -> None:
        place = f"Scaled({self.name!r}).by"
        _check_one_of(place, self.by, "scale", SCALES)


@dataclass(frozen=True, slots=True)
class Bucketed:
    """An id input beside a number, ``<name>_bucket``: the range of running quantiles it lies in.

    The id is that of the range's place, from the lowest: weights stay with it while its bounds
    move. A number that is missing has an id of its own. Crosses may name it.

    Parameters
    ----------
    name
        Of a numeric input.
    buckets
        How many ranges, each of which about as many values lie in.

    Raises ConfigError for a number of buckets that is not between 2 and 64.
    """

    name: str
    buckets: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.buckets, int) or not 2 <= self.buckets <= MOST_BUCKETS:
            raise ConfigError(
                f"Bucketed({self.name!r}).buckets",
                f"{self.buckets!r} is no number of ranges",
                f"Take 2 to {MOST_BUCKETS}.",
            )

    @property
    def input(self) -> str:
        """The name of its id input."""
        return f"{self.name}_bucket"


Cleaning: TypeAlias = Clipped | Imputed | Scaled | Bucketed


def filled(cleaning: Sequence[Cleaning]) -> set[str]:
    """The names of the numbers that the learner is told of where they are missing, by NaN.

    >>> filled([Clipped("price"), Imputed("age", "mean"), Bucketed("price")]) == {"age", "price"}
    True
    """
    return {one.name for one in cleaning if isinstance(one, Imputed | Bucketed)}


def _check_number(place: str, given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ConfigError(place, f"{given!r} is no number", "Take a finite one.")


def _check_one_of(place: str, given: str, what: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ConfigError(place, f"{given!r} is no {what}", did_you_mean(given, known))
