"""l1 and l2: what pulls weights to zero, by the number of examples that were learned."""

from __future__ import annotations

from typing import NamedTuple

from freshrank.actors.kernels.compile import subkernel


class Penalty(NamedTuple):
    """What pulls the weights of a kernel's rows to zero."""

    l1: float
    l2: float
    first: int
    """The first column that is pulled: the bias, where it is among the weights, is not."""


@subkernel
def shrunk(weight: float, penalty: Penalty, rate: float, examples: float) -> float:
    """`weight` after so many steps of `rate` on ``l1 |w| + l2 w² / 2`` alone.

    It never crosses zero, and is the same for a step of many examples as for as many of one.
    """
    size = abs(weight) - examples * rate * penalty.l1
    if size <= 0.0:
        return 0.0
    size *= float((1.0 + rate * penalty.l2) ** -examples)
    return size if weight > 0.0 else -size
