"""Inputs that are made of other numbers: whether one is missing, how far it is from the usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.actors.inputs.cleaning import Cleaning
from freshrank.actors.messages import Doubles, Floats, Ints

_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class DerivedInputs:
    """What is made of numbers: inputs beside their own, and how the learner cleans them.

    Each number is named by its feature or field.

    A number that is missing is 0 as an input, as the number 0 is: ``idle_missing``, 1 or 0, tells
    them apart. ``price_relative`` is by how much a candidate's price is above the median of all
    candidates of the request that have one; 0 where it has none.
    """

    missing: Sequence[str] = ()
    relative: Sequence[str] = ()
    cleaning: Sequence[Cleaning] = ()
    """See `CleanedNumbers`."""


def difference_from_median(numbers: Doubles) -> Doubles:
    """float64[n]: each number less the median of those that are not NaN, which stay NaN.

    >>> difference_from_median(np.array([3.0, np.nan, 5.0, 10.0])).tolist()
    [-2.0, nan, 0.0, 5.0]
    """
    known = numbers[~np.isnan(numbers)]
    with np.errstate(over="ignore", invalid="ignore"):  # of the largest numbers, and of infinity
        return numbers - (np.median(known) if len(known) else 0.0)


def _is_missing(numbers: Doubles) -> Doubles:
    return np.isnan(numbers).astype(np.float64)


def _shrunk(numbers: Doubles) -> Doubles:
    """As `gather.gather_numbers` shrinks a number, so that both have one scale."""
    sizes = np.minimum(np.abs(np.nan_to_num(numbers, posinf=_LARGEST, neginf=-_LARGEST)), _LARGEST)
    return np.sign(np.nan_to_num(numbers)) * np.log1p(sizes)


class _Derivation(NamedTuple):
    argument: str
    """Of a pipeline."""
    compute: Callable[[Doubles], Doubles]
    shown: Callable[[Doubles], Doubles]
    """The input of what is computed."""


_KINDS = (
    _Derivation("missing", _is_missing, np.array),
    _Derivation("relative", difference_from_median, _shrunk),
)


class DerivedNumbers:
    """Fills the columns of `DerivedInputs`.

    Parameters
    ----------
    wanted
        What a pipeline declares.
    parts
        The names of the numbers of each table of features, and at last those of the context.

    Raises ConfigError for a name that no number has, or that is given twice.
    """

    def __init__(self, wanted: DerivedInputs, parts: Sequence[Sequence[str]]) -> None:
        places = {
            name: (part, column)
            for part, names in enumerate(parts)
            for column, name in enumerate(names)
        }
        self._columns: list[tuple[_Derivation, str, tuple[int, int]]] = []
        for kind in _KINDS:
            given = getattr(wanted, kind.argument)
            _check_names(kind.argument, given, places)
            self._columns += [(kind, name, places[name]) for name in given]

    @property
    def names(self) -> Mapping[str, tuple[str, str]]:
        """By name of an input: the number that it is made of, and the kind (``missing``)."""
        return {f"{of}_{kind.argument}": (of, kind.argument) for kind, of, _ in self._columns}

    def fill(
        self, numbers: Sequence[Doubles], which: Sequence[Ints], first: int, dense: Floats
    ) -> None:
        """Fill the columns of `dense` float32[n, d] from column `first` on.

        Row ``i`` takes line ``which[part][i]`` of the numbers of a part.
        """
        for place, (kind, _, (part, column)) in enumerate(self._columns):
            own = numbers[part][which[part], column]
            dense[:, first + place] = kind.shown(kind.compute(own))

    def values(self, candidates: Iterable[Mapping[str, object]]) -> dict[str, list[float | None]]:
        """By name of an input, its value for each of the candidates of a request, for people.

        `candidates` have the numbers that they are made of, or None, by name.
        """
        rows = list(candidates)
        found: dict[str, list[float | None]] = {}
        for kind, of, _ in self._columns:
            own = np.array([row[of] for row in rows], dtype=np.float64)
            computed = kind.compute(own).tolist()
            found[f"{of}_{kind.argument}"] = [None if math.isnan(one) else one for one in computed]
        return found


def _check_names(argument: str, given: object, places: Mapping[str, object]) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(argument, f"{given!r} is no list of names", 'Write e.g. ["price"].')
    for index, name in enumerate(given):
        if not isinstance(name, str) or name not in places:
            raise ConfigError(
                f"{argument}[{index}]",
                f"{name!r} is no numeric input",
                did_you_mean(name, places),
            )
        if name in given[:index]:
            raise ConfigError(f"{argument}[{index}]", f"{name!r} is given twice", "Drop one.")
