"""The gradient of a batch of examples, whatever computes the derivatives of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Examples, Floats, Gradient, Ints
from freshrank.learner.embeddings.pooling import distinct, field_starts, scatter
from freshrank.learner.gradients.in_order import (
    ENOUGH,
    LocalWeights,
    PartGradient,
    PartLengths,
    overshoot,
)
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import sums_of
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.input_moments import merge
from freshrank.learner.parameters.probes import probes_of
from freshrank.learner.parameters.target_scale import (
    TargetScale,
    example_moments,
    input_scale,
    target_scale,
)
from freshrank.learner.parameters.weights import ModelWeights


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


class _Portion(NamedTuple):
    """Consecutive examples, of which `keys` are all ids of the range."""

    x: Floats
    places: Ints
    """int64[n, f]: where each id lies among the keys; see `Distinct`."""
    examples: Examples
    target: TargetScale

    def part(self, begin: int, end: int) -> _Portion:
        if begin == 0 and end == len(self.x):
            return self
        one, examples = slice(begin, end), self.examples
        labelled = replace(
            examples,
            labels=examples.labels[one],
            corrects=None if examples.corrects is None else examples.corrects[one],
            weights=None if examples.weights is None else examples.weights[one],
        )
        return _Portion(self.x[one], self.places[one], labelled, self.target)


class BatchDifferentiator(ABC):
    """The gradient of the model's loss at the weights that `weights` presently holds.

    With the optimiser of these weights the examples are learned in order meanwhile
    (`freshrank.learner.gradients.in_order`). The table stays in main memory: only the pooled rows
    of a batch are given to `_derivatives`.
    """

    def __init__(self, model: Model, weights: ModelWeights) -> None:
        self._model = model
        self._weights = weights
        self._starts = field_starts(model.layout)
        self._reference: ModelWeights | None = None

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights, which scores beside them from now on.

        Raises Unavailable before the first snapshot of the weights.
        """
        self._reference = self._weights.copy()

    def gradient(self, examples: Examples) -> Gradient:
        """The gradient summed over `examples`, with the scores before they were learned.

        Raises Unavailable before the first snapshot of the weights: a gradient has to name the
        version that it was computed on.
        """
        weights, inputs = self._weights, examples.inputs
        base = weights.known_version()
        moments = example_moments(self._model, examples, weights.moments)
        merged = merge(weights.moments, moments)
        x, ids = prepared(inputs, input_scale(self._model, merged))
        keys, index = distinct(ids)
        target = target_scale(self._model, merged)
        batch = _Portion(x, index, examples, target)
        found, scores, residuals = self._learned(batch, LocalWeights(weights, keys))
        return Gradient(
            offset_range=examples.offset_range,
            base=base,
            dense=found.dense,
            keys=keys,
            rows=found.rows,
            dense_squares=found.dense_squares,
            row_squares=found.row_squares,
            row_counts=found.row_counts,
            labels=examples.labels,
            scores=scores,
            reference_scores=self._reference.score(inputs) if self._reference else None,
            newest_event_ms=int(np.max(examples.event_times_ms, initial=0)),
            moments=moments,
            corrects=examples.corrects,
            served=examples.served,
            origins=examples.origins,
            probes=probes_of(examples, ids, residuals),
            residuals=None if target.plain else sums_of(residuals),
            weights=examples.weights,
            in_order=weights.optimizer is not None,
        )

    def _learned(self, batch: _Portion, local: LocalWeights) -> tuple[PartGradient, Floats, Floats]:
        """The gradient of all examples, their scores and their residuals."""
        count, steps = len(batch.x), self._weights.optimizer is not None
        young = steps and not self._weights.examples
        lengths = PartLengths(count, self._model.dense_size, young=young)
        found: list[PartGradient] = []
        scores: list[Floats] = []
        residuals: list[Floats] = []
        begin = 0
        while begin < count or not found:
            end = min(begin + lengths.next, count)
            part = batch.part(begin, end)
            derived, gradient = self._differentiated(part, local)
            if steps:
                step = local.step(gradient, end - begin)
                over = self._overshoot(part, derived, local)
                if not lengths.accepts(end - begin, over):
                    local.undo(step)
                    continue
                if over > 1.0:  # a single example: its rate is beyond what the loss bears
                    local.undo(step)
                    gradient = gradient.damped(ENOUGH / over)
                    local.step(gradient, 1)
            found.append(gradient)
            scores.append(derived.scores)
            residuals.append(derived.residuals)
            begin = end
        if len(found) == 1:
            return found[0], scores[0], residuals[0]
        summed = (np.sum(parts, axis=0) for parts in zip(*found, strict=True))
        return PartGradient(*summed), np.concatenate(scores), np.concatenate(residuals)

    def _differentiated(
        self, part: _Portion, local: LocalWeights
    ) -> tuple[Derivatives, PartGradient]:
        at = PartInputs(local.dense, part.x, local.pooled(part.places))
        found = self._derivatives(at, part.examples, part.target)
        of_rows = scatter(found.pooled, part.places, self._starts, len(local.rows))
        return found, PartGradient(found.dense, found.dense_squares, *of_rows)

    def _overshoot(self, part: _Portion, before: Derivatives, local: LocalWeights) -> float:
        """Of the step that `local` has just taken."""
        outputs = self._model.outputs(local.dense, part.x, local.pooled(part.places))
        examples, target = part.examples, part.target
        residuals = target.residuals(
            examples.labels, examples.corrects, target.predictions(outputs), examples.weights
        )
        return overshoot(outputs - before.outputs, before.residuals, residuals)

    @abstractmethod
    def _derivatives(self, at: PartInputs, examples: Examples, target: TargetScale) -> Derivatives:
        """Of the loss of `examples`.

        Residuals are those of `target`, which knows the labels; the scores are of the weights that
        do not.
        """
