"""A linear model of any loss: one weight per id and per dense input, and a bias."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.messages import Floats, InputLayout, Ints
from freshrank.actors.messages.kept_layout import LayoutChange
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import (
    SPURIOUS_FLAGS,
    Array,
    fingerprint_of,
    first_weights,
    moved,
)
from freshrank.learner.models.explanation.contributions import Contributions
from freshrank.learner.models.losses import Loss, learns_scale


@dataclass(frozen=True)
class LinearModel:
    """A linear model that is trained by `loss`, which may be one of the pipeline's own.

    Parameters
    ----------
    loss
        What is made small, and what the output means.
    bias
        The output before the first example.
    """

    loss: Loss
    bias: float = 0.0

    def bind(self, layout: InputLayout) -> BoundLinear:
        """Settle the sizes for inputs of `layout`."""
        return BoundLinear(self, layout, self.loss, self.bias)


@dataclass(frozen=True)
class BoundLinear:
    """A linear model on known inputs. Dense weights: the bias, then one per dense input."""

    spec: object
    """What a user named: its ``repr`` makes the fingerprint."""
    layout: InputLayout
    loss: Loss
    bias: float
    """The output before the first example."""

    @property
    def fingerprint(self) -> str:
        """See `Model`."""
        return fingerprint_of(self.spec, self.layout, self.loss)

    @property
    def dense_size(self) -> int:
        """``1 + d``."""
        return 1 + len(self.layout.dense)

    @property
    def linear_size(self) -> int:
        """See `WithLinearPart`: all of them."""
        return self.dense_size

    @property
    def rows(self) -> RowInit:
        """One weight an id, starting at zero."""
        return RowInit(width=1, scale=0.0, seed=0)

    def initial(self) -> Floats:
        """The bias, zero where labels give outputs their scale, and `first_weights`."""
        dense = np.zeros(self.dense_size, np.float32)
        dense[1:] = first_weights(self.layout)
        dense[0] = 0.0 if learns_scale(self.loss) else self.bias
        return dense

    @property
    def prior(self) -> float:
        """See `WithPrior`."""
        return self.bias

    def rebound(self, layout: InputLayout) -> BoundLinear:
        """See `Rebindable`."""
        return replace(self, layout=layout)

    def places_before(self, change: LayoutChange) -> Ints:
        """See `Rebindable`: the bias stays the first weight."""
        inputs = np.arange(1, 1 + len(change.before.dense))
        return np.concatenate([np.zeros(1, np.int64), moved(inputs, change.dense)])

    @SPURIOUS_FLAGS
    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        """``b + x·v + sum of the fields' weights``."""
        outputs: Array = dense[0] + x @ dense[1:] + pooled[:, :, 0].sum(1)
        return outputs

    @SPURIOUS_FLAGS
    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """See `Model`."""
        gradient = np.empty_like(dense)
        gradient[0] = upstream.sum()
        gradient[1:] = upstream @ x
        each = np.empty_like(pooled)
        each[:] = upstream[:, None, None]
        return gradient, each

    @SPURIOUS_FLAGS
    def backward_with_squares(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """See `WithSquares`."""
        squares, squared = np.empty_like(dense), np.square(upstream)
        squares[0] = squared.sum()
        squares[1:] = squared @ np.square(x)
        gradient, of_pooled = self.backward(dense, x, pooled, upstream)
        return gradient, squares, of_pooled

    def contributions(self, dense: Floats, x: Floats, pooled: Floats) -> Contributions:
        """See `WithContributions`: the bias, and each input times its weight."""
        wide = dense.astype(np.float64)
        base = np.full(len(x), wide[0])
        return Contributions(base, x * wide[1:], pooled[:, :, 0].astype(np.float64))
