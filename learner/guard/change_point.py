"""Where in a sequence of examples a worse loss began and ended."""

from __future__ import annotations

import math

import numpy as np

from freshrank.actors.messages import Bools, Doubles


def sharpened(
    marked: Bools, counts: Doubles, losses: Doubles, normal: float, tolerance: float
) -> Bools:
    """Move the ends of marked runs to where the loss changed.

    A detector marks ranges of examples from the first that is worse than usual by chance, and it
    cannot tell the last ones from those after them. The ends are estimated by maximum likelihood
    (Hinkley: "Inference about the change-point in a sequence of random variables", Biometrika
    1970), as if losses were distributed exponentially, about `normal` without a mark, and about
    the mean of what is marked with one. Where that mean is no worse than what is tolerated, no
    mark stays.

    >>> marked = np.array([False, True, True, False, False])
    >>> losses = np.array([4.0, 5.0, 20.0, 18.0, 4.0])
    >>> sharpened(marked, np.full(5, 10.0), losses, 0.4, 0.3).tolist()
    [False, False, True, True, False]

    Parameters
    ----------
    marked, counts, losses
        By range, in order: bool[n], the number of examples, and the sum of their losses.
    normal
        The mean loss that examples have as a rule; 0 where it is not known.
    tolerance
        The share by which a mean loss may exceed it.
    """
    if normal <= 0.0 or counts[marked].sum() <= 0.0:
        return marked
    worse = float(losses[marked].sum() / counts[marked].sum())
    if worse <= (1.0 + tolerance) * normal:
        return np.zeros_like(marked)
    gained = _gained(counts, losses, normal, worse)
    edges = np.flatnonzero(np.diff(marked, prepend=False, append=False))
    found = np.zeros_like(marked)
    free = 0
    for number in range(0, len(edges), 2):
        following = edges[number + 2] if number + 2 < len(edges) else len(marked)
        end = edges[number + 1]
        begin = free + int(np.argmin(gained[free:end]))
        end = begin + 1 + int(np.argmax(gained[begin + 1 : following + 1]))
        found[begin:end] = True
        free = end
    return found


def worse_ranges(
    counts: Doubles, losses: Doubles, normal: float, worse: float, tolerance: float
) -> int:
    """How many ranges, from the first, came before the loss was normal again.

    The estimate is that of `sharpened`, where the mean loss without the change back is known.

    >>> worse_ranges(np.full(4, 10.0), np.array([19.0, 21.0, 4.0, 5.0]), 0.4, 2.0, 0.3)
    2

    Parameters
    ----------
    counts, losses
        By range, in order: float64[n], the number of examples, and the sum of their losses.
    normal, worse
        The mean losses that examples have as a rule, and had before the first range. Where `worse`
        is no worse than what is tolerated, or `normal` is not known (0), it is none.
    tolerance
        The share by which a mean loss may exceed `normal`.
    """
    if normal <= 0.0 or worse <= (1.0 + tolerance) * normal:
        return 0
    return int(np.argmax(_gained(counts, losses, normal, worse)))


def _gained(counts: Doubles, losses: Doubles, normal: float, worse: float) -> Doubles:
    """float64[n + 1]: the evidence for `worse` against `normal` in the ranges before each end."""
    bound = math.log(worse / normal) / (1.0 / normal - 1.0 / worse)
    gained: Doubles = np.concatenate([[0.0], np.cumsum(losses - bound * counts)])
    return gained
