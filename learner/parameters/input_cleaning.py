"""Numbers cleaned on their way into the model: imputed, clipped, scaled; their buckets as ids.

What a pipeline declares (`freshrank.actors.inputs.cleaning`) is fitted to the numbers that came: to
their moments, their running quantiles, the last of them. All of these are rows of the array of
moments, and so a part of the weights: learner, shards and replicas with one version clean alike,
and a replay or a resumed run does what the first one did, to the last bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.inputs.cleaning import Bucketed, Clipped, Imputed, Scaled
from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Doubles, Floats, InputLayout, Inputs, Ints
from freshrank.learner.parameters.input_moments import (
    COUNT,
    FARTHEST,
    LAST,
    MEAN,
    VARIANCE,
    Scale,
    merge,
    scale_of,
    standardize,
)
from freshrank.learner.parameters.input_quantiles import (
    knots_of,
    most_frequent,
    no_knots,
    quantile,
)

_KNOTS = slice(LAST + 1, None)
# Ranges of quantiles, and how many standard deviations of a normal distribution they are wide. The
# first that is not empty tells the spread: where half of all are equal the quartiles do not.
_RANGES = ((0.25, 0.75, 1.349), (0.05, 0.95, 3.290))
_FILLS: Mapping[str, Callable[[Doubles], float]] = {
    "mean": lambda moments: float(moments[MEAN]),
    "median": lambda moments: quantile(moments[_KNOTS], 0.5),
    "most_frequent": lambda moments: most_frequent(moments[_KNOTS]),
    "last": lambda moments: float(moments[LAST]),
}


class _Plan(NamedTuple):
    """What a layout declares, by the columns of its dense inputs."""

    imputed: tuple[tuple[int, Imputed], ...]
    clipped: tuple[tuple[int, Clipped], ...]
    scaled: tuple[tuple[int, Scaled], ...]
    bucketed: tuple[tuple[int, Bucketed], ...]
    places: Ints
    """int64[k, 3]: an id column, and the number and the row of bounds whose bucket it takes."""

    @property
    def followed(self) -> list[int]:
        """The columns of which more than moments is kept."""
        all_of = (*self.imputed, *self.clipped, *self.scaled, *self.bucketed)
        return sorted({column for column, _ in all_of})


@functools.lru_cache
def _plan(layout: InputLayout) -> _Plan:
    named = [(layout.dense.index(one.name), one) for one in layout.cleaning]
    bucketed = tuple((at, one) for at, one in named if isinstance(one, Bucketed))
    row_of = {one.name: row for row, (_, one) in enumerate(bucketed)}
    places, begin = [], 0
    for field in layout.fields:
        for name in field.buckets:
            number = (layout.dense.index(name), row_of[name])
            places += [(column, *number) for column in range(begin, begin + field.width)]
        begin += field.width
    return _Plan(
        tuple((at, one) for at, one in named if isinstance(one, Imputed)),
        tuple((at, one) for at, one in named if isinstance(one, Clipped)),
        tuple((at, one) for at, one in named if isinstance(one, Scaled)),
        bucketed,
        np.array(places, dtype=np.int64).reshape(-1, 3),
    )


@dataclass(frozen=True)
class CleanedScale:
    """How the numbers of one version are cleaned."""

    rows: Doubles
    """float64[5, d]: what a missing number counts as, the least and the greatest value that one
    counts as, and its `Scale`."""
    bounds: Doubles
    """float64[q, b]: between the buckets of each number, ascending; infinite beyond the last."""
    missing: Ints
    """int64[q]: the bucket of a missing number."""
    places: Ints
    """See `_Plan`."""

    def numbers(self, dense: Floats) -> Floats:
        """float32[n, d]: the cleaned numbers of float32[n, d]."""
        found = np.empty(dense.shape, np.float32)
        _clean(dense, self.rows, found)
        return found

    def ids(self, inputs: Inputs) -> Ints:
        """int64[n, f]: the ids, those of buckets and of their crosses made of them."""
        if not len(self.places):
            return inputs.ids
        found = inputs.ids.copy()
        _mix_buckets(inputs.dense, self.bounds, self.missing, self.places, found)
        return found


@lean_kernel
def _clean(x: Floats, rows: Doubles, out: Floats) -> None:
    """See `CleanedScale.rows`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value = np.float64(x[i, j])
            if np.isnan(value):
                value = rows[0, j]
            scaled = (min(max(value, rows[1, j]), rows[2, j]) - rows[3, j]) * rows[4, j]
            out[i, j] = min(max(scaled, -FARTHEST), FARTHEST)


@lean_kernel
def _mix_buckets(x: Floats, bounds: Doubles, missing: Ints, places: Ints, ids: Ints) -> None:
    """Mix into ids int64[n, f] the buckets that their columns take; an absent id stays absent."""
    for i in range(x.shape[0]):
        for k in range(len(places)):
            column, row = places[k, 0], places[k, 2]
            if ids[i, column] == 0:
                continue
            value = np.float64(x[i, places[k, 1]])
            bucket = missing[row]
            if not np.isnan(value):
                bucket = 0
                while bucket < bounds.shape[1] and bounds[row, bucket] <= value:
                    bucket += 1
            ids[i, column] = mix(ids[i, column], bucket)


