"""What the inputs of every model contribute adds up to its output, and is what it should be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import LAYOUT, MODELS, OF_CLASSES, inputs, random_weights

from freshrank.actors.messages import Doubles, Floats, InputLayout
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import Model
from freshrank.learner.models.explanation.contributions import WithContributions, contributions
from freshrank.learner.models.losses import LogitLink, Loss
from freshrank.learner.models.softmax_regression import SoftmaxLink
from freshrank.learner.parameters.weights import ModelWeights

seeds = st.integers(0, 2**32 - 1)
EVERY = {**MODELS, **OF_CLASSES}
names = st.sampled_from(sorted(EVERY))
every = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)


class Foreign:
    """A model of a user's own that knows nothing of explanations."""

    def __init__(self, model: Model) -> None:
        self.layout: InputLayout = model.layout
        self.fingerprint: str = model.fingerprint
        self.loss: Loss = model.loss
        self.dense_size: int = model.dense_size
        self.rows: RowInit = model.rows
        self.initial = model.initial
        self.outputs = model.outputs
        self.backward = model.backward


def parts(weights: ModelWeights, rows: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Dense weights, inputs and pooled rows."""
    taken = inputs(weights.model.layout, rows, seed)
    return weights.dense, taken.dense, weights.table.pool(taken.ids, weights.starts)


@settings(deadline=None, max_examples=60)
@given(names, seeds)
def test_base_and_contributions_add_up_to_the_output(name: str, seed: int) -> None:
    weights = random_weights(EVERY[name], seed)
    taken = inputs(weights.model.layout, 6, seed)
    scores, classes = weights.score(taken), weights.model.loss.classes
    found = list(weights.explain(taken))
    likeliest = scores.max(axis=1) if classes else scores
    assert [one.score for one in found] == likeliest.tolist()
    for one in found:
        added = one.base + one.dense.sum() + one.fields.sum()
        assert added == pytest.approx(one.output, abs=1e-4)
        assert one.residual == pytest.approx(one.output - added, abs=1e-9)
        assert one.is_logit == isinstance(weights.model.loss.link, LogitLink | SoftmaxLink)
        if classes:
            assert one.of_class in classes
            continue
        predicted = weights.model.loss.link.prediction(np.array([one.output], np.float32))
        assert predicted[0] == pytest.approx(one.score, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(names, seeds)
def test_those_of_a_model_that_cannot_tell_add_up_as_well(name: str, seed: int) -> None:
    weights = random_weights(EVERY[name], seed)
    dense, x, pooled = parts(weights, 3, seed)
    foreign = Foreign(weights.model)
    assert not isinstance(foreign, WithContributions)
    found = contributions(foreign, dense, x, pooled)
    added = found.base + found.dense.sum(axis=1) + found.fields.sum(axis=1)
    kinks = "DeepFM" in name and name != "DeepFM without layers"
    within = 5e-3 if kinks else 1e-4
    outputs = weights.model.outputs(dense, x, pooled).reshape(3, -1).max(axis=1)
    np.testing.assert_allclose(added, outputs, within, within)


@every
def test_integrals_by_differences_are_those_that_the_model_knows_exactly(model: Model) -> None:
    assert isinstance(model, WithContributions)
    arguments = parts(random_weights(model, 3), 20, 3)
    exact, found = model.contributions(*arguments), contributions(Foreign(model), *arguments)
    np.testing.assert_allclose(found.base, exact.base, atol=1e-5)
    np.testing.assert_allclose(found.dense, exact.dense, atol=5e-3)
    np.testing.assert_allclose(found.fields, exact.fields, atol=5e-3)


def shapley(model: Model, dense: Floats, x: Floats, pooled: Floats) -> Doubles:
    """float64[d + F]: the mean of what an input adds over all orders in which inputs may come.

    Shapley, "A value for n-person games", 1953. `x` is [d] and `pooled` [F, w].
    """
    inputs, players = len(x), len(x) + len(pooled)
    values = np.zeros(players)
    for size in range(players):
        weight = 1.0 / (players * math.comb(players - 1, size))
        for before in itertools.combinations(range(players), size):
            for player in set(range(players)) - set(before):
                here = np.zeros((2, players), np.float32)
                here[:, before], here[1, player] = 1.0, 1.0
                without, with_it = model.outputs(
                    dense, here[:, :inputs] * x, here[:, inputs:, None] * pooled
                )
                values[player] += weight * (float(with_it) - float(without))
    return values


@pytest.mark.parametrize("name", ["logistic regression", "DeepFM without layers"])
def test_where_inputs_meet_in_pairs_only_contributions_are_shapley_values(name: str) -> None:
    model = MODELS[name]
    assert isinstance(model, WithContributions)
    dense, x, pooled = parts(random_weights(model, 1), 4, 1)
    found = model.contributions(dense, x, pooled)
    for row in range(4):
        fair = shapley(model, dense, x[row], pooled[row])
        np.testing.assert_allclose([*found.dense[row], *found.fields[row]], fair, atol=1e-4)


@every
def test_an_input_of_zero_and_a_field_without_ids_contribute_nothing(model: Model) -> None:
    dense, x, pooled = parts(random_weights(model, 2), 5, 2)
    x, pooled = x.copy(), pooled.copy()
    x[:, :1], pooled[:, -1] = 0.0, 0.0
    for asked in (model, Foreign(model)):
        found = contributions(asked, dense, x, pooled)
        np.testing.assert_allclose(found.dense[:, :1], 0.0, atol=1e-5)
        np.testing.assert_allclose(found.fields[:, -1], 0.0, atol=1e-5)


@every
def test_the_base_is_the_output_without_any_input(model: Model) -> None:
    dense, x, pooled = parts(random_weights(model, 4), 2, 4)
    found = contributions(model, dense, x, pooled)
    outputs = model.outputs(dense, x, pooled).reshape(len(x), -1)
    nothing = model.outputs(dense, np.zeros_like(x), np.zeros_like(pooled)).reshape(len(x), -1)
    np.testing.assert_allclose(found.base, nothing[[0, 1], outputs.argmax(axis=1)], atol=1e-5)


@every
def test_no_rows_have_no_contributions(model: Model) -> None:
    dense, x, pooled = parts(random_weights(model), 0, 0)
    for asked in (model, Foreign(model)):
        base, of_dense, of_fields = contributions(asked, dense, x, pooled)
        assert base.shape == (0,)
        assert of_dense.shape == (0, len(model.layout.dense))
        assert of_fields.shape == (0, len(model.layout.fields))


def test_the_inputs_of_the_layouts_are_named_in_their_order() -> None:
    weights = random_weights(MODELS["linear SVM"])
    (one,) = weights.explain(inputs(LAYOUT, 1))
    assert one.layout == LAYOUT
    assert (len(one.dense), len(one.fields)) == (2, 3)
