"""Integrated gradients of any model, from its outputs alone.

Sundararajan, Taly, Yan: "Axiomatic Attribution for Deep Networks", ICML 2017. All inputs grow in
proportion from zero to their values; what an input contributes is the integral, along this path, of
the output's slope in it. A model of the pipeline's own gives outputs and no slopes in its dense
inputs, so the slopes are differences here. The path is cut into pieces. Over one piece, an input
contributes the mean of what the output changes by when it alone takes the step, from the begin of
the piece and towards its end. That is exact where the output has no terms beyond pairs of inputs,
of which each input gets half, and approaches the integral as pieces become shorter.

A piece is halved where the contributions over it do not add up to the output's change, up to a
bound. What they miss then is the residual of the explanation.
"""

from __future__ import annotations

import math

import numpy as np

from freshrank.actors.messages import Bools, Doubles, Floats
from freshrank.learner.models.base import Model

_FIRST_PIECES = 16
# Times that a piece is halved: the shortest is a 4096th of the path.
_MOST_HALVINGS = 8
# Pieces of one round: bounds the memory, and the time that an explanation takes.
_MOST_PIECES = 64
# Beyond so many times their rounding (float32) contributions count as not adding up.
_ROUNDINGS = 8.0


def along_path(
    model: Model, dense: Floats, x: Floats, pooled: Floats
) -> tuple[Doubles, Doubles]:
    """What the outputs are made of: base float64[n], and contributions float64[n, d + F].

    Parameters
    ----------
    model
        Any: only its `outputs` are computed.
    dense, x, pooled
        float32[p], float32[n, d] and float32[n, F, w], as `Model.outputs` takes them.
    """
    base = np.zeros(len(x))
    each = np.zeros((len(x), x.shape[1] + pooled.shape[1]))
    for row in range(len(x)):
        path = _Path(model, dense, x[row], pooled[row])
        base[row] = path.outputs(np.zeros(1))[0]
        each[row] = _integral(path)
    return base, each


class _Path:
    """The straight way from inputs of zero, at 0, to one row of inputs, at 1."""

    def __init__(self, model: Model, dense: Floats, x: Floats, pooled: Floats) -> None:
        self._model = model
        self._dense = dense
        self._x = x
        self._pooled = pooled

    def outputs(self, at: Doubles) -> Doubles:
        """float64[k]: the output at each of `at` float64[k]."""
        scale = at.astype(np.float32)
        return self._of(scale[:, None] * self._x, scale[:, None, None] * self._pooled)

    def steps(self, here: Doubles, there: Doubles) -> Doubles:
        """float64[k, d + F]: what the output changes by when one input alone goes over.

        That is from `here` float64[k] to `there` float64[k], while all others stay.
        """
        inputs, fields = len(self._x), len(self._pooled)
        own = np.eye(inputs + fields, dtype=np.bool_)
        # By piece and input that goes: where each of the inputs is.
        at = np.where(own, there[:, None, None], here[:, None, None]).astype(np.float32)
        at = at.reshape(-1, inputs + fields)
        moved = self._of(at[:, :inputs] * self._x, at[:, inputs:, None] * self._pooled)
        return moved.reshape(-1, inputs + fields) - self.outputs(here)[:, None]

    def _of(self, x: Floats, pooled: Floats) -> Doubles:
        return self._model.outputs(self._dense, x, pooled).astype(np.float64)


def _integral(path: _Path) -> Doubles:
    """float64[d + F]: the contributions over the whole of `path`."""
    places = np.linspace(0.0, 1.0, _FIRST_PIECES + 1)
    begins, ends = places[:-1], places[1:]
    total: Doubles = np.zeros(1)
    for _ in range(_MOST_HALVINGS):
        each = _over_pieces(path, begins, ends)
        rough = _do_not_add_up(path, begins, ends, each)
        if 2 * np.count_nonzero(rough) > _MOST_PIECES:
            return total + each.sum(axis=0)
        total = total + each[~rough].sum(axis=0)
        if not rough.any():
            return total
        middles = 0.5 * (begins[rough] + ends[rough])
        begins = np.concatenate([begins[rough], middles])
        ends = np.concatenate([middles, ends[rough]])
    return total + _over_pieces(path, begins, ends).sum(axis=0)


def _over_pieces(path: _Path, begins: Doubles, ends: Doubles) -> Doubles:
    """float64[k, d + F]: the contributions over each piece."""
    return 0.5 * (path.steps(begins, ends) - path.steps(ends, begins))


def _do_not_add_up(path: _Path, begins: Doubles, ends: Doubles, each: Doubles) -> Bools:
    before, after = path.outputs(begins), path.outputs(ends)
    largest = 1.0 + np.maximum(np.abs(before), np.abs(after))
    # Each contribution is a difference of rounded outputs; their errors are independent.
    rounding = float(np.finfo(np.float32).eps) * largest * math.sqrt(max(1, each.shape[1]))
    missed: Doubles = np.abs(after - before - each.sum(axis=1))
    return missed > _ROUNDINGS * rounding
