"""Parts of a range learned by one call each, for the model and the optimiser that are most used.

A part of a few examples is little work: called one by one, what a linear model and an optimiser do
for it is a hundred times as much. Here it is one kernel for the model of log-odds with the default
optimiser, of the pieces that these have: the optimiser's own updates, the pooling and its
transpose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Bools, Floats, Ints
from freshrank.learner.embeddings.hash_index import HashIndex
from freshrank.learner.embeddings.pooling import pool_into, scatter
from freshrank.learner.gradients.in_order import overshoot_of
from freshrank.learner.gradients.local_weights import LocalStep, LocalWeights, PartGradient
from freshrank.learner.gradients.parts import Batch, LearnedParts, Tried
from freshrank.learner.models.base import Model
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.losses import LogLoss, PlackettLuceLoss
from freshrank.learner.optimizers.auto_adagrad import (
    AutoAdagrad,
    Group,
    RowRates,
    update_dense,
    update_rows,
)
from freshrank.learner.optimizers.averaged import stepping
from freshrank.learner.optimizers.base import Optimizer, SummedRows
from freshrank.learner.optimizers.penalties import Penalty

Rates = tuple[tuple[RowRates, Penalty], tuple[tuple[Group, Group], Penalty]]


class _Examples(NamedTuple):
    """Those of a range, or of a part."""

    x: Floats
    places: Ints
    labels: Floats
    corrects: Bools
    weights: Floats
    offsets: Floats


class _Predicted(NamedTuple):
    outputs: Floats
    scores: Floats
    residuals: Floats
    pooled: Floats
    """float32[n, F, 1]: the derivatives of the loss by the pooled rows."""


@kernel
def _predicted(rows: Floats, dense: Floats, own: _Examples, starts: Ints) -> _Predicted:
    """What the linear model gives, and the derivatives of the log loss (`residuals_of`)."""
    pooled = np.empty((len(own.labels), len(starts) - 1, 1), np.float32)
    pool_into(pooled, rows, own.places, starts)
    outputs, scores = np.empty_like(own.labels), np.empty_like(own.labels)
    residuals = np.empty_like(own.labels)
    for i in range(len(outputs)):
        output = np.float64(dense[0])
        for j in range(own.x.shape[1]):
            output += np.float64(own.x[i, j]) * dense[1 + j]
        for j in range(pooled.shape[1]):
            output += pooled[i, j, 0]
        outputs[i] = output
        log_odds = min(max(np.float64(outputs[i] + own.offsets[i]), -30.0), 30.0)
        scores[i] = 1.0 / (1.0 + np.exp(-log_odds))
        found = (scores[i] - own.labels[i]) * own.weights[i]
        residuals[i] = found - scores[i] if own.corrects[i] else found
        for j in range(pooled.shape[1]):
            pooled[i, j, 0] = residuals[i]
    return _Predicted(outputs, scores, residuals, pooled)


@kernel
def _dense_gradient(x: Floats, residuals: Floats) -> tuple[Floats, Floats]:
    """Of the bias and of the dense inputs, float32[1, 1 + d], and its squares."""
    sums, squares = np.zeros((1, 1 + x.shape[1])), np.zeros((1, 1 + x.shape[1]))
    for i in range(len(residuals)):
        residual = np.float64(residuals[i])
        sums[0, 0] += residual
        squares[0, 0] += residual * residual
        for j in range(x.shape[1]):
            part = residual * x[i, j]
            sums[0, 1 + j] += part
            squares[0, 1 + j] += part * part
    return sums.astype(np.float32), squares.astype(np.float32)


@kernel
def _learn(
    examples: _Examples,
    part: tuple[int, int, float],
    starts: Ints,
    local: tuple[Floats, Floats, HashIndex],
    rates: Rates,
) -> tuple[PartGradient, Floats, Floats, float]:
    """The gradient, its rows before the step, the dense weights after it, and its overshoot."""
    begin, end, share = part
    own = _Examples(
        examples.x[begin:end],
        examples.places[begin:end],
        examples.labels[begin:end],
        examples.corrects[begin:end],
        examples.weights[begin:end],
        examples.offsets[begin:end],
    )
    rows, dense_state, places = local
    found = _predicted(rows, dense_state[0], own, starts)
    touched, sums, squares, counts = scatter(found.pooled, own.places, starts, places)
    dense, dense_squares = _dense_gradient(own.x, found.residuals)
    if share != 1.0:
        sums *= np.float32(share)
        dense *= np.float32(share)
    before, stepped = rows[touched], dense_state.copy()
    of_rows = SummedRows(sums, squares, counts)
    update_rows(rows, touched, of_rows, *rates[0])
    one, learned = np.zeros(1, np.int64), np.full(1, end - begin, np.float32)
    update_dense(stepped, one, SummedRows(dense, dense_squares, learned), *rates[1])
    after = _predicted(rows, stepped[0], own, starts)
    over = overshoot_of(after.outputs - found.outputs, found.residuals, after.residuals)
    gradient = PartGradient(
        found.scores, found.residuals, dense[0], dense_squares[0], touched, of_rows
    )
    return gradient, before, stepped, over


def has_kernel(model: Model, optimizer: Optimizer | None) -> bool:
    """Whether `LinearParts` are those of the model with the optimiser."""
    plain = type(model) is BoundLinear and type(model.loss) in (LogLoss, PlackettLuceLoss)
    return plain and optimizer is not None and type(stepping(optimizer)) is AutoAdagrad


class LinearParts(LearnedParts):
    """The same, up to rounding, by a kernel: of the models that `has_kernel`."""

    def __init__(self, model: Model, batch: Batch, local: LocalWeights) -> None:
        super().__init__(model, batch, local)
        self._rated: Optimizer | None = None
        """Whose rates these are: the same one again where no schedule moves them."""
        self._rates: Rates
        labels, corrects, weights, offsets = batch.known
        count = len(labels)
        # Copies: the kernel would be compiled again for what came from elsewhere and is read-only.
        self._examples = _Examples(
            batch.x.copy(),
            batch.places,
            labels.copy(),
            np.zeros(count, np.bool_) if corrects is None else corrects.copy(),
            np.ones(count, np.float32) if weights is None else weights.copy(),
            np.zeros(count, np.float32) if offsets is None else offsets,
        )

    def _rates_of(self, optimizer: Optimizer) -> Rates:
        if optimizer is not self._rated:
            assert isinstance(optimizer, AutoAdagrad)  # as `has_kernel` says
            dense = optimizer.of_dense(self._model.dense_size)
            self._rated, self._rates = optimizer, (optimizer.of_rows(), dense)
        return self._rates

    def _try(self, begin: int, end: int, share: float) -> Tried:
        local, examples = self._local, self._examples
        served = local.served_predictions(examples.x[begin:end], examples.places[begin:end])
        gradient, before, dense, over = _learn(
            examples,
            (begin, end, share),
            local.starts,
            (local.rows, local.dense_state, self._places),
            self._rates_of(stepping(local.optimizer_of(end - begin))),
        )
        step = LocalStep(gradient.touched, before, local.dense_state, end - begin)
        local.follow(step, dense, gradient.rows.counts)
        return Tried(gradient, local.stepped(step, dense), over, served)
