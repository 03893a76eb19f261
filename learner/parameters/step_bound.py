"""How far a step may carry the outputs of its own examples.

The gradients of a step's examples were all computed before any of them was learned. Where they
agree, as they do when a base rate is still to be learned, or when thousands of weights correct the
same error at once, their sum carries an output far beyond where the error vanishes: a DeepFM of 39
id fields diverged in steps of 256. Bounds on each weight do not help, since it is their number that
does the harm; so the outputs themselves are looked at, before and after, of a few of the examples.
"""

from __future__ import annotations

import math

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats, Ints, Probes
from freshrank.learner.embeddings.pooling import pool
from freshrank.learner.models.losses import choice_probabilities
from freshrank.learner.parameters.input_cleaning import prepared_numbers
from freshrank.learner.parameters.weights import ModelWeights

# Overshoots below it are left alone: they would shorten the step by less than a seventh.
NEGLIGIBLE = 0.3
# The share of the way at which the curvature at its begin is measured.
_NEAR = 0.1
# An error of this share of the residuals is no reason to shorten a step that promises nothing,
# such as one of a momentum.
_NOISE = 1.0 / 16.0


@kernel
def decrease(gradient: Floats, before: Floats, rows: Floats, positions: Ints) -> float:
    """The first-order decrease of the loss by a change of rows, from ``before`` [u, w or wider]."""
    found = 0.0
    for i in range(len(positions)):
        after = rows[positions[i]]
        for j in range(gradient.shape[1]):
            found += np.float64(gradient[i, j]) * (np.float64(before[i, j]) - after[j])
    return found


def sequential_share(overshoot: float) -> float:
    """The share of a step that as many steps of one example would take.

    Each of them finds the error smaller by what those before it have learned: ``(1 - e^-c) / c``
    of the sum for an overshoot of ``c``. Karampatziakis and Langford: "Online Importance Weight
    Aware Updates", UAI 2011.

    >>> [round(sequential_share(overshoot), 2) for overshoot in (0.1, 1.0)]
    [1.0, 0.63]
    """
    return 1.0 if overshoot <= NEGLIGIBLE else -math.expm1(-overshoot) / overshoot


def share_apart(overshoot: float, gradients: int) -> float:
    """The share of a step that sums `gradients`, each of which was learned in order by itself.

    Each has the share of its own overshoot, and is to have that of all. One alone is taken as it
    is; of those that all say the same the step takes no more than one says.

    >>> [round(share_apart(overshoot, 4), 2) for overshoot in (0.1, 2.0, 100.0)]
    [1.0, 0.55, 0.25]
    """
    if overshoot <= NEGLIGIBLE:
        return 1.0
    of_each = overshoot / gradients
    return sequential_share(overshoot) / (-math.expm1(-of_each) / of_each)


class StepBound:
    """Measures a step by the outputs of its probes; made before the weights are changed.

    All ids of the probes are in the table, and stay where they are. The gradient of a `stale` step
    belongs to weights that were undone: it may promise what other examples had spoiled, and that
    is well by now. What such a step can gain is what the residuals of its probes tell.
    """

    def __init__(self, weights: ModelWeights, probes: Probes, stale: bool = False) -> None:
        self._weights, self._probes = weights, probes
        ids, table = probes.inputs.ids, weights.table
        self._where = table.find(ids.reshape(-1)).reshape(ids.shape)
        self._x = prepared_numbers(probes.inputs.dense, weights.scale)
        self._before = self._outputs()
        self._residuals = self._residuals_at(self._before)
        self._stale = stale
        # [k], or [k, 1] where there is an output for each class.
        self._shares = probes.shares.reshape(-1, *[1] * (self._before.ndim - 1))
        noise = _NOISE * float((self._shares * np.square(self._residuals)).sum())
        self._noise = 0.0 if stale else noise

    def overshoot(self, decrease: float | None = None) -> float:
        """How much of the `decrease` that it promises the step takes back by going far.

        1: it ends at the minimum of the loss along its way; above: beyond it. The curvature is the
        greater of that of the first tenth of the way and that of the whole: the loss of a
        probability is flat where the probability is certain, and only the first tells that it was
        not certain before. Nor does a step decrease the loss by more than all its outputs would if
        each moved the right way, whatever the gradient promises. Where it promises less than it
        holds, since its examples knew of each other, there is no `decrease`: the residuals tell.
        """
        moved = self._outputs() - self._before
        turned = self._residuals_at(self._before + moved) - self._residuals
        near = self._residuals_at(self._before + _NEAR * moved) - self._residuals
        weighted = self._shares * moved
        taken_back = max(float(np.vdot(weighted, turned)), float(np.vdot(weighted, near)) / _NEAR)
        gains = -weighted * self._residuals
        promised = float(gains.sum())
        if decrease is not None:
            most = promised if self._stale else float(np.abs(gains).sum())
            promised = min(decrease, most)
        found = taken_back / max(promised, self._noise, 1e-12)
        return found if math.isfinite(found) else math.inf

    def _outputs(self) -> Doubles:
        weights = self._weights
        table = weights.table
        pooled = pool(table.rows, self._where, weights.starts, table.init.width)
        return weights.model.outputs(weights.dense, self._x, pooled).astype(np.float64)

    def _residuals_at(self, outputs: Doubles) -> Doubles:
        target = self._weights.target
        at, offsets = outputs.astype(np.float32), self._probes.offsets
        predictions = (
            target.predictions(at) if offsets is None else choice_probabilities(at, offsets)
        )
        return target.residuals(self._probes.labels, None, predictions).astype(np.float64)
