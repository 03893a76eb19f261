"""The scale of labels that are numbers, learned as they come: outputs are in deviations from it.

Rates of optimisers, initial weights and bounds suit outputs of about one. A price in cents and a
share of a day are learned alike when the model's output counts standard deviations from the mean of
the labels. Their moments are a last column of those of the inputs, and so a part of the weights:
learner, shards and replicas with one version predict alike. Ross, Mineiro, Langford: "Normalized
Online Learning", UAI 2013, is of inputs; this is of labels.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from freshrank.actors.messages import Bools, Doubles, Examples, Floats
from freshrank.learner.models.base import Model
from freshrank.learner.models.losses import Loss, learns_scale, residuals_of
from freshrank.learner.parameters.input_cleaning import (
    InputScale,
    cleaned_scale,
    no_statistics,
    statistics_of,
)
from freshrank.learner.parameters.input_moments import (
    COUNT,
    MEAN,
    VARIANCE,
    moments_of,
    unscaled,
)


@runtime_checkable
class WithPrior(Protocol):
    """A model of numbers that says what it predicts before the first example; others say 0."""

    @property
    def prior(self) -> float:
        """In the unit of the labels; its initial outputs are 0 all the same."""
        ...


class TargetScale(NamedTuple):
    """From outputs to predictions and back to the residuals that outputs are moved by."""

    loss: Loss
    mean: float
    deviation: float
    """0 while all labels have been the same."""
    unit: float
    """Of the loss: that of the best constant prediction. Residuals are derivatives of its share."""

    def predictions(self, outputs: Floats) -> Floats:
        """float32[n]: what is served, from raw outputs float32[n]."""
        found = self.loss.link.prediction(outputs)
        return found if self.plain else self.of_labels(found).astype(np.float32)

    def of_labels(self, outputs: Floats | Doubles) -> Doubles:
        """float64[n]: outputs in the unit of the labels."""
        found: Doubles = self.mean + self.deviation * outputs.astype(np.float64)
        return found

    def residuals(
        self,
        labels: Floats,
        corrects: Bools | None,
        predictions: Floats,
        weights: Floats | None = None,
    ) -> Floats:
        """float32[n]: see `residuals_of`; derivatives with respect to the outputs."""
        found = residuals_of(self.loss, labels, corrects, predictions, weights)
        return found if self.plain else found * np.float32(self.factor)

    @property
    def plain(self) -> bool:
        """Whether outputs are in the unit of the labels as they are."""
        return self.mean == 0.0 and self.deviation == 1.0 == self.unit

    @property
    def factor(self) -> float:
        """From derivatives of the loss by predictions to those of its share by outputs."""
        return self.deviation / self.unit if self.unit > 0.0 else 0.0


def initial_moments(model: Model) -> Doubles:
    """float64[r, d or d + 1]: of the dense inputs, and of the labels if `learns_scale`, of none."""
    inputs = no_statistics(model.layout, len(model.layout.dense))
    if not learns_scale(model.loss):
        return inputs
    of_labels = no_statistics(model.layout, 1)
    of_labels[MEAN] = model.prior if isinstance(model, WithPrior) else 0.0
    return np.concatenate([inputs, of_labels], axis=1)


def kept_moments(moments: Doubles | None, model: Model) -> Doubles:
    """Those of a file; what one of before has not, is not scaled: its weights know no scale."""
    wanted = initial_moments(model).shape[1]
    found = unscaled(0) if moments is None else moments.astype(np.float64)
    if found.shape[1] == wanted:
        return found
    return np.concatenate([found, unscaled(wanted - found.shape[1])], axis=1)


def example_moments(model: Model, examples: Examples, before: Doubles) -> Doubles:
    """Of examples: their dense inputs and, if `learns_scale`, labels; corrections were counted.

    `before` are those of the weights.
    """
    dense, labels, corrects = examples.inputs.dense, examples.labels, examples.corrects
    if corrects is not None:
        dense, labels = dense[~corrects], labels[~corrects]
    layout = model.layout
    if layout.cleaning:
        found = statistics_of(layout, dense, before[:, : len(layout.dense)])
    else:
        found = moments_of(dense)
    if not learns_scale(model.loss):
        return found
    of_labels = no_statistics(layout, 1)
    of_labels[: VARIANCE + 1] = moments_of(labels[:, np.newaxis])
    return np.concatenate([found, of_labels], axis=1)


def input_scale(model: Model, moments: Doubles) -> InputScale:
    """The scale of the dense inputs."""
    return cleaned_scale(model.layout, moments[:, : len(model.layout.dense)])


def target_scale(model: Model, moments: Doubles) -> TargetScale:
    """The scale of the labels; a plain one if they have none.

    >>> from freshrank.actors.messages import InputLayout
    >>> from freshrank.learner.models.linear_regression import LinearRegression
    >>> model = LinearRegression().bind(InputLayout((), ()))
    >>> scale = target_scale(model, moments_of(np.array([[40.0], [60.0]], np.float32)))
    >>> scale.predictions(np.array([0.0, 1.5], np.float32)).tolist(), scale.unit, scale.factor
    ([50.0, 65.0], 100.0, 0.1)
    """
    if not learns_scale(model.loss) or math.isinf(moments[COUNT, -1]):
        return TargetScale(model.loss, 0.0, 1.0, 1.0)
    mean, variance = float(moments[MEAN, -1]), float(moments[VARIANCE, -1])
    # Of labels around 0: the loss of a constant does not depend on where they lie.
    unit = model.loss.of_constant(0.0, variance)
    return TargetScale(model.loss, mean, model.loss.spread(variance), unit)
