"""The scale of dense inputs, learned as they come: a model sees each input standardised.

An input's moments are a part of the weights: learner, shards and replicas with one version
standardise alike. A shard standardises the examples of a gradient by the moments of its weights
merged with those of these examples, so that the first examples of all have a scale, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.parameters.input_quantiles import merge_knots

# Examples beyond which older ones begin to count for less: the scale follows inputs that drift.
MOST_EXAMPLES = 1e6
# Standard deviations beyond which an input counts as so far away: one wild value moves no weight by
# more than ten common ones would.
FARTHEST = 10.0
# The spread, as a share of the mean, that is the rounding of float32 and none of the input's own.
ROUNDING = 1e-6

COUNT, MEAN, VARIANCE, LAST = range(4)
"""The rows of an array of moments, float64[3, d]. Where numbers are cleaned (`input_cleaning`) it
has more: the value that came last, and the knots of the distribution."""


def no_moments(inputs: int) -> Doubles:
    """The moments of no example."""
    return np.zeros((3, inputs))


def unscaled(inputs: int) -> Doubles:
    """Moments under which inputs stay as they are, whatever comes: weights of before have these."""
    return np.repeat(np.array([[np.inf], [0.0], [1.0]]), inputs, axis=1)


def moments_of(x: Floats) -> Doubles:
    """The moments of float32[n, d] inputs.

    >>> moments_of(np.array([[1.0], [3.0]], np.float32))[:, 0].tolist()
    [2.0, 2.0, 1.0]
    """
    if not x.size:
        return no_moments(x.shape[1])
    wide = x.astype(np.float64)
    mean = wide.mean(axis=0)
    count = np.full(len(mean), float(len(x)))
    return np.array((count, mean, np.square(wide - mean).mean(axis=0)))


def merge(before: Doubles, more: Doubles) -> Doubles:
    """The moments of both together.

    Chan, Golub, LeVeque: "Algorithms for Computing the Sample Variance", The American Statistician
    1983; the count stays at `MOST_EXAMPLES`, where older examples fade. Further rows: `LAST`.

    >>> some, more = (moments_of(np.array(x, np.float32)) for x in ([[1.0]], [[3.0], [5.0]]))
    >>> merge(some, more)[:, 0].round(2).tolist()
    [3.0, 3.0, 2.67]
    """
    if not before.shape[1]:
        return before
    count = before[COUNT] + more[COUNT]
    share = np.divide(more[COUNT], count, out=np.zeros_like(count), where=count > 0)
    away = more[MEAN] - before[MEAN]
    variance = before[VARIANCE] + share * (more[VARIANCE] - before[VARIANCE])
    variance += share * (1.0 - share) * np.square(away)
    kept = np.where(np.isfinite(count), np.minimum(count, MOST_EXAMPLES), count)
    moments = np.array((kept, before[MEAN] + share * away, variance))
    if len(before) == len(moments):
        return moments
    last = np.where(more[COUNT] > 0.0, more[LAST], before[LAST])
    knots = merge_knots(before[LAST + 1 :], more[LAST + 1 :], share)
    return np.concatenate([moments, last[np.newaxis], knots])


class Scale(NamedTuple):
    """Of each of ``d`` inputs."""

    mean: Doubles
    """float64[d]."""
    rate: Doubles
    """float64[d]: 1 through the standard deviation; 0 where an input has always been the same."""


def scale_of(moments: Doubles) -> Scale | None:
    """The scale of inputs with these `moments`; None where they stay as they are."""
    if np.isinf(moments[COUNT]).all():
        return None
    mean, deviation = moments[MEAN], np.sqrt(moments[VARIANCE])
    varies = deviation > ROUNDING * np.abs(mean)
    return Scale(mean, np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies))


@lean_kernel
def _standardize(x: Floats, mean: Doubles, rate: Doubles, out: Floats) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            scaled = (np.float64(x[i, j]) - mean[j]) * rate[j]
            if scaled > FARTHEST:
                scaled = FARTHEST
            elif scaled < -FARTHEST:
                scaled = -FARTHEST
            out[i, j] = scaled


def standardize(x: Floats, scale: Scale | None) -> Floats:
    """float32[n, d]: `x` in standard deviations from the mean, at most `FARTHEST`.

    0 where an input has always been the same.

    >>> x = np.array([[1.0], [3.0]], np.float32)
    >>> standardize(x, scale_of(moments_of(x))).tolist(), standardize(x, None).tolist()
    ([[-1.0], [1.0]], [[1.0], [3.0]])
    """
    if scale is None:
        return x
    found = np.empty(x.shape, np.float32)
    _standardize(x, scale.mean, scale.rate, found)
    return found
