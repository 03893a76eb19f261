"""The models and optimisers that the bench tries, with their defaults: nobody tunes anything."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.linear_svm import LinearSVM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD

MODELS: Mapping[str, ModelSpec] = {
    "logistic": LogisticRegression(),
    "regression": LinearRegression(),
    "SVM": LinearSVM(),
    "FM": DeepFM(hidden=()),
    "DeepFM": DeepFM(),
}
OPTIMIZERS: Mapping[str, Optimizer] = {
    "default": DEFAULT_OPTIMIZER,
    "FTRL": FTRL(),
    "Adagrad": Adagrad(),
    "Adam": Adam(),
    "SGD": SGD(),
}


class Learning(NamedTuple):
    """The names of a model and of an optimiser."""

    model: str
    optimizer: str


LEARNERS = [Learning(*names) for names in product(MODELS, OPTIMIZERS)]
"""Each model with each optimiser."""
