"""The product's models with their defaults, as learners of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.messages import Doubles, Floats, IdField, InputLayout, Inputs
from freshrank.benchmarks.online.stream_file import LabelledStream
from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import StreamRows
from freshrank.feature_actors.encoding.gather import gather_numbers
from freshrank.feature_actors.encoding.input_ids import plain_ids
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression, SquaredLoss
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.softmax_regression import SoftmaxLoss, SoftmaxRegression
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER

STEPS = (1, 64)
"""Examples of a step: of a quiet stream, and of a lively stream."""


class OwnLearner(NamedTuple):
    """A model of the product for each kind of labels, and the examples of a step."""

    probability: ModelSpec
    number: ModelSpec
    step: int
    classes: Callable[[tuple[str, ...]], ModelSpec] | None = None
    """The model of these class names; None: a model for each class against the rest."""

    def model_of(self, stream: LabelledStream) -> ModelSpec | None:
        """The single model of a stream; None: each class has its own."""
        if stream.kind == "class":
            return None if self.classes is None else self.classes(tuple(stream.classes))
        return self.number if stream.kind == "number" else self.probability


def _softmax(names: tuple[str, ...]) -> ModelSpec:
    return SoftmaxRegression(loss=SoftmaxLoss(names))


LEARNERS: Mapping[str, OwnLearner] = {
    f"{name}_{step}": OwnLearner(probability, number, step, classes)
    for name, probability, number, classes in (
        ("linear", LogisticRegression(), LinearRegression(), _softmax),
        ("fm", DeepFM(hidden=()), DeepFM(hidden=(), loss=SquaredLoss()), None),
        ("deepfm", DeepFM(), DeepFM(loss=SquaredLoss()), None),
    )
    for step in STEPS
}
"""By the names in the figures."""


class Learned(NamedTuple):
    """What a learner predicted for each row before it learned it."""

    predictions: Doubles
    """float64[n], or float64[n, c] for the probabilities of classes."""
    seconds: float


def encoded(stream: LabelledStream) -> tuple[InputLayout, Inputs]:
    """The inputs of the rows, encoded as those of a pipeline whose context they are.

    A number that is missing is 0, a text that is missing no id.
    """
    kinds = {name: type(value) for row in stream.rows for name, value in row.items()}
    texts = [name for name, kind in kinds.items() if kind is str]
    names = [name for name in kinds if name not in texts]
    rows = len(stream.rows)
    values = np.array([[row.get(name, np.nan) for name in names] for row in stream.rows], float)
    dense: Floats = np.zeros((rows, len(names)), np.float32)
    gather_numbers(values.reshape(rows, len(names)), np.arange(rows), 0, dense)
    ids = np.zeros((rows, len(texts)), np.int64)
    for column, name in enumerate(texts):
        there = np.array([name in row for row in stream.rows])
        hashed = hash_texts([str(row.get(name, "")) for row in stream.rows])
        ids[:, column] = plain_ids(name, np.where(there, hashed, 0))
    layout = InputLayout(tuple(names), tuple(IdField(name) for name in texts))
    return layout, Inputs(dense, ids)


def learn(stream: LabelledStream, learner: OwnLearner) -> Learned:
    """Learn all rows; several classes by a single model, or by a model each against the rest."""
    started = time.perf_counter()
    layout, inputs = encoded(stream)
    spec = learner.model_of(stream)
    setup = Setup(spec or learner.probability, DEFAULT_OPTIMIZER, learner.step, 1, layout=layout)
    if spec is not None:
        found = _scores(setup, inputs, stream.labels)
    else:
        each = [
            _scores(setup, inputs, (stream.labels == place).astype(np.float32))
            for place in range(len(stream.classes))
        ]
        found = normalized(np.stack(each, axis=1))
    return Learned(found, time.perf_counter() - started)


def _scores(setup: Setup, inputs: Inputs, labels: Floats) -> Doubles:
    rows = StreamRows(inputs, labels, labels, np.zeros(len(labels), np.bool_))
    return LearningRun(setup).play(rows).scores.astype(np.float64)


def normalized(each: Doubles) -> Doubles:
    """Probabilities float64[n, c] of each class against the rest, scaled to a sum of 1.

    >>> normalized(np.array([[0.5, 0.5, 0.25], [0.0, 0.0, 0.0]])).round(2).tolist()
    [[0.4, 0.4, 0.2], [0.33, 0.33, 0.33]]
    """
    total = each.sum(axis=1, keepdims=True)
    even = np.full(each.shape, 1.0 / each.shape[1])
    found: Doubles = np.divide(each, total, out=even, where=total > 0.0)
    return found
