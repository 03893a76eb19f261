"""How far the inputs of late differ from those of before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.messages import Doubles
from freshrank.actors.protocols import JsonValue
from freshrank.learner.parameters.input_moments import (
    COUNT,
    MEAN,
    ROUNDING,
    VARIANCE,
    merge,
    no_moments,
)

# Examples after which the weight of older ones has fallen to 1/e: of late, and of before.
_RECENT, _BEFORE = 2_000, 50_000
# Examples before the first comparison: the two would be of the same examples.
_WARM_UP = 5 * _RECENT
# Inputs in the status.
_LISTED = 20
# Beyond it an input is another one. It stands for infinity where an input did not vary.
_MOST = 100.0


def stability_index(recent: Doubles, before: Doubles) -> Doubles:
    """float64[d]: the population stability index of inputs with two moments, float64[3, d] each.

    That is the symmetric divergence of Jeffreys (1946) between both distributions, here between
    normal ones of these means and variances: 0 for equal ones, 1 where the mean moved by a standard
    deviation. By custom below 0.1 is steady, and beyond 0.25 a drift (Siddiqi, "Credit Risk
    Scorecards", 2006). At most 100.

    >>> before, moved = np.array([[99.0], [5.0], [4.0]]), np.array([[99.0], [7.0], [4.0]])
    >>> stability_index(moved, before).tolist(), stability_index(before, before).tolist()
    ([1.0], [0.0])
    """
    rounding = np.square(ROUNDING * np.maximum(np.abs(recent[MEAN]), np.abs(before[MEAN])))
    least = np.maximum(rounding, np.finfo(np.float64).tiny)
    one, other = np.maximum(recent[VARIANCE], least), np.maximum(before[VARIANCE], least)
    away = np.square(recent[MEAN] - before[MEAN])
    with np.errstate(over="ignore"):
        found = 0.5 * ((one + away) / other + (other + away) / one) - 1.0
    index: Doubles = np.clip(found, 0.0, _MOST)
    return index


class InputDrift:
    """Compares the dense inputs of the newest examples with those of the last 50,000.

    It knows what came since the start of the process. Drift alone is no harm, and no alert: the
    guard looks at the loss. It tells where to look when the loss has become worse.

    >>> drift = InputDrift(["price"])
    >>> drift.status()
    {'input_drift': [], 'input_drift_greatest': None}
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._recent, self._before = no_moments(len(names)), no_moments(len(names))
        self._examples = 0.0

    def add(self, moments: Doubles) -> None:
        """Count examples by the moments of a gradient: its first ``d`` columns are the inputs'."""
        moments = moments[: len(self._recent), : self._recent.shape[1]]
        if not moments.shape[1]:
            return
        self._examples += float(moments[COUNT, 0])
        self._recent = _faded(self._recent, moments, _RECENT)
        self._before = _faded(self._before, moments, _BEFORE)

    def status(self) -> dict[str, JsonValue]:
        """The inputs that changed most, by stability index; none before there is one."""
        if self._examples < _WARM_UP:
            return {"input_drift": [], "input_drift_greatest": None}
        found = stability_index(self._recent, self._before).round(4).tolist()
        ordered = sorted(zip(found, self._names, strict=True), key=lambda one: (-one[0], one[1]))
        return {
            "input_drift": [{"input": name, "index": index} for index, name in ordered[:_LISTED]],
            "input_drift_greatest": ordered[0][0],
        }


def _faded(before: Doubles, more: Doubles, horizon: int) -> Doubles:
    """The moments of both, of which those before count for at most `horizon` examples."""
    kept = before.copy()
    np.minimum(kept[COUNT], horizon, out=kept[COUNT])
    return merge(kept, more)
