"""A learner of labels beside one input of no use, and what it predicts then."""

from __future__ import annotations

import numpy as np
from source_offsets import upto

from freshrank.actors.messages import Examples, Floats, InputLayout, Inputs, OffsetRange
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.settings import LearnerSettings

ONE_INPUT = InputLayout(("x",), ())


def learned(spec: ModelSpec, labels: Floats) -> Learner:
    """A learner that has learned `labels` in their order, all with one input of no use."""
    learner = Learner(
        spec.bind(ONE_INPUT),
        Adagrad(0.5),
        LearnerSettings(),
        differentiate=CompiledDifferentiator,
    )
    x = np.random.default_rng(1).normal(size=(len(labels), 1)).astype(np.float32)
    for begin in range(0, len(labels), 64):
        rows = slice(begin, begin + 64)
        given_inputs = Inputs(x[rows], np.zeros((len(x[rows]), 0), np.int64))
        span = OffsetRange(0, upto(begin), upto(begin + 64))
        stamps = np.arange(len(x[rows])) + 1_000
        assert learner.offer(Examples(span, given_inputs, labels[rows], stamps), 0.0).accepted
        learner.step(0, 0.0)
    return learner


def constant(learner: Learner) -> float:
    given_inputs = Inputs(np.zeros((1, 1), np.float32), np.zeros((1, 0), np.int64))
    return float(learner.weights.score(given_inputs)[0])
