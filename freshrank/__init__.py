"""Fresh features, fresh weights: real-time recommendation from Kafka to REST in Python.

What a pipeline file imports; everything else is imported from its own module. A name is loaded on
its first use: a process that needs none of them (a broker, ``--help``) does not pay for numba,
which takes a second to import.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The public names, each in this place only. Type checkers follow these lines, and the module
    # itself reads them as text.
    from freshrank.actors.inputs.cleaning import Bucketed as Bucketed
    from freshrank.actors.inputs.cleaning import Clipped as Clipped
    from freshrank.actors.inputs.cleaning import Imputed as Imputed
    from freshrank.actors.inputs.cleaning import Scaled as Scaled
    from freshrank.deploy.history.point_in_time import (
        get_historical_features as get_historical_features,
    )
    from freshrank.deploy.pipelines.pipeline import Pipeline as Pipeline
    from freshrank.deploy.served.training_set import get_training_set as get_training_set
    from freshrank.feature_actors.aggregations.decayed_count import DecayedCount as DecayedCount
    from freshrank.feature_actors.aggregations.decayed_sum import DecayedMean as DecayedMean
    from freshrank.feature_actors.aggregations.decayed_sum import DecayedSum as DecayedSum
    from freshrank.feature_actors.aggregations.first_last import FirstValue as FirstValue
    from freshrank.feature_actors.aggregations.first_last import LastValue as LastValue
    from freshrank.feature_actors.aggregations.last_k import LastK as LastK
    from freshrank.feature_actors.aggregations.session import Session as Session
    from freshrank.feature_actors.aggregations.time_since import TimeSince as TimeSince
    from freshrank.feature_actors.aggregations.windowed.distinct_count import (
        DistinctCount as DistinctCount,
    )
    from freshrank.feature_actors.aggregations.windowed.extrema import Max as Max
    from freshrank.feature_actors.aggregations.windowed.extrema import Min as Min
    from freshrank.feature_actors.aggregations.windowed.histogram import Histogram as Histogram
    from freshrank.feature_actors.aggregations.windowed.moments import (
        StandardDeviation as StandardDeviation,
    )
    from freshrank.feature_actors.aggregations.windowed.moments import Variance as Variance
    from freshrank.feature_actors.aggregations.windowed.quantile import Quantile as Quantile
    from freshrank.feature_actors.aggregations.windowed.rate import SmoothedRate as SmoothedRate
    from freshrank.feature_actors.aggregations.windowed.sums import Count as Count
    from freshrank.feature_actors.aggregations.windowed.sums import Mean as Mean
    from freshrank.feature_actors.aggregations.windowed.sums import Sum as Sum
    from freshrank.feature_actors.aggregations.windowed.trend import Trend as Trend
    from freshrank.feature_actors.aggregations.windowed.windows import Tumbling as Tumbling
    from freshrank.feature_actors.encoding.context_entries import as_number as as_number
    from freshrank.feature_actors.encoding.entries.made_numbers import age as age
    from freshrank.feature_actors.encoding.entries.made_numbers import position as position
    from freshrank.feature_actors.encoding.entries.user_agents import user_agent as user_agent
    from freshrank.feature_actors.labels.definitions import Joined as Joined
    from freshrank.feature_actors.labels.definitions import Labelled as Labelled
    from freshrank.feature_actors.retrieval.sources.co_visited import CoVisited as CoVisited
    from freshrank.feature_actors.retrieval.sources.embedded import Embedded as Embedded
    from freshrank.feature_actors.retrieval.sources.followed_by import FollowedBy as FollowedBy
    from freshrank.feature_actors.retrieval.sources.listed import Listed as Listed
    from freshrank.feature_actors.retrieval.sources.newest import Newest as Newest
    from freshrank.feature_actors.retrieval.sources.popular import Popular as Popular
    from freshrank.feature_actors.retrieval.sources.similar_content import (
        SimilarContent as SimilarContent,
    )
    from freshrank.feature_actors.retrieval.sources.touched import Touched as Touched
    from freshrank.feature_actors.streams.avro import Avro as Avro
    from freshrank.feature_actors.streams.expressions.column import col as col
    from freshrank.feature_actors.streams.expressions.derived import bucket as bucket
    from freshrank.feature_actors.streams.expressions.derived import day_of_week as day_of_week
    from freshrank.feature_actors.streams.expressions.derived import hour_of_day as hour_of_day
    from freshrank.feature_actors.streams.stream import Entity as Entity
    from freshrank.feature_actors.streams.stream import Stream as Stream
    from freshrank.feature_actors.streams.table import Table as Table
    from freshrank.feature_actors.views.feature_view import FeatureView as FeatureView
    from freshrank.learner.models.deepfm import DeepFM as DeepFM
    from freshrank.learner.models.linear_regression import LinearRegression as LinearRegression
    from freshrank.learner.models.linear_regression import SquaredLoss as SquaredLoss
    from freshrank.learner.models.linear_svm import LinearSVM as LinearSVM
    from freshrank.learner.models.logistic_regression import (
        LogisticRegression as LogisticRegression,
    )
    from freshrank.learner.models.losses.huber_loss import HuberLoss as HuberLoss
    from freshrank.learner.models.losses.quantile_loss import QuantileLoss as QuantileLoss
    from freshrank.learner.models.losses.reweighted import ClassWeighted as ClassWeighted
    from freshrank.learner.models.softmax_regression import SoftmaxRegression as SoftmaxRegression
    from freshrank.learner.optimizers.adagrad import Adagrad as Adagrad
    from freshrank.learner.optimizers.adam import Adam as Adam
    from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad as AutoAdagrad
    from freshrank.learner.optimizers.averaged import Averaged as Averaged
    from freshrank.learner.optimizers.ftrl import FTRL as FTRL
    from freshrank.learner.optimizers.schedules import ConstantRate as ConstantRate
    from freshrank.learner.optimizers.schedules import CosineDecay as CosineDecay
    from freshrank.learner.optimizers.schedules import InverseRootDecay as InverseRootDecay
    from freshrank.learner.optimizers.schedules import StepDecay as StepDecay
    from freshrank.learner.optimizers.schedules import WarmUp as WarmUp
    from freshrank.learner.optimizers.sgd import SGD as SGD
    from freshrank.serve.experiments.definitions import Arm as Arm
    from freshrank.serve.experiments.definitions import Experiment as Experiment
    from freshrank.serve.experiments.exploration import EpsilonGreedy as EpsilonGreedy
    from freshrank.serve.experiments.exploration import Softmax as Softmax
    from freshrank.serve.experiments.exploration import Thompson as Thompson

_MODULES: dict[str, str] = {
    name: module
    for module, name in re.findall(
        r"^    from (freshrank\.[\w.]+) import \(?\s*(\w+) as \2\b",
        Path(__file__).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}

__all__ = list(_MODULES)

if not TYPE_CHECKING:  # which would take every name for a public one

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
