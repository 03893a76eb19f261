"""The uncertainty of a model's linear weights, and its outputs by weights that are drawn by it.

Each weight ``w_i`` is taken as normal around its present value with the precision ``q_i``, and as
independent of the others: Laplace's approximation with a diagonal matrix (Chapelle and Li, "An
empirical evaluation of Thompson sampling", NIPS 2011, algorithm 3). There ``q_i`` is a prior plus
the sum over the examples of ``p (1 - p) x_i²``. Of the log loss this is in the mean the sum of the
squared gradients, ``(p - y)² x_i²``, which adaptive optimisers keep (`KeepsSquares`). So the output
of a row varies by ``Σ x_i² / q_i``, and rows that share an input move together by its weight.

A click that corrects a shown item's negative has a squared residual of 1 where the true label
alone has ``(1 - p)²``: ``q_i`` is then up to ``(1 + p) / (1 - p)`` times as large.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Floats, Inputs, Ints
from freshrank.actors.parameters.uncertainty import WeightSampling
from freshrank.learner.embeddings.pooling import ABSENT, distinct
from freshrank.learner.models.base import Model, WithLinearPart
from freshrank.learner.models.losses import DownSampled, LogLoss
from freshrank.learner.optimizers.averaged import Averaged, stepping
from freshrank.learner.optimizers.base import KeepsSquares, Optimizer
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.weights import ModelWeights


class Unknown(NamedTuple):
    """Why the uncertainty of weights is not known."""

    reason: str
    fix: str


def unknown_uncertainty(model: Model, optimizer: Optimizer) -> Unknown | None:
    """Why it is not known of a model that an optimiser steps; None: it is."""
    loss = model.loss.of if isinstance(model.loss, DownSampled) else model.loss
    if not isinstance(loss, LogLoss):
        return Unknown(
            f"squared gradients tell it of the log loss alone, and this model's is {loss!r}",
            "Take model=LogisticRegression() or DeepFM() with their own loss",
        )
    if not isinstance(model, WithLinearPart):
        return Unknown(
            f"{type(model).__name__} does not say which of its weights are linear",
            "Take model=LogisticRegression() or DeepFM(), or give yours a `linear_size`",
        )
    if not isinstance(stepping(optimizer), KeepsSquares):
        return Unknown(
            f"{optimizer!r} keeps no squared gradients",
            "Take optimizer=AutoAdagrad(), Adagrad(), FTRL() or Adam()",
        )
    return None


class Spread(NamedTuple):
    """How the outputs of ``n`` rows vary: with normal numbers of deviation 1, each by its own.

    One for each row, one for each of ``k`` weights that some rows share, and one for all rows.
    """

    own: Doubles
    """float64[n]: by all weights that no other row has."""
    shared: Doubles
    """float64[n, k]: by each weight, its deviation times the row's input."""
    common: float
    """By all weights whose inputs are those of every row: a user's."""

    @property
    def variances(self) -> Doubles:
        """float64[n]: of each output, ``Σ x_i² / q_i``."""
        found: Doubles = np.square(self.own) + np.square(self.shared).sum(axis=1) + self.common**2
        return found

    def draw(self, count: int, random: np.random.Generator) -> Floats:
        """float32[count, n]: what weights that are drawn add to the outputs."""
        own = random.standard_normal((count, len(self.own)), dtype=np.float32)
        own *= self.own.astype(np.float32)
        of_shared = random.standard_normal((count, self.shared.shape[1]), dtype=np.float32)
        own += of_shared @ self.shared.T.astype(np.float32)
        of_all = random.standard_normal((count, 1), dtype=np.float32)
        found: Floats = own + of_all * np.float32(self.common)
        return found


def spread(weights: ModelWeights, x: Floats, ids: Ints, sampling: WeightSampling) -> Spread:
    """How the outputs of cleaned inputs float32[n, d] and ids int64[n, f] vary.

    `weights` have the state of an optimiser that `KeepsSquares`.
    """
    model = weights.model
    assert isinstance(model, WithLinearPart)  # checked when the pipeline was declared
    keys, where = distinct(ids)
    squares = _squares(weights, weights.table.read_whole(keys), model.rows.width)[:, 0]
    own, of_ids = _of_ids(where, weights.starts, _deviations(squares, sampling))
    of_dense = _squares(weights, weights.dense_state, model.dense_size)[0, : model.linear_size]
    deviations = _deviations(of_dense, sampling)
    shared = np.concatenate([of_ids, x * deviations[1:]], axis=1)
    alike = (shared == shared[:1]).all(axis=0)
    common = math.hypot(deviations[0], *shared[:1, alike].ravel())
    return Spread(own, shared[:, ~alike], common)


def sampled_predictions(
    weights: ModelWeights, inputs: Inputs, sampling: WeightSampling, seed: int
) -> Floats:
    """See `WeightSampler`. The first row is that of `ModelWeights.score`."""
    x, ids = prepared(inputs, weights.scale)
    pooled = weights.table.pool(ids, weights.starts)
    outputs = weights.model.outputs(weights.dense, x, pooled)
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = spread(weights, x, ids, sampling).draw(sampling.count, random)
    drawn += outputs
    return weights.target.predictions(np.concatenate([outputs[np.newaxis], drawn]))


def _squares(weights: ModelWeights, rows: Floats, width: int) -> Floats:
    """See `KeepsSquares`."""
    optimizer = weights.optimizer
    if isinstance(optimizer, Averaged):
        rows = optimizer.unaveraged(rows, width)
        optimizer = optimizer.of
    assert isinstance(optimizer, KeepsSquares)  # checked when the pipeline was declared
    return optimizer.squares(rows, width)


def _deviations(squares: Floats, sampling: WeightSampling) -> Doubles:
    return sampling.scale / np.sqrt(sampling.prior + squares.astype(np.float64))


def _of_ids(where: Ints, starts: Ints, deviations: Doubles) -> tuple[Doubles, Doubles]:
    """`own` and `shared` of a `Spread`, by ids alone: a field is the mean of those present."""
    present = where != ABSENT
    if not present.any():
        return np.zeros(len(where)), np.zeros((len(where), 0))
    counts = np.add.reduceat(present, starts[:-1], axis=1, dtype=np.float64)
    means = present / np.repeat(np.maximum(counts, 1.0), np.diff(starts), axis=1)
    moved = means * deviations[where]  # of absent ids 0, by `means`
    uses = np.bincount(where[present], minlength=len(deviations))
    alone = present & (uses[where] == 1)
    own = np.sqrt(np.square(np.where(alone, moved, 0.0)).sum(axis=1))
    kept = np.flatnonzero(uses > 1)
    shared = np.zeros((len(where), len(kept)))
    rows, columns = np.nonzero(present & ~alone)
    np.add.at(shared, (rows, kept.searchsorted(where[rows, columns])), moved[rows, columns])
    return own, shared
