"""Integrated gradients of any model, from its outputs alone.

Sundararajan, Taly, Yan: "Axiomatic Attribution for Deep Networks", ICML 2017. All inputs grow in
proportion from zero to their values; what an input contributes is the integral, along this path, of
the output's slope in it. A model of the pipeline's own gives outputs and no slopes in its dense
inputs, so the slopes are differences here. The path is cut into pieces. Over one piece, an input
contributes the mean of what the output changes by when it alone takes the step, from the begin of
the piece and towards its end. That is exact where inputs meet in pairs only, of which each gets
half, and elsewhere off by the square of a piece's length.

A piece is halved as long as its halves tell otherwise, those that differ most first, until a bound
on the work is reached. What contributions miss of the output is the residual of the explanation.
"""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.base import Model

_FIRST_PIECES = 4
# Outputs that are computed for one row, beyond those of the first pieces and their halves: as many
# as for the candidates of a few large requests to score.
_MOST_OUTPUTS = 4_096
# Contributions over a piece that its halves change by less are right, as a share of the output: a
# multiple of their rounding (float32).
_TOLERANCE = 5e-6


def along_path(model: Model, dense: Floats, x: Floats, pooled: Floats) -> tuple[Doubles, Doubles]:
    """What the outputs are made of: base float64[n], and contributions float64[n, d + F].

    Of a model of classes the output of each row's likeliest one.

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
        end = model.outputs(dense, x[None], pooled[None])
        self._output = () if end.ndim == 1 else (end[0].argmax(),)
        """The place of the output that is explained, where there is one for each class."""

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
        outputs = self._model.outputs(self._dense, x, pooled)
        return outputs[(slice(None), *self._output)].astype(np.float64)


def _integral(path: _Path) -> Doubles:
    """float64[d + F]: the contributions over the whole of `path`."""
    places = np.linspace(0.0, 1.0, _FIRST_PIECES + 1)
    begins, ends = places[:-1], places[1:]
    tolerance = _TOLERANCE * (1.0 + float(np.abs(path.outputs(places)).max()))
    each = _over_pieces(path, begins, ends)
    total = np.zeros(each.shape[1])
    affordable = _MOST_OUTPUTS // (4 * (each.shape[1] + 1))
    while len(each):
        middles = 0.5 * (begins + ends)
        left, right = _over_pieces(path, begins, middles), _over_pieces(path, middles, ends)
        errors = np.abs(left + right - each).max(axis=1)
        rough = np.argsort(-errors)[: max(0, affordable // 2)]
        rough = rough[errors[rough] > tolerance]
        total += np.delete(left + right, rough, axis=0).sum(axis=0)
        affordable -= 2 * len(rough)
        each = np.concatenate([left[rough], right[rough]])
        begins, ends = (
            np.concatenate([begins[rough], middles[rough]]),
            np.concatenate([middles[rough], ends[rough]]),
        )
    return total


def _over_pieces(path: _Path, begins: Doubles, ends: Doubles) -> Doubles:
    """float64[k, d + F]: the contributions over each piece."""
    return 0.5 * (path.steps(begins, ends) - path.steps(ends, begins))
