"""Averaged weights for serving: gradients move the learned weights, and answers come from averages.

The last steps of an optimiser leave noise in the weights: the last examples count more than they
tell. The average of the weights over some time has less of it at the same rates (Polyak, Juditsky:
"Acceleration of Stochastic Approximation by Averaging", SIAM J. Control and Optimization 1992). The
first weights are no part of what one wants to know, so older ones fade by a polynomial (Shamir,
Zhang: "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013, section 3.3), and
faster where the world moves: by an exponential (Izmailov et al. call the batch form SWA, UAI 2018).

A row is averaged over its own examples. One that no example touches has neither weights nor an
average that move, so a step costs what its own rows cost, and a delta has no more rows than before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import (
    Optimizer,
    SelfTuned,
    SummedRows,
    check_at_least,
    dense_state_width,
)
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.scheduled import as_of

# Float32 counts no further by ones.
_MOST_EXAMPLES = 2.0**24
# Of the polynomial: at `n` examples the mean age is a fifth of them.
_POWER = 4.0


@kernel
def _follow(rows: Floats, positions: Ints, before: Floats, counts: Floats, examples: float) -> None:
    """Let the averages of rows follow their weights, which were `before`."""
    width = before.shape[1]
    begin = rows.shape[1] - width - 1
    for i in range(len(positions)):
        row, count = rows[positions[i]], np.float64(counts[i])
        kept = 1.0
        if count > 0.0:
            seen = np.float64(row[-1])
            row[-1] = min(seen + count, _MOST_EXAMPLES)
            kept = min((seen / (seen + count)) ** _POWER, np.exp(-count / examples))
        for j in range(width):
            row[begin + j] = kept * (row[begin + j] + np.float64(row[j]) - before[i, j])


@dataclass(frozen=True)
class Averaged:
    """Learns as the optimiser `of` does; what is served are averages of the weights.

    After ``c`` more examples of a row, ``average = weights + kept * (average - weights)`` with
    ``kept = min((1 - c / n)^4, exp(-c / examples))`` and ``n`` the examples that the row has seen.
    Both factors compose: an average does not depend on how many examples a step holds, but for the
    steps that the weights themselves take. A row of ``w`` weights has ``w + 1`` numbers more.

    Parameters
    ----------
    of
        Steps the weights, as it would without averages: that of pipelines that name none.
    examples
        How far the average of a weight reaches back at most, in examples that have it.

    >>> from freshrank.learner.optimizers.base import of_one_example
    >>> from freshrank.learner.optimizers.sgd import SGD
    >>> averaged = Averaged(SGD(1.0))
    >>> row = np.zeros((1, 1 + averaged.state_width(1)), np.float32)
    >>> for _ in range(2):
    ...     averaged.update(row, np.array([0]), of_one_example(np.array([[-1.0]], np.float32)))
    >>> row[0, 0].tolist(), averaged.averages(row, 1).tolist()
    (2.0, [[1.9375]])
    """

    of: Optimizer = DEFAULT_OPTIMIZER
    examples: float = 1_000.0

    def __post_init__(self) -> None:
        if isinstance(self.of, type | Averaged) or not isinstance(self.of, Optimizer):
            fix = "Write the one that steps the weights, such as AutoAdagrad()."
            raise ConfigError("Averaged.of", f"{self.of!r} is no optimiser to average", fix)
        check_at_least("Averaged.examples", self.examples, 0.0, strictly=True)

    def state_width(self, width: int) -> int:
        """That of `of`, how far each weight is ahead of its average, and the row's examples."""
        return self.of.state_width(width) + width + 1

    def dense_state_width(self, width: int) -> int:
        """See `SelfTuned`: as `state_width`."""
        return dense_state_width(self.of, width) + width + 1

    def for_model(self, inputs: int, linear: int, curvature: float) -> Self:
        """See `SelfTuned`."""
        if not isinstance(self.of, SelfTuned):
            return self
        return replace(self, of=self.of.for_model(inputs, linear, curvature))

    def at(self, examples: float) -> Self:
        """The same as of so many learned examples: the rate of `of` may follow a schedule."""
        of = as_of(self.of, examples)
        return self if of is self.of else replace(self, of=of)

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        width = gradient.sums.shape[1]
        stepped = self.unaveraged(rows[positions], width)
        before = stepped[:, :width].copy()
        self.of.update(stepped, np.arange(len(positions)), gradient, dense)
        rows[positions, : -width - 1] = stepped
        self.follow(rows, positions, before, gradient.counts)

    def follow(self, rows: Floats, positions: Ints, before: Floats, counts: Floats) -> None:
        """Let the averages in ``rows[positions]`` follow the weights, which were stepped.

        `before` float32[u, w] are these weights as they were, and `counts` float32[u] the examples.
        """
        _follow(rows, positions, np.ascontiguousarray(before), counts, self.examples)

    def unaveraged(self, rows: Floats, width: int) -> Floats:
        """float32[m, w + s]: copies of rows of `width` weights, as `of` has them."""
        return rows[:, : -width - 1].copy()

    def averages(self, rows: Floats, width: int) -> Floats:
        """float32[m, w]: of whole rows of `width` weights, of the table or the dense ones."""
        ahead: Floats = rows[:, -width - 1 : -1]
        return rows[:, :width] - ahead


def stepping(optimizer: Optimizer) -> Optimizer:
    """What steps the weights: the optimiser itself, or the one of which it keeps averages."""
    return optimizer.of if isinstance(optimizer, Averaged) else optimizer
