"""Fresh features, fresh weights: real-time recommendation from Kafka to REST in Python.

What a pipeline file imports; everything else is reached by its module's own path. A name is
loaded when it is first asked for: a process that needs none of them (a broker, ``--help``) does
not pay for the compiler behind them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freshrank.deploy.pipelines.pipeline import Pipeline
    from freshrank.feature_actors.aggregations.base import (
        Count,
        DecayedCount,
        LastK,
        Mean,
        Sum,
        TimeSince,
    )
    from freshrank.feature_actors.labels.definitions import Joined, Labelled
    from freshrank.feature_actors.streams.expressions import col
    from freshrank.feature_actors.streams.stream import Entity, Stream
    from freshrank.feature_actors.views.feature_view import FeatureView
    from freshrank.learner.models.deepfm import DeepFM
    from freshrank.learner.models.logistic_regression import LogisticRegression
    from freshrank.learner.optimizers.adagrad import Adagrad
    from freshrank.learner.optimizers.ftrl import FTRL
    from freshrank.learner.optimizers.sgd import SGD

__all__ = [
    "FTRL",
    "SGD",
    "Adagrad",
    "Count",
    "DecayedCount",
    "DeepFM",
    "Entity",
    "FeatureView",
    "Joined",
    "Labelled",
    "LastK",
    "LogisticRegression",
    "Mean",
    "Pipeline",
    "Stream",
    "Sum",
    "TimeSince",
    "col",
]

_HOMES = {
    "deploy.pipelines.pipeline": ("Pipeline",),
    "feature_actors.aggregations.base": (
        "Count",
        "DecayedCount",
        "LastK",
        "Mean",
        "Sum",
        "TimeSince",
    ),
    "feature_actors.labels.definitions": (
        "Joined",
        "Labelled",
    ),
    "feature_actors.streams.expressions": ("col",),
    "feature_actors.streams.stream": (
        "Entity",
        "Stream",
    ),
    "feature_actors.views.feature_view": ("FeatureView",),
    "learner.models.deepfm": ("DeepFM",),
    "learner.models.logistic_regression": ("LogisticRegression",),
    "learner.optimizers.adagrad": ("Adagrad",),
    "learner.optimizers.ftrl": ("FTRL",),
    "learner.optimizers.sgd": ("SGD",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
