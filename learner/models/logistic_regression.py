"""TODO-DOC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Floats, InputLayout
from freshrank.learner.embeddings.table import RowInit
from freshrank.learner.models.base import fingerprint_of
from freshrank.learner.models.losses import prior_logit


@dataclass(frozen=True)
class LogisticRegression:
    """One weight per id and per dense input, and a bias.

    Parameters
    ----------
    base_rate
        The share of positives that is expected: the bias starts at its logit. A wrong one is
        unlearned within some hundred examples.
    """

    base_rate: float = 0.5

    def __post_init__(self) -> None:
        prior_logit(self.base_rate, "LogisticRegression.base_rate")

    def bind(self, layout: InputLayout) -> BoundLogistic:
        """Settle the sizes for inputs of `layout`."""
        return BoundLogistic(self, layout)


@dataclass(frozen=True)
class BoundLogistic:
    """`LogisticRegression` on known inputs. Dense weights: the bias, then one per dense input."""

    spec: LogisticRegression
    layout: InputLayout

    @property
    def fingerprint(self) -> str:
        """See `Model`."""
        return fingerprint_of(self.spec, self.layout)

    @property
    def dense_size(self) -> int:
        """``1 + d``."""
        return 1 + len(self.layout.dense)

    @property
    def rows(self) -> RowInit:
        """One weight an id, starting at zero."""
        return RowInit(width=1, scale=0.0, seed=0)

    def initial(self) -> Floats:
        """The bias at the base rate, all else zero."""
        dense = np.zeros(self.dense_size, np.float32)
        dense[0] = prior_logit(self.spec.base_rate, "base_rate")
        return dense

    def logits(self, dense: Floats, x: Floats, pooled: Floats) -> Floats:
        """``b + x·v + sum of the fields' weights``."""
        logits: Floats = dense[0] + x @ dense[1:] + pooled[:, :, 0].sum(axis=1)
        return logits

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """See `Model`."""
        gradient = np.empty_like(dense)
        gradient[0] = upstream.sum()
        gradient[1:] = upstream @ x
        each = np.broadcast_to(upstream[:, None, None], pooled.shape)
        return gradient, np.ascontiguousarray(each)
