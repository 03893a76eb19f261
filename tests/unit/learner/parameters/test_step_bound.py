from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning import LAYOUT

from freshrank.actors.messages import Examples, Gradient, Inputs, OffsetRange, SourceOffsets
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.gradient_sum import total
from freshrank.learner.parameters.probes import choose
from freshrank.learner.parameters.training_state import TrainingState
from freshrank.learner.parameters.weights import ModelWeights


def agreeing(count: int) -> Examples:
    """Examples that are alike but for one in thirty, whose label is 1."""
    dense = np.ones((count, len(LAYOUT.dense)), np.float32)
    ids = np.ones((count, LAYOUT.id_width), np.int64) * 7
    labels = (np.arange(count) % 30 == 0).astype(np.float32)
    covered = OffsetRange(0, SourceOffsets(), SourceOffsets({"t": count}))
    return Examples(covered, Inputs(dense, ids), labels, np.arange(count))


def gradient_at_once(trained: TrainingState, examples: Examples) -> Gradient:
    """Of examples that know nothing of each other, as of weights without an optimiser."""
    weights = ModelWeights(trained.weights.model)
    weights.dense, weights.version = trained.weights.dense, trained.weights.version
    assert not len(trained.weights.table)
    return CompiledDifferentiator(trained.weights.model, weights).gradient(examples)


@pytest.mark.parametrize(
    "optimizer", [SGD(0.05), Adagrad(0.5), Adam(0.05), FTRL(alpha=0.5)], ids=repr
)
@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM()], ids=repr)
def test_a_step_of_agreeing_examples_ends_before_their_base_rate(
    spec: ModelSpec, optimizer: Optimizer
) -> None:
    model, examples = spec.bind(LAYOUT), agreeing(3_000)
    trained = TrainingState(model, optimizer, max_rows=1_000)
    before = trained.weights.score(examples.inputs).mean()
    trained.update(total([gradient_at_once(trained, examples)]))
    after = trained.weights.score(examples.inputs).mean()
    assert examples.labels.mean() < after < before


def test_a_small_step_is_taken_as_it_is() -> None:
    model, examples = LogisticRegression().bind(LAYOUT), agreeing(8)
    bounded, free = (TrainingState(model, SGD(0.001), max_rows=1_000) for _ in range(2))
    summed = total([gradient_at_once(bounded, examples)])
    assert summed.probes is not None
    bounded.update(summed)
    free.update(replace(summed, probes=None))
    assert (bounded.dense_state == free.dense_state).all()


def test_a_gradient_of_spoilt_weights_does_not_carry_good_ones_away() -> None:
    """As after a rollback: poison had pulled the weights, and the gradient pulled them back."""
    model, examples = LogisticRegression(base_rate=0.03).bind(LAYOUT), agreeing(300)
    trained = TrainingState(model, FTRL(alpha=0.5), max_rows=1_000)
    spoilt = LogisticRegression(base_rate=0.9).bind(LAYOUT)
    start = TrainingState(spoilt, FTRL(), max_rows=1_000)
    pulled = total([gradient_at_once(start, examples)])
    rate = float(examples.labels.mean())
    assert trained.weights.score(examples.inputs).mean() == pytest.approx(rate, abs=0.005)
    change, _ = trained.update(pulled, stale=True)
    assert trained.weights.score(examples.inputs).mean() == pytest.approx(rate, abs=0.01)
    trained.undo(change)
    trained.update(pulled)
    assert trained.weights.score(examples.inputs).mean() < rate / 2


def test_gradients_that_all_say_the_same_are_together_no_more_than_a_few() -> None:
    """Each is learned in order; that of four shards which began with the same examples."""
    model, examples = LogisticRegression().bind(LAYOUT), agreeing(256)
    one, four = (TrainingState(model, Adagrad(0.5), max_rows=1_000) for _ in range(2))
    gradient = CompiledDifferentiator(model, one.weights).gradient(examples)
    assert gradient.in_order
    one.update(total([gradient]))
    four.update(total([gradient] * 4))
    rates = [trained.weights.score(examples.inputs).mean() for trained in (one, four)]
    assert 0.01 < rates[1] < rates[0] < 0.5


def test_probes_are_of_both_signs_and_stand_for_all_examples() -> None:
    random = np.random.default_rng(0)
    residuals = random.uniform(0.01, 0.05, 1_000).astype(np.float32)
    residuals[random.choice(1_000, 30, replace=False)] -= 1.0
    rows, shares = choose(residuals, most=16)
    low = residuals[rows] < 0.0
    assert low.sum() == 8 and len(set(rows.tolist())) == 16
    assert shares[low].sum() == pytest.approx(30, rel=0.1)
    assert shares[~low].sum() == pytest.approx(970, rel=0.1)
    assert shares @ np.abs(residuals[rows]) == pytest.approx(np.abs(residuals).sum(), rel=0.1)
