"""SmoothedRate over sliding windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import inlined
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import check_condition
from freshrank.feature_actors.aggregations.kernel_types import PARAMETERS, RowViews
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.rings import (
    Tiles,
    count_tiles,
    counter_words,
    window_operation,
)
from freshrank.feature_actors.aggregations.windowed.sums import Windowed
from freshrank.feature_actors.aggregations.windowed.windows import Tumbling
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.numbers import Indicator
from freshrank.feature_actors.streams.fields import Fields

# What an event adds to, in the number that the tiles are given: 1, 2, or both.
_SUCCESS, _TRIAL = 1, 2


def _rate_tiles() -> Tiles:
    """A ring of successes and one of trials; merged, their quotient with the prior."""
    trials, successes = count_tiles(skipped=0), count_tiles(skipped=1)
    clear_trials, update_trials, merge_trials = trials.clear, trials.update, trials.merge
    clear_successes, update_successes = successes.clear, successes.update
    merge_successes = successes.merge

    @inlined
    def clear(rows: RowViews, row: int, line: Ints, place: int) -> None:
        clear_trials(rows, row, line, place)
        clear_successes(rows, row, line, place)

    @inlined
    def update(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
        kinds = int(number)
        if kinds & _SUCCESS:
            update_successes(rows, row, line, place, number)
        if kinds & _TRIAL:
            update_trials(rows, row, line, place, number)

    @inlined
    def merge(rows: RowViews, row: int, line: Ints, first: int, last: int) -> float:
        constants = line[PARAMETERS:].view(np.float64)
        prior, expected = constants[0], constants[1]
        happened = merge_successes(rows, row, line, first, last)
        tried = merge_trials(rows, row, line, first, last)
        rate: float = (happened + prior * expected) / (tried + prior)
        return rate

    def identity(tiles: int) -> Ints:
        # The successes begin a word a tile behind: half of the words between are not used.
        return np.zeros(tiles + counter_words(tiles), dtype=np.int64)

    return Tiles(identity, clear, update, merge)


@dataclass(frozen=True)
class SmoothedRate(Windowed):
    """The events `of` a kind for each event `among` another, in each window, pulled to `expected`.

    With ``s`` and ``t`` events of both it is ``(s + prior * expected) / (t + prior)``, the mean of
    the posterior of a Beta distribution: `expected` while nothing is known, the plain rate after
    many more than `prior` trials. An event may be of both kinds.

    ``conversion = SmoothedRate(of=col.type == "order", among=col.type == "view", expected=0.02,
    windows=["1d"])`` is ``conversion_1d``. With 4 orders after 50 views it is
    (4 + 50 * 0.02) / (50 + 50) = 0.05.

    Parameters
    ----------
    of, among
        Conditions: which events are successes, and which are trials.
    expected
        The rate before any event.
    prior
        As many trials as `expected` counts for; greater than 0.
    where
        Limits both.
    """

    of: Expression
    among: Expression
    expected: float
    windows: Sequence[str | Tumbling] = ()
    prior: float = 50.0
    where: Expression | None = None
    hop: str | None = None
    delay: str | None = None

    verb = "rate"
    tiles = _rate_tiles()
    operation = window_operation(16, tiles, of_field=True)

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition, window, rate or prior."""
        check_condition(self.of, fields, f"{place}.of")
        check_condition(self.among, fields, f"{place}.among")
        _check_number(self.expected, f"{place}.expected", 0.0)
        _check_number(self.prior, f"{place}.prior", math.ulp(0.0))
        super().check(fields, place)

    def _inputs(self) -> str:
        return f"{self.of}; {self.among}; {self.expected!r}; {self.prior!r}; {self.where}"

    def _counted(self) -> Expression:
        either = self.of | self.among
        return either if self.where is None else either & self.where

    def _source(self, layout: Layout) -> int:
        kinds = _SUCCESS * Indicator(self.of) + _TRIAL * Indicator(self.among)
        return layout.number(kinds)

    def _parameters(self) -> tuple[float, float]:
        return float(self.prior), float(self.expected)


def _check_number(number: object, place: str, least: float) -> None:
    if not isinstance(number, int | float) or not least <= number < math.inf:
        raise ConfigError(
            place, f"{number!r} is no number of at least {least:g}", "Take e.g. 50 or 0.02."
        )


OPERATIONS = (SmoothedRate.operation,)
