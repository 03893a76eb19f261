"""What every model keeps to, alone and with every optimiser."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from learning import LAYOUT, MODELS, OF_CLASSES, PoissonLoss, examples, inputs, random_weights
from source_offsets import upto

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Delta, Examples, InputLayout, Inputs, OffsetRange, Version
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.loss_sums import loss_sums
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.gradients.squares import with_squares
from freshrank.learner.models.base import Model, ModelSpec, WithLinearPart
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear import LinearModel
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.linear_svm import HingeLoss, LinearSVM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import HuberLoss, LogLoss, QuantileLoss
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import InverseRootDecay, WarmUp
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

EVERY = {**MODELS, **OF_CLASSES}
every = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)
of_one_output = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def loss(weights: ModelWeights, work: Examples) -> float:
    return float(weights.model.loss.value(work.labels, weights.score(work.inputs)).sum())


def without_kinks(weights: ModelWeights, work: Examples) -> Examples:
    """Those of `work` around whose outputs the loss is smooth."""
    loss, predictions = weights.model.loss, weights.score(work.inputs)
    outputs = loss.link.output(predictions).astype(np.float32)
    left, right = (
        loss.residual(work.labels, loss.link.prediction(outputs + shift))
        for shift in (np.float32(-0.05), np.float32(0.05))
    )
    kept = (abs(left - right) < 0.5).reshape(len(work), -1).all(axis=1)
    assert kept.sum() > 20
    return Examples(
        work.offset_range,
        Inputs(work.inputs.dense[kept], work.inputs.ids[kept]),
        work.labels[kept],
        work.event_times_ms[kept],
    )


@every
def test_flags_that_matrix_products_raise_are_no_warnings(model: Model) -> None:
    weights, work = random_weights(model), inputs(model.layout, 5)
    dense = np.full_like(weights.dense, np.inf)
    pooled = np.zeros((5, len(model.layout.fields), model.rows.width), dtype=np.float32)
    outputs = model.outputs(dense, np.zeros_like(work.dense), pooled)
    assert np.isnan(outputs).all(), "infinity times zero"
    gradient, _ = model.backward(dense, work.dense, pooled, np.full_like(outputs, np.inf))
    assert not np.isfinite(gradient).all()


@every
def test_a_categorical_input_is_one_hot(model: Model) -> None:
    weights, one = random_weights(model), inputs(model.layout, 1)
    place = [field.name for field in model.layout.fields].index("item")
    known, other = 7919 + place, 2 * 7919 + place
    ids = np.repeat(one.ids, 4, axis=0)
    ids[:, place] = [known, other, 0, 10**9]
    given = Inputs(np.repeat(one.dense, 4, axis=0), ids)
    before, key = weights.score(given), np.array([known])
    row = weights.table.read(key)
    weights.table.put(key, -2 * row)
    after = weights.score(given)
    assert (after[0] != before[0]).any(), "each value has weights of its own"
    np.testing.assert_array_equal(after[1:], before[1:])
    if model.rows.width == 1:  # a linear model: the input is 1 for one value, 0 for all others
        outputs = model.loss.link.output(before)
        assert outputs[0] - outputs[2] == pytest.approx(float(row[0, 0]), abs=1e-4)
        assert outputs[3] == outputs[2], "absent, or never learned: no weight"


@every
def test_the_gradient_is_the_slope_of_the_loss(model: Model) -> None:
    weights = random_weights(model)
    work = without_kinks(weights, examples(model.layout, 40, seed=3))
    gradient = CompiledDifferentiator(model, weights).gradient(work)
    table, random = weights.table, np.random.default_rng(4)
    for _ in range(5):
        toward_dense = random.normal(size=model.dense_size).astype(np.float32)
        toward_rows = random.normal(size=gradient.rows.shape).astype(np.float32)
        expected = float(gradient.dense @ toward_dense + (gradient.rows * toward_rows).sum())
        dense, rows = weights.dense.copy(), table.read(gradient.keys)
        around = []
        for sign in (1.0, -1.0):
            size = np.float32(sign * 1e-3)
            weights.dense = dense + size * toward_dense
            table.put(gradient.keys, rows + size * toward_rows)
            around.append(loss(weights, work))
        weights.dense = dense
        table.put(gradient.keys, rows)
        assert (around[0] - around[1]) / 2e-3 == pytest.approx(expected, rel=0.02, abs=0.1)


@every
def test_the_squares_are_those_of_each_example(model: Model) -> None:
    weights, work = random_weights(model), examples(model.layout, 30, seed=5)
    differentiator = CompiledDifferentiator(model, weights)
    together = differentiator.gradient(work)
    dense = np.zeros(model.dense_size)
    rows = {int(key): np.zeros(model.rows.width) for key in together.keys}
    for one in range(30):
        alone = differentiator.gradient(
            Examples(
                work.offset_range,
                Inputs(work.inputs.dense[[one]], work.inputs.ids[[one]]),
                work.labels[[one]],
                work.event_times_ms[[one]],
            )
        )
        dense += np.square(alone.dense)
        for key, row in zip(alone.keys.tolist(), alone.rows, strict=True):
            rows[key] += np.square(row)
        # A model that does not compute them itself has them row by row.
        np.testing.assert_allclose(alone.dense_squares, np.square(alone.dense), 1e-4, 1e-5)
    np.testing.assert_allclose(together.dense_squares, dense, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together.row_squares, list(rows.values()), rtol=1e-3, atol=1e-4)


def test_a_model_that_computes_no_squares_has_them_all_the_same() -> None:
    class Plain:
        """Without `backward_with_squares`."""

        def __init__(self, model: Model) -> None:
            self.backward = model.backward

    model, random = MODELS["DeepFM"], np.random.default_rng(6)
    weights, given = random_weights(model), inputs(model.layout, 20)
    pooled = random.normal(size=(20, 3, model.rows.width)).astype(np.float32)
    upstream = random.normal(size=20).astype(np.float32)
    arguments = weights.dense, given.dense, pooled, upstream
    _, at_once, _ = with_squares(model).backward_with_squares(*arguments)
    plain = with_squares(cast(Model, Plain(model)))
    _, by_rows, _ = plain.backward_with_squares(*arguments)
    np.testing.assert_allclose(at_once, by_rows, rtol=1e-3, atol=1e-4)


@every
def test_a_gradient_names_its_span_version_ids_and_scores(model: Model) -> None:
    weights, work = random_weights(model), examples(model.layout, 15, begin=30)
    differentiator = CompiledDifferentiator(model, weights)
    gradient = differentiator.gradient(work)
    assert (gradient.offset_range, gradient.base) == (
        OffsetRange(0, upto(30), upto(45)),
        Version(1, 0),
    )
    assert gradient.keys.tolist() == sorted(set(work.inputs.ids.ravel().tolist()) - {0})
    assert (gradient.labels == work.labels).all()
    assert (gradient.scores == weights.score(work.inputs)).all()
    assert gradient.reference_scores is None
    assert gradient.newest_event_ms == 1_044
    differentiator.freeze_reference()
    weights.apply(random_weights_again(model))
    later = differentiator.gradient(work)
    assert later.reference_scores is not None
    assert (later.reference_scores == gradient.scores).all()
    assert (later.scores != gradient.scores).any()


def random_weights_again(model: Model) -> Delta:
    """Another snapshot, one epoch later."""
    other = random_weights(model, seed=9)
    return Delta(
        Version(2, 0),
        None,
        other.dense,
        other.moments,
        other.table.keys.copy(),
        other.table.rows.copy(),
        np.empty(0, np.int64),
    )


@every
def test_gradients_of_parts_add_up_to_that_of_the_whole(model: Model) -> None:
    weights, work = random_weights(model), examples(model.layout, 30)
    differentiator = CompiledDifferentiator(model, weights)
    whole = differentiator.gradient(work)
    dense, rows = np.zeros_like(whole.dense), np.zeros_like(whole.rows)
    for part in (slice(0, 7), slice(7, 30)):
        one = differentiator.gradient(
            Examples(
                work.offset_range,
                Inputs(work.inputs.dense[part], work.inputs.ids[part]),
                work.labels[part],
                work.event_times_ms[part],
            )
        )
        dense += one.dense
        rows[np.searchsorted(whole.keys, one.keys)] += one.rows
    assert dense == pytest.approx(whole.dense, rel=1e-3, abs=1e-4)
    assert rows == pytest.approx(whole.rows, rel=1e-3, abs=1e-4)


@every
def test_an_example_of_weight_three_counts_as_three_and_one_of_none_as_none(model: Model) -> None:
    weights, work = random_weights(model), examples(model.layout, 30)
    times = np.arange(30) % 4
    differentiator = CompiledDifferentiator(model, weights)
    weighted = differentiator.gradient(replace(work, weights=times.astype(np.float32)))
    repeated = np.repeat(np.arange(30), times)
    alike = differentiator.gradient(
        Examples(
            work.offset_range,
            Inputs(work.inputs.dense[repeated], work.inputs.ids[repeated]),
            work.labels[repeated],
            work.event_times_ms[repeated],
        )
    )
    assert weighted.dense == pytest.approx(alike.dense, rel=1e-3, abs=1e-4)
    there = np.isin(weighted.keys, alike.keys)
    assert weighted.rows[there] == pytest.approx(alike.rows, rel=1e-3, abs=1e-4)
    assert not weighted.rows[~there].any()
    sums = loss_sums(model.loss, weighted), loss_sums(model.loss, alike)
    assert sums[0][0] == 30, "examples, whatever their weights"
    assert sums[0][1:] == pytest.approx(sums[1][1:], rel=1e-4)
    found, wanted = ProgressiveValidation(model.loss), ProgressiveValidation(model.loss)
    found.take(weighted)
    wanted.take(alike)
    measure = str(wanted.status()["measure"])
    for name in (model.loss.name, measure, f"{measure}_recent"):
        assert found.status()[name] == pytest.approx(wanted.status()[name], rel=1e-4)


@every
def test_a_span_without_examples_has_a_gradient_of_nothing(model: Model) -> None:
    gradient = CompiledDifferentiator(model, random_weights(model)).gradient(
        examples(model.layout, 0)
    )
    assert (len(gradient), len(gradient.keys), gradient.newest_event_ms) == (0, 0, 0)
    assert (gradient.dense == 0.0).all()


@every
def test_before_the_first_snapshot_there_is_a_score_and_no_gradient(model: Model) -> None:
    weights = ModelWeights(model)
    assert np.isfinite(weights.score(inputs(model.layout, 5))).all()
    with pytest.raises(Unavailable, match="no snapshot has arrived yet"):
        CompiledDifferentiator(model, weights).gradient(examples(model.layout, 5))
    with pytest.raises(Unavailable, match="no snapshot has arrived yet"):
        CompiledDifferentiator(model, weights).freeze_reference()


@of_one_output
def test_it_starts_close_to_its_bias_which_gives_the_base_rate(model: Model) -> None:
    scores = ModelWeights(model).score(inputs(model.layout, 200))
    start = float(ModelWeights(model).target.predictions(model.initial()[:1])[0])
    assert abs(float(np.median(scores)) - start) < 0.05
    if "base_rate=0.2" in repr(model):
        assert start == pytest.approx(0.2)


LINEAR = {name: model for name, model in EVERY.items() if isinstance(model, WithLinearPart)}


@pytest.mark.parametrize("model", LINEAR.values(), ids=LINEAR)
def test_outputs_move_by_the_weights_of_their_linear_part_and_nothing_else(model: Model) -> None:
    assert isinstance(model, WithLinearPart)
    random, layout = np.random.default_rng(7), model.layout
    x = random.normal(size=(6, len(layout.dense))).astype(np.float32)
    shape = (6, len(layout.fields), model.rows.width)
    pooled = random.normal(size=shape).astype(np.float32)
    dense = model.initial()
    before = model.outputs(dense, x, pooled)
    assert model.linear_size == 1 + len(layout.dense)
    moved, by = dense.copy(), random.normal(size=model.linear_size).astype(np.float32)
    moved[: model.linear_size] += by
    found = model.outputs(moved, x, pooled) - before
    assert found == pytest.approx(by[0] + x @ by[1:], abs=1e-4)
    of_fields = random.normal(size=shape[:2]).astype(np.float32)
    pooled[:, :, 0] += of_fields
    found = model.outputs(dense, x, pooled) - before
    assert found == pytest.approx(of_fields.sum(axis=1), abs=1e-4)


@every
def test_scores_do_not_depend_on_the_other_rows(model: Model) -> None:
    weights, given = random_weights(model), inputs(model.layout, 30)
    alone = [
        weights.score(Inputs(given.dense[i : i + 1], given.ids[i : i + 1]))[0] for i in range(30)
    ]
    assert weights.score(given) == pytest.approx(np.array(alone), rel=1e-4, abs=1e-6)
    assert len(weights.score(Inputs(given.dense[:0], given.ids[:0]))) == 0


def test_the_order_and_number_of_ids_in_a_bag_do_not_matter() -> None:
    for model in (MODELS["logistic regression"], MODELS["DeepFM"]):
        weights = random_weights(model)
        dense = np.zeros((3, 2), np.float32)
        ids = np.array([[1, 2, 3, 4, 0], [1, 2, 0, 4, 3], [1, 2, 3, 4, 3]]) * 7919
        first, turned, doubled = weights.score(Inputs(dense, ids))
        assert turned == pytest.approx(first, rel=1e-5)
        assert doubled != first, "an id that is there twice counts twice in the mean"


def layouts() -> list[InputLayout]:
    return [LAYOUT, InputLayout(LAYOUT.dense[::-1], LAYOUT.fields)]


def test_fingerprints_tell_models_and_layouts_apart_and_nothing_else() -> None:
    specs: list[ModelSpec] = [
        LinearRegression(),
        LinearRegression(bias=1.0),
        LinearRegression(loss=QuantileLoss(0.9)),
        LinearRegression(loss=HuberLoss(0.9)),
        DeepFM(loss=QuantileLoss(0.9)),
        LinearSVM(),
        LinearModel(HingeLoss()),
        LinearModel(LogLoss()),
        LinearModel(PoissonLoss()),
        LinearModel(PoissonLoss(), bias=1.0),
        DeepFM(loss=PoissonLoss()),
        LogisticRegression(),
        LogisticRegression(0.1),
        DeepFM(),
        DeepFM(embedding_dim=9),
        DeepFM(hidden=(32, 16)),
        DeepFM(seed=1),
    ]
    prints = [spec.bind(layout).fingerprint for spec in specs for layout in layouts()]
    assert len(set(prints)) == len(prints)
    assert prints == [spec.bind(layout).fingerprint for spec in specs for layout in layouts()]


def test_fingerprints_are_those_of_the_version_before_there_were_other_losses() -> None:
    """Checkpoints name them: these digits were computed by that version."""
    assert LogisticRegression().bind(LAYOUT).fingerprint == "1f8564e8afe454fa"
    assert LogisticRegression(base_rate=0.2).bind(LAYOUT).fingerprint == "c4244b884d5f9d3d"
    assert DeepFM().bind(LAYOUT).fingerprint == "0c890b2a3ee26088"
    assert DeepFM(4, (8, 5), 0.2, seed=3).bind(LAYOUT).fingerprint == "3d20e61faa1c1b34"


@every
def test_it_can_be_sent_to_another_process(model: Model) -> None:
    other = pickle.loads(pickle.dumps(model))
    assert other == model
    assert (other.initial() == model.initial()).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.005),
        Adagrad(0.1),
        Adam(0.05),
        FTRL(0.2),
        FTRL(0.2, schedule=WarmUp(500, then=InverseRootDecay(2_000))),
    ],
    ids=repr,
)
@every
def test_every_optimizer_teaches_it_what_can_be_learned(model: Model, optimizer: Optimizer) -> None:
    learner = Learner(model, optimizer, LearnerSettings(), differentiate=CompiledDifferentiator)
    for number in range(60):
        learner.offer(examples(model.layout, 64, begin=64 * number, seed=number), 0.0)
        learner.step(0, 0.0)
    unseen = examples(model.layout, 2_000, seed=1_000)
    odds = (unseen.inputs.ids[:, 0] // 7919 % 2).astype(np.float32)
    best = exact_auc(unseen.labels, odds)
    scores = learner.weights.score(unseen.inputs)
    likely = scores if scores.ndim == 1 else scores[:, 1]  # of the label 1
    assert exact_auc(unseen.labels, likely) > best - 0.02


def test_outputs_of_classes_are_probabilities_that_a_class_without_examples_hardly_gets() -> None:
    model = OF_CLASSES["softmax regression"]
    learner = Learner(model, Adagrad(0.1), LearnerSettings(), differentiate=CompiledDifferentiator)
    for number in range(60):
        learner.offer(examples(model.layout, 64, begin=64 * number, seed=number), 0.0)
        learner.step(0, 0.0)
    scores = learner.weights.score(examples(model.layout, 2_000, seed=1_000).inputs)
    assert scores.sum(axis=1) == pytest.approx(np.ones(2_000), abs=1e-5)
    assert scores[:, 2].mean() < 0.01
