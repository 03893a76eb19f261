"""Which numbers the learner cleans, and that it is told where one of them is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.actors.inputs.cleaning import Bucketed, Cleaning, Clipped, Imputed, Scaled, filled
from freshrank.actors.messages import Doubles, Floats, Ints


class CleanedNumbers:
    """Puts NaN where a number is missing that the learner fills or buckets.

    Parameters
    ----------
    cleaning
        What a pipeline declares.
    parts
        The names of the numbers of each table of features, and at last those of the context.
    dense
        The names of all dense inputs: first those of `parts`.

    Raises ConfigError for a name that no number has, and for two declarations of a kind.
    """

    def __init__(
        self, cleaning: Sequence[Cleaning], parts: Sequence[Sequence[str]], dense: Sequence[str]
    ) -> None:
        own = [name for names in parts for name in names]
        _check(cleaning, own, dense)
        self.declared = tuple(cleaning)
        told = filled(cleaning)
        self._columns = [
            (part, column, dense.index(name))
            for part, names in enumerate(parts)
            for column, name in enumerate(names)
            if name in told
        ]
        self.told = sorted(told.intersection(own))
        """The numbers that are NaN where they are missing."""

    @property
    def bucketed(self) -> list[Bucketed]:
        """The numbers that are ids, too."""
        return [one for one in self.declared if isinstance(one, Bucketed)]

    @property
    def numbers(self) -> Mapping[str, str]:
        """By name of an id input: the number whose bucket it is."""
        return {one.input: one.name for one in self.bucketed}

    def mark(self, numbers: Sequence[Doubles], which: Sequence[Ints], dense: Floats) -> None:
        """Put NaN into `dense` float32[n, d]; row ``i`` takes line ``which[part][i]`` of a part."""
        for part, column, place in self._columns:
            dense[np.isnan(numbers[part][which[part], column]), place] = np.nan


def _check(cleaning: object, own: Sequence[str], dense: Sequence[str]) -> None:
    if isinstance(cleaning, str) or not isinstance(cleaning, Sequence):
        raise ConfigError("cleaning", f"{cleaning!r} is no list", 'Write [Clipped("price")].')
    seen: set[tuple[type, str]] = set()
    for index, one in enumerate(cleaning):
        place = f"cleaning[{index}]"
        if not isinstance(one, Clipped | Imputed | Scaled | Bucketed):
            raise ConfigError(
                place, f"{one!r} cleans nothing", "Take Clipped, Imputed, Scaled or Bucketed."
            )
        known = own if isinstance(one, Imputed) else dense
        if one.name not in known:
            raise ConfigError(
                place,
                f"{one.name!r} is no numeric input that it can clean (an integer is an id, but for "
                "as_number)",
                did_you_mean(one.name, known),
            )
        if (type(one), one.name) in seen:
            what = type(one).__name__
            raise ConfigError(place, f"a second {what} of {one.name!r}", "Drop one of them.")
        seen.add((type(one), one.name))
