"""A range's examples part by part: the gradient of each, and the step that learns it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Bools, Floats, Ints
from freshrank.learner.embeddings.pooling import no_places, scatter
from freshrank.learner.gradients.in_order import ENOUGH, PartLengths, overshoot
from freshrank.learner.gradients.local_weights import (
    LocalStep,
    LocalWeights,
    PartGradient,
    RangeGradient,
)
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import choice_probabilities, slate_offsets
from freshrank.learner.optimizers.base import SummedRows
from freshrank.learner.parameters.target_scale import TargetScale


class PartInputs(NamedTuple):
    """What a model gets for ``n`` examples, beside their labels."""

    dense: Floats
    """float32[p]: the weights."""
    x: Floats
    """float32[n, d]: standardised."""
    pooled: Floats
    """float32[n, F, w]."""


class Derivatives(NamedTuple):
    """What a model gives for ``n`` examples at some weights."""

    outputs: Floats
    """float32[n]."""
    scores: Floats
    """float32[n]: predictions."""
    residuals: Floats
    """float32[n]: the derivatives of the loss by the outputs."""
    dense: Floats
    """float32[p]: the gradient of the loss."""
    dense_squares: Floats
    """float32[p]: the sum of the squares of each example's gradient."""
    pooled: Floats
    """float32[n, F, w]: the gradient of the loss."""


class PartLabels(NamedTuple):
    """What is known of ``n`` examples beside their inputs; see `Examples`."""

    labels: Floats
    corrects: Bools | None
    weights: Floats | None
    offsets: Floats | None = None
    """float32[n]: see `slate_offsets`; None where examples are no slates."""

    def part(self, one: slice) -> PartLabels:
        """Of some of them."""
        labels, corrects, weights, offsets = self
        return PartLabels(
            labels[one],
            None if corrects is None else corrects[one],
            None if weights is None else weights[one],
            None if offsets is None else offsets[one],
        )

    def predictions(self, target: TargetScale, outputs: Floats) -> Floats:
        """float32[n]: what the loss is of."""
        if self.offsets is None:
            return target.predictions(outputs)
        return choice_probabilities(outputs, self.offsets)

    def residuals(self, target: TargetScale, predictions: Floats) -> Floats:
        """float32[n]: the derivatives of the loss by the outputs that give these predictions."""
        return target.residuals(self.labels, self.corrects, predictions, self.weights)


class Batch(NamedTuple):
    """The examples of a range, whose distinct ids are its keys."""

    x: Floats
    places: Ints
    """int64[n, f]: where each id lies among the keys; see `Distinct`."""
    known: PartLabels
    target: TargetScale


Derive = Callable[[PartInputs, PartLabels, TargetScale], Derivatives]
"""Differentiates a model."""


class Tried(NamedTuple):
    """A part that has been learned, and may be undone."""

    gradient: PartGradient
    step: LocalStep | None
    """None where nothing is learned."""
    overshoot: float
    served: Floats | None
    """float32[n]: as its `scores`, by averages where these serve."""


class LearnedParts(ABC):
    """Consecutive examples of a range, learned in their order on a copy of weights.

    Without an optimiser nothing is learned: the gradient is that at the weights.
    """

    def __init__(self, model: Model, batch: Batch, local: LocalWeights) -> None:
        self._model, self._batch, self._local = model, batch, local
        self._places = no_places(len(local.rows))
        self._slates_known = 0
        """How many examples have the offsets of their slates."""

    def learned(self, lengths: PartLengths) -> RangeGradient:
        """The gradient of all examples, of which as many as `lengths` says are taken at once."""
        found = RangeGradient(len(self._local.rows), self._model.rows.width)
        begin, end, count = 0, -1, len(self._batch.x)
        while begin < count or end < 0:
            end = min(begin + lengths.next, count)
            self._know_slates(end)
            tried = self._try(begin, end, share=1.0)
            if not lengths.accepts(end - begin, tried.overshoot):
                self._undo(tried)
                continue
            if tried.overshoot > 1.0:  # a single example: its rate is beyond what the loss bears
                self._undo(tried)
                tried = self._try(begin, end, ENOUGH / tried.overshoot)
            found.add(tried.gradient, tried.served)
            begin = end
        return found

    def _know_slates(self, end: int) -> None:
        """Settle the offsets of the slates that begin before `end`, by the weights of now."""
        known, begin = self._batch.known, self._slates_known
        if known.offsets is None or end <= begin:
            return
        further = np.flatnonzero(known.labels[end:] > 0.5)
        self._slates_known = end + int(further[0]) if len(further) else len(known.labels)
        rows, local = slice(begin, self._slates_known), self._local
        pooled = local.pooled(self._batch.places[rows])
        outputs = self._model.outputs(local.dense, self._batch.x[rows], pooled)
        known.offsets[rows] = slate_offsets(known.labels[rows], outputs)

    def _undo(self, tried: Tried) -> None:
        assert tried.step is not None  # what was not learned does not overshoot
        self._local.undo(tried.step)

    @abstractmethod
    def _try(self, begin: int, end: int, share: float) -> Tried:
        """Learn these examples, each of which counts for a `share` of one."""


class ModelParts(LearnedParts):
    """Of any model, by a few calls for all examples of a part."""

    def __init__(self, model: Model, derive: Derive, batch: Batch, local: LocalWeights) -> None:
        super().__init__(model, batch, local)
        self._derive = derive

    def _try(self, begin: int, end: int, share: float) -> Tried:
        local, batch, one = self._local, self._batch, slice(begin, end)
        x, places, known = batch.x[one], batch.places[one], batch.known.part(one)
        at = PartInputs(local.dense, x, local.pooled(places))
        served = local.served_predictions(x, places)
        derived = self._derive(at, known, batch.target)
        touched, *of_rows = scatter(derived.pooled, places, local.starts, self._places)
        gradient = PartGradient(
            derived.scores,
            derived.residuals,
            derived.dense,
            derived.dense_squares,
            touched,
            SummedRows(*of_rows),
        ).damped(share)
        if not local.steps:
            return Tried(gradient, None, 0.0, served)
        step = local.step(gradient, end - begin)
        outputs = self._model.outputs(local.dense, x, local.pooled(places))
        residuals = known.residuals(batch.target, known.predictions(batch.target, outputs))
        over = overshoot(outputs - derived.outputs, derived.residuals, residuals)
        return Tried(gradient, step, over, served)
