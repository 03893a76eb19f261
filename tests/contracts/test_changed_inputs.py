"""What is kept of every model, by every optimiser, where its inputs change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from changing_inputs import (
    ITEM,
    RECENT,
    SHOP,
    USER,
    WORLD,
    carried,
    feed,
    fresh,
    layout_of,
    seen,
    work,
)
from learning import MODELS, OF_CLASSES, inputs
from numpy.typing import NDArray

from freshrank.actors.messages import Floats, InputLayout, Inputs, Version
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.models.base import Model, Rebindable
from freshrank.learner.models.deepfm import BoundDeepFM
from freshrank.learner.models.explanation.contributions import contributions
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.softmax_regression import BoundSoftmax
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import CosineDecay
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_cleaning import prepared
from freshrank.learner.parameters.target_scale import initial_moments
from freshrank.learner.parameters.weights import ModelWeights

EVERY: dict[str, Model] = {**MODELS, **OF_CLASSES}
OPTIMIZERS: list[Optimizer] = [
    SGD(0.01),
    Adagrad(0.05, schedule=CosineDecay(1_000)),
    AutoAdagrad(),
    Adam(0.01),
    FTRL(0.05, l1=0.01, dense_l1=0.01),
    Averaged(AutoAdagrad()),
    Averaged(Adam(0.01)),
]
Name = tuple[object, ...]
every = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)
by_every = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
LINEAR = {name: model for name, model in EVERY.items() if not isinstance(model, BoundDeepFM)}

BEFORE = layout_of(("price", "views"), USER, ITEM, RECENT)
CHANGES: dict[str, InputLayout] = {
    "added": layout_of(("age", "price", "views"), USER, SHOP, ITEM, RECENT),
    "removed": layout_of(("views",), USER, RECENT),
    "reordered": layout_of(("views", "price"), RECENT, USER, ITEM),
    "another meaning": layout_of(("price", "views"), USER, ITEM, RECENT, other=("views", "item")),
    "all at once": layout_of(("age", "views", "price"), SHOP, RECENT, ITEM, other=("price",)),
    "no numbers": layout_of((), ITEM, USER),
    "no ids": layout_of(("age", "views")),
}
changes = pytest.mark.parametrize("after", CHANGES.values(), ids=CHANGES)
# Of each optimiser how many columns of state each dense weight has, and how many more there are.
STATE: dict[type[Any], tuple[int, int]] = {
    SGD: (0, 0), Adagrad: (1, 0), AutoAdagrad: (2, 4), Adam: (2, 1), FTRL: (2, 0),
}  # fmt: skip


def named(model: Model) -> list[Name]:
    """Of each dense weight what it belongs to, by the definition of the model."""
    layout = model.layout
    meanings = layout.meanings
    dense: list[Name] = list(zip(layout.dense, meanings, strict=False))
    fields: list[Name] = list(zip(layout.fields, meanings[len(dense) :], strict=True))
    if isinstance(model, BoundLinear):
        return [("bias",), *dense]
    if isinstance(model, BoundSoftmax):
        rows: list[Name] = [("bias",), *dense]
        return [(*row, one) for row in rows for one in model.loss.classes]
    assert isinstance(model, BoundDeepFM)
    columns = range(model.spec.embedding_dim)
    units: list[Name] = [("unit", *field, column) for field in fields for column in columns]
    units += [("unit", *one) for one in dense]
    names: list[Name] = [("bias",), *dense]
    names += [(*one, column) for one in dense for column in columns]
    for number, width in enumerate([*model.spec.hidden, 1]):
        names += [(number, unit, to) for unit in units for to in range(width)]
        names += [(number, "bias", to) for to in range(width)]
        units = [(number, to) for to in range(width)]
    return names


def parts_of(optimizer: Optimizer, row: Floats, width: int) -> tuple[Floats, list[float]]:
    """Of a row of `width` dense weights and their state, that of each weight, and what is of all.

    The first is float32[blocks, width].
    """
    if isinstance(optimizer, Averaged):
        of_each, rest = parts_of(optimizer.of, row[: -width - 1], width)
        return np.concatenate([of_each, row[np.newaxis, -width - 1 : -1]]), [*rest, float(row[-1])]
    each, more = STATE[type(optimizer)]
    assert len(row) == (1 + each) * width + more
    end = len(row) - more
    return row[:end].reshape(1 + each, width), row[end:].tolist()


def by_name(learner: Learner) -> tuple[dict[Name, list[float]], list[float]]:
    """By what it belongs to, each dense weight and its state; and what is of all of them."""
    names, row = named(learner.model), learner.trained.dense_state[0]
    assert len(set(names)) == len(names) == learner.model.dense_size
    of_each, rest = parts_of(learner.optimizer, row, len(names))
    return dict(zip(names, of_each.T.tolist(), strict=True)), rest


def outputs(weights: ModelWeights, rows: Inputs) -> Floats:
    x, ids = prepared(rows, weights.scale)
    return weights.model.outputs(weights.dense, x, weights.table.pool(ids, weights.starts))


def of_world(rows: int, seed: int = 99) -> Inputs:
    return inputs(WORLD, rows, seed=seed)


def learned(model: Model, optimizer: Optimizer, layout: InputLayout = BEFORE) -> Learner:
    return feed(fresh(model, optimizer, layout), 0, 6)


@every
@by_every
@changes
def test_what_belongs_to_inputs_that_stay_is_kept_and_the_rest_begins_anew(
    model: Model, optimizer: Optimizer, after: InputLayout
) -> None:
    first = learned(model, optimizer)
    second = carried(first, after)
    (were, rest), (are, rest_now) = by_name(first), by_name(second)
    initial = dict(zip(named(second.model), second.model.initial().tolist(), strict=True))
    assert any(name in were for name in are)
    for name, found in are.items():
        new = [initial[name], *[0.0] * (len(found) - 1)]
        assert found == were.get(name, new), name
    assert rest_now == rest
    for part in ("keys", "rows", "stamps"):
        one, other = (getattr(learner.weights.table, part) for learner in (first, second))
        np.testing.assert_array_equal(one, other)


@every
@changes
def test_statistics_go_by_input_and_those_of_labels_stay(model: Model, after: InputLayout) -> None:
    first = learned(model, AutoAdagrad())
    second = carried(first, after)
    before, now = BEFORE.meanings[:2], after.meanings[: len(after.dense)]
    found, begun = second.weights.moments, initial_moments(second.model)
    assert found.shape == begun.shape
    for column, meaning in enumerate(now):
        kept = meaning in before
        of = first.weights.moments[:, before.index(meaning)] if kept else begun[:, column]
        np.testing.assert_array_equal(found[:, column], of)
    np.testing.assert_array_equal(found[:, len(now) :], first.weights.moments[:, 2:])


@every
@by_every
def test_position_and_totals_go_on_in_the_next_epoch(model: Model, optimizer: Optimizer) -> None:
    first = learned(model, optimizer)
    second = carried(first, CHANGES["all at once"])
    assert (first.version, second.version) == (Version(1, 6), Version(2, 0))
    assert second.applied == second.durable == second.accepted.offsets == first.applied
    one, other = first.status(0.0), second.status(0.0)
    for name in ("rows", "applied", "newest_event_ms", "examples", "judged", model.loss.name):
        assert other[name] == one[name], name
    assert second.trained.total_steps == 6
    assert second.trained.examples == first.trained.examples
    assert second.weights.table.recount()
    feed(second, 6, 9)
    assert np.isfinite(second.trained.dense_state).all()
    assert second.metrics.examples == 9 * 20


@every
@by_every
def test_inputs_that_come_and_go_leave_the_others_as_they_were(
    model: Model, optimizer: Optimizer
) -> None:
    first = learned(model, optimizer)
    second = carried(carried(first, CHANGES["added"]), BEFORE)
    for name, array in state(first).items():
        np.testing.assert_array_equal(state(second)[name], array, name)
    assert second.weights.checksum() == first.weights.checksum()
    for learner in (first, second):
        feed(learner, 6, 8)
    assert second.weights.checksum() == first.weights.checksum()


def state(learner: Learner) -> dict[str, NDArray[Any]]:
    arrays = checkpoints.take(learner).arrays
    return {name: arrays[name] for name in ("dense", "moments", "keys", "rows", "stamps")}


@every
def test_new_inputs_change_no_prediction_before_they_are_learned(model: Model) -> None:
    first = learned(model, AutoAdagrad())
    second, rows = carried(first, CHANGES["added"]), of_world(200)
    before, now = (outputs(one.weights, seen(one.model.layout, rows)) for one in (first, second))
    # Embeddings of ids that are new are small and random.
    within = 1e-5 if not isinstance(model, BoundDeepFM) else 0.05
    np.testing.assert_allclose(now, before, atol=within, rtol=0.0)
    assert np.isfinite(second.weights.score(seen(second.model.layout, rows))).all()


@pytest.mark.parametrize("model", LINEAR.values(), ids=LINEAR)
def test_a_linear_model_loses_the_part_of_an_input_that_is_gone(model: Model) -> None:
    first, rows = learned(model, AutoAdagrad()), of_world(200)
    second = carried(first, layout_of(("views",), USER, RECENT))
    weights, given = first.weights, seen(BEFORE, rows)
    x, ids = prepared(given, weights.scale)
    pooled = weights.table.pool(ids, weights.starts)
    if isinstance(model, BoundSoftmax):
        of_price = x[:, :1] * weights.dense.reshape(3, -1)[1]
        gone = of_price + pooled[:, 1]
    else:
        found = contributions(weights.model, weights.dense, x, pooled)
        gone = found.dense[:, 0] + found.fields[:, 1]
    assert abs(gone).max() > 0.01
    expected = outputs(weights, given) - gone
    now = outputs(second.weights, seen(second.model.layout, rows))
    np.testing.assert_allclose(now, expected, atol=1e-5, rtol=0.0)


LEARNERS = ["logistic regression", "DeepFM", "softmax regression"]
TAUGHT = [Adagrad(0.05), AutoAdagrad(), Adam(0.01), FTRL(0.05), Averaged(AutoAdagrad())]


def loss_of(learner: Learner, begin: int, end: int) -> float:
    """The mean loss of examples that it has not learned."""
    layout, losses = learner.model.layout, []
    for number in range(begin, end):
        one = work(layout, 100, number)
        losses.append(learner.model.loss.value(one.labels, learner.weights.score(one.inputs)))
    return float(np.mean(losses))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("optimizer", TAUGHT, ids=repr)
def test_a_model_with_new_inputs_learns_what_one_learns_that_had_them_from_then_on(
    name: str, optimizer: Optimizer
) -> None:
    few, all_of_them = (
        layout_of(("price",), USER, ITEM),
        layout_of(("price", "age"), USER, SHOP, ITEM),
    )
    first = feed(fresh(EVERY[name], optimizer, few), 0, 40, rows=100)
    second = carried(first, all_of_them)
    at_once = loss_of(second, 200, 220)
    before = loss_of(first, 200, 220)
    assert at_once == pytest.approx(before, abs=0.01)
    feed(second, 40, 42, rows=100)
    assert loss_of(second, 200, 220) < before + 0.02, "what is new did no harm on its way"
    feed(second, 42, 120, rows=100)
    late = fresh(EVERY[name], optimizer, all_of_them)
    late.applied = late.accepted.offsets = dict(first.applied)
    feed(late, 40, 120, rows=100)
    found, wanted = loss_of(second, 200, 220), loss_of(late, 200, 220)
    assert found < before - 0.1
    assert found < wanted + 0.02


@every
def test_every_model_says_where_its_weights_were(model: Model) -> None:
    assert isinstance(model, Rebindable)
    assert model.rebound(model.layout) == model
