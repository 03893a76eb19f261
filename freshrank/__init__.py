"""Fresh features, fresh weights: real-time recommendation from Kafka to REST in Python.

What a pipeline file imports; everything else is reached by its module's own path. A name is
loaded when it is first asked for: a process that needs none of them (a broker, ``--help``) does
not pay for the compiler behind them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freshrank.deploy.pipeline import Pipeline
    from freshrank.feature_actors.aggregates import (
        Count,
        DecayedCount,
        LastK,
        Mean,
        Sum,
        TimeSince,
    )
    from freshrank.feature_actors.definitions import Entity, FeatureView, Stream
    from freshrank.feature_actors.expressions import col
    from freshrank.feature_actors.labels import Joined, Labelled
    from freshrank.learner.models import DeepFM, LogisticRegression
    from freshrank.learner.optimizers import FTRL, SGD, Adagrad

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
    "deploy.pipeline": ("Pipeline",),
    "feature_actors.aggregates": ("Count", "DecayedCount", "LastK", "Mean", "Sum", "TimeSince"),
    "feature_actors.definitions": ("Entity", "FeatureView", "Stream"),
    "feature_actors.expressions": ("col",),
    "feature_actors.labels": ("Joined", "Labelled"),
    "learner.models": ("DeepFM", "LogisticRegression"),
    "learner.optimizers": ("FTRL", "SGD", "Adagrad"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
