"""Off-policy estimates: what the lists of an arm would have got without exploration.

The target policy shows, at each position, the best of the items that are left. ``W_j`` is the
product of the ratios of its probability (1 or 0) and the logged propensity over the positions up to
``j``. A click at ``j`` counts ``W_j``, which is unbiased where what a user does at a position does
not depend on the items after it (McInerney et al., "Counterfactual evaluation of slate
recommendations with sequential reward interactions", KDD 2020). The doubly robust estimate adds
what the model predicts, with mean 0 (Kiyohara et al., "Doubly robust off-policy evaluation for
ranking policies under the cascade behavior model", WSDM 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from freshrank.actors.impressions import ServedDraws
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.deploy.experiments.intervals import Estimate, Ratio, ratio


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights of a list's first ``p`` positions."""

    weights: Doubles
    """float64[p]: ``W_j``."""
    predicted: float
    """What the doubly robust estimate counts before anything is clicked."""


def weighed(draws: ServedDraws, scores: Floats, positions: int) -> Weighed:
    """The weights of the items that were drawn; `scores` float32[n] are their predictions.

    >>> draws = ServedDraws(np.array([0.8, 0.1]), np.array([True, False]), np.array([0.5, 0.25]))
    >>> weighed(draws, np.array([0.5, 0.125]), 10)
    Weighed(weights=array([1.25, 0.  ]), predicted=0.1875)
    """
    ratios = draws.greedy[:positions] / draws.propensities[:positions].astype(np.float64)
    weights: Doubles = np.cumprod(ratios, dtype=np.float64)
    before = np.concatenate([[1.0], weights[:-1]])
    expected = before * draws.greedy_scores[:positions] - weights * scores[:positions]
    return Weighed(weights, float(expected.sum()))


class OffPolicy(msgspec.Struct):
    """Clicks for each list at its first `positions`: as logged, and had the arm not explored."""

    positions: int
    lists: int
    effective_lists: float
    """How many lists of the target policy would tell as much: (sum of W)² / sum of W², by the
    weights of whole lists."""
    logged: Estimate
    """What the lists got."""
    ips: Estimate
    """Inverse propensity scoring."""
    snips: Estimate | None
    """The same, normalised by the sum of the weights at each position; None: at some position no
    list is one of the target policy."""
    dr: Estimate
    """Doubly robust: with the model's predictions."""


class OffPolicyTally:
    """Sums over the lists of one arm, by cluster.

    Parameters
    ----------
    clusters, positions
        ``b`` and ``p``: of users in groups, and of the first items of each list.
    """

    def __init__(self, clusters: int, positions: int) -> None:
        self._positions = positions
        self._lists: Doubles = np.zeros(clusters)
        self._logged: Doubles = np.zeros(clusters)
        self._predicted: Doubles = np.zeros(clusters)
        self._weights: Doubles = np.zeros((clusters, positions))
        self._clicked: Doubles = np.zeros((clusters, positions))
        self._long: Ints = np.zeros(positions, dtype=np.int64)
        """int64[p]: the lists that have an item at each position."""
        self._whole: Doubles = np.zeros(2)
        """The sum of the weights of whole lists, and that of their squares."""

    def show(self, cluster: int, weighed: Weighed) -> None:
        """Count a list."""
        shown, last = len(weighed.weights), weighed.weights[-1]
        self._lists[cluster] += 1
        self._predicted[cluster] += weighed.predicted
        self._weights[cluster, :shown] += weighed.weights
        self._long[:shown] += 1
        self._whole += (last, last * last)

    def click(self, cluster: int, weighed: Weighed, position: int) -> None:
        """Count a click at a position of a list that was shown."""
        if position < len(weighed.weights):
            self._logged[cluster] += 1
            self._clicked[cluster, position] += weighed.weights[position]

    def result(self) -> OffPolicy | None:
        """The estimates; None: there was no list."""
        clicked = self._clicked.sum(axis=1)
        logged, ips, dr = (
            ratio(one, self._lists) for one in (self._logged, clicked, clicked + self._predicted)
        )
        if logged is None or ips is None or dr is None:
            return None
        snips, (total, squares) = self._snips(), self._whole
        return OffPolicy(
            self._positions,
            int(self._lists.sum()),
            float(total * total / squares) if squares else 0.0,
            logged.interval(),
            ips.interval(),
            snips and snips.interval(),
            dr.interval(),
        )

    def _snips(self) -> Ratio | None:
        there = self._long > 0
        weights, clicked = self._weights[:, there], self._clicked[:, there]
        sums = weights.sum(axis=0)
        if not sums.all():
            return None
        rates, shares = clicked.sum(axis=0) / sums, self._long[there] / self._lists.sum()
        around = ((clicked - rates * weights) / sums) @ shares
        clusters = int(np.count_nonzero(self._lists))
        correction = clusters / max(clusters - 1, 1)
        variance = correction * float((around**2).sum())
        return Ratio(float(rates @ shares), variance, clusters)
