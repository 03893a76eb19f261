from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from learning import LAYOUT, MODELS, examples

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import Examples, Floats, Gradient, Inputs, OffsetRange, SourceOffsets
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import InverseRootDecay
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings


def part_of(work: Examples, begin: int, end: int) -> Examples:
    inputs = Inputs(work.inputs.dense[begin:end], work.inputs.ids[begin:end])
    covered = OffsetRange(0, SourceOffsets({"t": begin}), SourceOffsets({"t": end}))
    times = work.event_times_ms[begin:end]
    return Examples(covered, inputs, work.labels[begin:end], times)


def learned(
    spec: ModelSpec, optimizer: Optimizer, work: Examples, steps: Sequence[int]
) -> tuple[Floats, ModelWeights]:
    """The scores of `work`, and a shard's weights, after steps of so many examples."""
    model = spec.bind(LAYOUT)
    learner = Learner(model, optimizer, LearnerSettings(batch_examples=1))
    weights = ModelWeights(model, optimizer)
    weights.apply(learner.snapshot(0))
    differentiator, scores, begin = CompiledDifferentiator(model, weights), [], 0
    for step in steps:
        gradient = differentiator.gradient(part_of(work, begin, begin + step))
        scores.append(gradient.scores)
        learner.offer(gradient, 0.0)
        delta = learner.step(0, 0.0)
        assert delta is not None
        weights.apply(delta)
        begin += step
    return np.concatenate(scores), weights


def constant(count: int, share: float = 0.05) -> Examples:
    """Examples of one user and of one item, of which few are positive; numbers are all alike."""
    dense = np.ones((count, len(LAYOUT.dense)), np.float32)
    ids = np.full((count, LAYOUT.id_width), 7, np.int64)
    labels = (np.random.default_rng(0).random(count) < share).astype(np.float32)
    covered = OffsetRange(0, SourceOffsets(), SourceOffsets({"t": count}))
    return Examples(covered, Inputs(dense, ids), labels, np.arange(count))


@pytest.mark.parametrize("optimizer", [DEFAULT_OPTIMIZER, FTRL(), Adagrad(), SGD()], ids=repr)
@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM()], ids=repr)
def test_the_first_examples_are_predicted_as_by_steps_of_one(
    spec: ModelSpec, optimizer: Optimizer
) -> None:
    work = constant(256)
    one, _ = learned(spec, optimizer, work, [1] * 256)
    together, _ = learned(spec, optimizer, work, [256])
    half = slice(128, 256)
    assert abs(together[0] - 0.5) < 0.01
    assert abs(together[half].mean() - one[half].mean()) < 0.02
    assert np.abs(together[half] - one[half]).mean() < 0.04


def test_weights_without_an_optimiser_give_gradients_of_examples_at_once() -> None:
    work, model = constant(64), LogisticRegression().bind(LAYOUT)
    weights = ModelWeights(model)
    weights.apply(Learner(model, SGD(), LearnerSettings()).snapshot(0))
    gradient = CompiledDifferentiator(model, weights).gradient(work)
    assert not gradient.in_order
    assert set(gradient.scores.tolist()) == {0.5}


def test_the_weights_of_a_shard_are_not_changed_by_what_it_learns_meanwhile() -> None:
    work = examples(LAYOUT, 300)
    _, weights = learned(LogisticRegression(), DEFAULT_OPTIMIZER, work, [100, 100, 100])
    differentiator = CompiledDifferentiator(weights.model, weights)
    before = weights.checksum(), weights.table.rows.tobytes(), weights.dense_state.tobytes()
    first = differentiator.gradient(part_of(work, 0, 200))
    again = differentiator.gradient(part_of(work, 0, 200))
    assert before == (
        weights.checksum(),
        weights.table.rows.tobytes(),
        weights.dense_state.tobytes(),
    )
    assert parts(first) == parts(again)


def parts(gradient: Gradient) -> list[bytes]:
    arrays = (gradient.dense, gradient.keys, gradient.rows, gradient.row_squares, gradient.scores)
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_copy_that_begins_later_gives_the_same_gradient_to_the_bit(name: str) -> None:
    """The optimiser's state comes with snapshots and with deltas alike."""
    model, work = MODELS[name], examples(MODELS[name].layout, 400)
    optimizer = Adagrad(0.1, schedule=InverseRootDecay(50))
    learner = Learner(model, optimizer, LearnerSettings(batch_examples=1))
    early, late = ModelWeights(model, optimizer), ModelWeights(model, optimizer)
    early.apply(learner.snapshot(0))
    for begin in (0, 100, 200):
        gradient = CompiledDifferentiator(model, early).gradient(part_of(work, begin, begin + 100))
        learner.offer(gradient, 0.0)
        delta = learner.step(0, 0.0)
        assert delta is not None
        early.apply(delta)
    late.apply(learner.snapshot(0))
    last = part_of(work, 300, 400)
    found = [CompiledDifferentiator(model, one).gradient(last) for one in (early, late)]
    assert found[0].in_order
    assert parts(found[0]) == parts(found[1])


def test_a_delta_without_the_state_of_the_optimiser_is_refused_by_who_needs_it() -> None:
    model = LogisticRegression().bind(LAYOUT)
    bare = Learner(model, SGD(), LearnerSettings(), differentiate=CompiledDifferentiator).snapshot(
        0
    )
    ModelWeights(model).apply(bare)
    with pytest.raises(ProgressError, match="lacks the state of the optimiser"):
        ModelWeights(model, Adagrad()).apply(bare)
    full = Learner(model, Adagrad(), LearnerSettings()).snapshot(0)
    assert full.dense_state is not None
    with pytest.raises(ProgressError, match=r"state of .* is not of"):
        ModelWeights(model, Adagrad()).apply(replace(full, dense_state=full.dense_state[1:]))
    ModelWeights(model).apply(full)  # who only scores does without


def test_an_example_whose_rate_is_too_high_does_not_carry_its_output_beyond_its_label() -> None:
    random = np.random.default_rng(0)
    work = examples(LAYOUT, 200)
    labels = random.normal(0.0, 1.0, 200).astype(np.float32)
    scores, weights = learned(
        LinearRegression(), SGD(5.0), replace(work, labels=labels), [100, 100]
    )
    assert np.isfinite(scores).all() and np.abs(scores).max() < 50.0
    assert np.isfinite(weights.dense).all()