InputScale = Scale | CleanedScale | None
"""Of dense inputs; None: they stay as they are."""


def prepared_numbers(dense: Floats, scale: InputScale) -> Floats:
    """float32[n, d]: the numbers that the model is given."""
    if isinstance(scale, CleanedScale):
        return scale.numbers(dense)
    return standardize(dense, scale)


def prepared(inputs: Inputs, scale: InputScale) -> tuple[Floats, Ints]:
    """What the model is given: `prepared_numbers`, and int64[n, f] ids."""
    ids = scale.ids(inputs) if isinstance(scale, CleanedScale) else inputs.ids
    return prepared_numbers(inputs.dense, scale), ids


def no_statistics(layout: InputLayout, columns: int) -> Doubles:
    """float64[r, columns] of no example: three rows, and more where `layout` cleans numbers."""
    knots = no_knots(columns)
    return np.zeros((LAST + 1 + len(knots) if layout.cleaning else LAST, columns))


def statistics_of(layout: InputLayout, dense: Floats, before: Doubles) -> Doubles:
    """float64[r, d]: the statistics of float32[n, d] numbers, where some are cleaned.

    Moments are those of the numbers that are known, clipped by what `before` [r, d] and these give.
    """
    found, wide = no_statistics(layout, dense.shape[1]), dense.astype(np.float64)
    known = ~np.isnan(wide)
    found[COUNT] = known.sum(axis=0)
    plan = _plan(layout)
    for column in plan.followed:
        numbers = wide[known[:, column], column]
        if len(numbers):
            found[LAST, column], found[_KNOTS, column] = numbers[-1], knots_of(numbers)
    if plan.clipped:
        wide = np.clip(wide, *_bounds(layout, merge(before, found)))
    clipped = np.where(known, wide, 0.0)
    count = np.maximum(found[COUNT], 1.0)
    found[MEAN] = clipped.sum(axis=0) / count
    away = np.where(known, clipped - found[MEAN], 0.0)
    found[VARIANCE] = np.square(away).sum(axis=0) / count
    return found


def cleaned_scale(layout: InputLayout, moments: Doubles) -> InputScale:
    """The scale of inputs with these statistics, float64[r, d]."""
    scale = scale_of(moments)
    if scale is None or not layout.cleaning:
        return scale
    scale = Scale(scale.mean.copy(), scale.rate)
    plan, fill = _plan(layout), np.zeros(len(layout.dense))
    for column, imputed in plan.imputed:
        fill[column] = _fill(imputed, moments[:, column])
    low, high = _bounds(layout, moments)
    for column, scaled in plan.scaled:
        _rescale(scale, column, scaled.by, moments[_KNOTS, column], low[column], high[column])
    most = max((one.buckets for _, one in plan.bucketed), default=1)
    bounds = np.full((len(plan.bucketed), most - 1), np.inf)
    for row, (column, one) in enumerate(plan.bucketed):
        for number in range(1, one.buckets):
            bounds[row, number - 1] = quantile(moments[_KNOTS, column], number / one.buckets)
    missing = np.array([one.buckets for _, one in plan.bucketed], dtype=np.int64)
    return CleanedScale(np.array((fill, low, high, *scale)), bounds, missing, plan.places)


def _fill(imputed: Imputed, moments: Doubles) -> float:
    """What a missing number counts as, by its statistics float64[r]."""
    if not isinstance(imputed.by, str):  # as the encoder shrinks a number
        return math.copysign(math.log1p(abs(imputed.by)), imputed.by)
    return _FILLS[imputed.by](moments)


def _bounds(layout: InputLayout, moments: Doubles) -> tuple[Doubles, Doubles]:
    """float64[d] each: the least and the greatest value that each number counts as."""
    low, high = np.full(len(layout.dense), -np.inf), np.full(len(layout.dense), np.inf)
    for column, clipped in _plan(layout).clipped:
        knots = moments[_KNOTS, column]
        if clipped.deviations is None:
            low[column] = quantile(knots, clipped.low) if clipped.low > 0.0 else -np.inf
            high[column] = quantile(knots, clipped.high) if clipped.high < 1.0 else np.inf
        elif spread := _spread(knots):
            middle, away = quantile(knots, 0.5), clipped.deviations * spread
            low[column], high[column] = middle - away, middle + away
    return low, high


def _spread(knots: Doubles) -> float:
    """The standard deviation that wild values do not move; 0 where nearly all are equal."""
    for low, high, deviations in _RANGES:
        if wide := quantile(knots, high) - quantile(knots, low):
            return wide / deviations
    return 0.0


def _rescale(scale: Scale, column: int, by: str, knots: Doubles, low: float, high: float) -> None:
    """Put the scale of one input that is declared into `scale`."""
    if by == "min_max":
        least, greatest = max(quantile(knots, 0.0), low), min(quantile(knots, 1.0), high)
        scale.mean[column] = least
        scale.rate[column] = 1.0 / (greatest - least) if greatest > least else 0.0
    elif by == "robust" and (spread := _spread(knots)):
        scale.mean[column], scale.rate[column] = quantile(knots, 0.5), 1.0 / spread
