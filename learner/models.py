"""The models: what a user names in a pipeline, and their mathematics in NumPy.

A model is one flat vector of dense weights (``p``) and one table of rows (``w`` wide) that its
ids point to. Both models see a row as dense inputs ``x`` (``d``) and one pooled table row
(`freshrank.learner.pooling`) for each of the ``F`` id fields. They end in a logit; the loss is
the log loss, whose gradient with respect to the logit is ``probability - label``.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, InputLayout
from freshrank.learner.deepfm import DeepFMShape
from freshrank.learner.table import RowInit


class Model(Protocol):
    """A specification that knows its inputs: all sizes are settled."""

    @property
    def layout(self) -> InputLayout:
        """Of the inputs it was bound to."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever weights of the one could not be used by the other."""
        ...

    @property
    def dense_size(self) -> int:
        """``p``."""
        ...

    @property
    def rows(self) -> RowInit:
        """Width ``w`` and initial values of the table's rows."""
        ...

    def initial(self) -> Floats:
        """float32[p]: the dense weights before the first step, the same in every process."""
        ...

    def logits(self, dense: Floats, x: Floats, pooled: Floats) -> Floats:
        """float32[n] from dense weights [p], inputs [n, d] and pooled rows [n, F, w]."""
        ...

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """The gradients of ``(logits * upstream).sum()``: dense [p] and pooled [n, F, w]."""
        ...


def sigmoid(logits: Floats) -> Floats:
    """Probabilities; logits beyond ±30 are cut there, where float32 has long reached 0 or 1.

    >>> sigmoid(np.array([0.0, -1000.0], np.float32)).round(3).tolist()
    [0.5, 0.0]
    """
    # Not np.clip, whose own cost is three times that of both.
    clipped = np.minimum(np.maximum(logits, np.float32(-30.0)), np.float32(30.0))
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-clipped))


def prior_logit(base_rate: float, place: str) -> float:
    """The logit that gives `base_rate`; raises ConfigError unless it lies between 0 and 1."""
    if not 0.0 < base_rate < 1.0:
        raise ConfigError(
            place, f"{base_rate!r} is not a rate", "Give the share of positives, between 0 and 1."
        )
    return math.log(base_rate / (1.0 - base_rate))


def _fingerprint(spec: LogisticRegression | DeepFM, layout: InputLayout) -> str:
    return hashlib.sha256(f"{spec!r} {layout!r}".encode()).hexdigest()[:16]


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
        return _fingerprint(self.spec, self.layout)

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


@dataclass(frozen=True)
class DeepFM:
    """A factorisation machine and a multi-layer perceptron over shared embeddings.

    Guo, Tang, Ye, Li, He: "DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction", IJCAI 2017. A bag (an id field of several ids) counts as one field whose vector
    is the mean of its ids'. Dense inputs are fields of the factorisation machine whose embedding
    is scaled by their value; the perceptron sees the values themselves.

    Parameters
    ----------
    embedding_dim
        Length of an id's vector; its table row is one longer (the linear weight comes first).
    hidden
        Widths of the perceptron's layers (ReLU).
    base_rate
        The share of positives that is expected: the bias starts at its logit.
    seed
        Of all random initial values.
    """

    embedding_dim: int = 8
    hidden: tuple[int, ...] = (32,)
    base_rate: float = 0.5
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list is welcome, too
        if self.embedding_dim < 1:
            raise ConfigError("DeepFM.embedding_dim", "no vector at all", "Give 1 or more.")
        if any(width < 1 for width in self.hidden):
            raise ConfigError("DeepFM.hidden", f"{self.hidden!r}", "Give widths of 1 or more.")
        prior_logit(self.base_rate, "DeepFM.base_rate")

    def bind(self, layout: InputLayout) -> BoundDeepFM:
        """Settle the sizes for inputs of `layout`."""
        return BoundDeepFM(self, layout)


@dataclass(frozen=True)
class BoundDeepFM:
    """`DeepFM` on known inputs; the flat vector's parts are those of `DeepFMShape`."""

    spec: DeepFM
    layout: InputLayout

    @property
    def shape(self) -> DeepFMShape:
        """Where each part lies in the flat vector."""
        return DeepFMShape(
            len(self.layout.dense),
            len(self.layout.fields),
            self.spec.embedding_dim,
            self.spec.hidden,
        )

    @property
    def fingerprint(self) -> str:
        """See `Model`."""
        return _fingerprint(self.spec, self.layout)

    @property
    def dense_size(self) -> int:
        """``p``."""
        return self.shape.size

    @property
    def rows(self) -> RowInit:
        """Linear weight at zero; embedding uniform with a standard deviation of 0.01.

        Small, so that the factorisation machine starts close to a linear model.
        """
        scale = 0.01 * math.sqrt(3.0)
        return RowInit(width=1 + self.spec.embedding_dim, scale=scale, seed=self.spec.seed)

    def initial(self) -> Floats:
        """Bias at the base rate, layers by He et al. (2015), the rest as the embeddings."""
        dense = self.shape.initial(self.spec.seed)
        dense[0] = prior_logit(self.spec.base_rate, "base_rate")
        return dense

    def logits(self, dense: Floats, x: Floats, pooled: Floats) -> Floats:
        """See `Model`."""
        return self.shape.logits(dense, x, pooled)

    def backward(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats]:
        """See `Model`."""
        return self.shape.backward(dense, x, pooled, upstream)
