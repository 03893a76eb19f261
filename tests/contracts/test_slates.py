"""The order of lists is learned alike by all that differentiates, whatever a step holds."""

from __future__ import annotations

import functools
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from learning import OF_SLATES, examples, random_weights
from source_offsets import upto

from freshrank.actors.messages import (
    Doubles,
    Examples,
    Floats,
    IdField,
    InputLayout,
    Inputs,
    Ints,
    OffsetRange,
)
from freshrank.learner.core import Learner
from freshrank.learner.gradients.batch import BatchDifferentiator
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.gradients.torch_autograd import TorchDifferentiator
from freshrank.learner.models.base import Model, ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss, Loss, PlackettLuceLoss
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

every = pytest.mark.parametrize("model", OF_SLATES.values(), ids=OF_SLATES)
SIZES = (4, 1, 7, 2, 10)


def slates(layout: InputLayout, seed: int = 0) -> Examples:
    """Slates of these sizes."""
    found = examples(layout, sum(SIZES), seed=seed)
    labels = np.zeros(sum(SIZES), np.float32)
    labels[np.cumsum((0, *SIZES[:-1]))] = 1.0
    return replace(found, labels=labels)


def softmax(outputs: Floats, labels: Floats) -> Doubles:
    """Of each slate by itself."""
    starts = [*np.flatnonzero(labels > 0.5).tolist(), len(labels)]
    parts = [np.exp(outputs[one:other].astype(np.float64)) for one, other in pairwise(starts)]
    return np.concatenate([part / part.sum() for part in parts])


def outputs_of(weights: ModelWeights, inputs: Inputs) -> Floats:
    return weights.model.loss.link.output(weights.score(inputs)).astype(np.float32)


def cross_entropy(weights: ModelWeights, work: Examples) -> float:
    chosen = softmax(outputs_of(weights, work.inputs), work.labels)[work.labels > 0.5]
    return float(-np.log(chosen).sum())


@pytest.mark.parametrize("kind", [CompiledDifferentiator, TorchDifferentiator])
@every
def test_the_gradient_is_the_slope_of_the_softmax_cross_entropy(
    model: Model, kind: type[BatchDifferentiator]
) -> None:
    weights, work = random_weights(model, seed=4), slates(model.layout, seed=2)
    found = kind(model, weights).gradient(work)
    assert found.scores == pytest.approx(
        softmax(outputs_of(weights, work.inputs), work.labels), abs=1e-5
    )
    bent = np.flatnonzero(np.abs(found.dense) > 0.02)[:12]
    for place in bent:
        losses = []
        for step in (1e-2, -1e-2):
            other = random_weights(model, seed=4)
            other.dense[place] += step
            losses.append(cross_entropy(other, work))
        slope = (losses[0] - losses[1]) / 2e-2
        assert found.dense[place] == pytest.approx(slope, rel=0.05, abs=0.02)
    assert len(bent)


@every
def test_what_all_items_of_a_slate_share_is_not_learned(model: Model) -> None:
    """The first id is that of the user, the same for all items; so is the bias."""
    weights, work = random_weights(model), slates(model.layout)
    ids = work.inputs.ids.copy()
    ids[:, 0] = 7919 * np.repeat(np.arange(1, 1 + len(SIZES)), SIZES)
    found = CompiledDifferentiator(model, weights).gradient(
        replace(work, inputs=Inputs(work.inputs.dense, ids))
    )
    users = np.isin(found.keys, 7919 * np.arange(1, 1 + len(SIZES)))
    assert np.abs(found.rows[users, 0]).max() < 1e-5 < np.abs(found.rows[~users, 0]).max()
    assert abs(found.dense[0]) < 1e-5


@every
def test_what_was_served_is_judged_within_its_slate_too(model: Model) -> None:
    weights, work = random_weights(model), slates(model.layout)
    differentiator = CompiledDifferentiator(model, weights)
    differentiator.freeze_reference()
    served = weights.score(work.inputs)
    served[:4] = np.nan  # an impression of before
    found = differentiator.gradient(replace(work, served=served))
    assert found.served is not None and found.reference_scores is not None
    assert found.reference_scores == pytest.approx(found.scores, abs=1e-4)
    assert np.isnan(found.served[:4]).all()
    assert found.served[4:] == pytest.approx(found.scores[4:], abs=1e-4)


ITEMS, LISTS, SIZE = 60, 3_000, 6
OF_ITEMS = InputLayout(("quality",), (IdField("item"),))


class World(NamedTuple):
    """Lists of items, whose first was chosen; and the utility of each item."""

    inputs: Inputs
    chosen: Ints
    """int64[lists]: the place of the chosen item in each list; -1 where none was."""
    utilities: Doubles
    quality: Floats


@functools.cache
def world() -> World:
    """Users who often choose are shown the worse items: a rate of clicks tells the wrong order."""
    random = np.random.default_rng(3)
    quality = random.normal(size=ITEMS).astype(np.float32)
    utilities = quality + random.normal(size=ITEMS) * 0.7
    better, worse = np.array_split(np.argsort(-utilities), 2)
    lists, chosen = np.empty((LISTS, SIZE), np.int64), np.full(LISTS, -1)
    for number in range(LISTS):
        active = random.random() < 0.5
        often = worse if active else better
        some = random.choice(often, SIZE - 2, replace=False)
        lists[number] = [*some, *random.choice(np.setdiff1d(np.arange(ITEMS), some), 2)]
        if random.random() < (0.9 if active else 0.1):
            odds = np.exp(utilities[lists[number]])
            chosen[number] = random.choice(SIZE, p=odds / odds.sum())
    items = lists.ravel()
    inputs = Inputs(quality[items][:, np.newaxis], (items[:, np.newaxis] + 1) * 7919)
    return World(inputs, chosen, utilities, quality)


def learned(spec: ModelSpec, optimizer: Optimizer, step: int, shards: int = 1) -> ModelWeights:
    """The weights that have learned the lists, so many of them at once."""
    model, seen = spec.bind(OF_ITEMS), world()
    learner = Learner(
        model,
        optimizer,
        LearnerSettings(batch_examples=1),
        differentiate=CompiledDifferentiator,
    )
    ends = dict.fromkeys(range(shards), 0)
    for number, begin in enumerate(range(0, LISTS, step)):
        rows, labels = _rows(seen.chosen[begin : begin + step], listwise=model.loss.listwise)
        rows += begin * SIZE
        partition = number % shards
        end = ends[partition] + step
        covered = OffsetRange(partition, upto(ends[partition]), upto(end))
        ends[partition] = end
        some = Inputs(seen.inputs.dense[rows], seen.inputs.ids[rows])
        assert learner.offer(Examples(covered, some, labels, 1_000 + rows), 0.0).accepted
        if partition == shards - 1:
            learner.step(0, 0.0)
    assert learner.quarantine.quarantined == []
    return learner.weights


def _rows(chosen: Ints, *, listwise: bool) -> tuple[Ints, Floats]:
    """The rows of some lists, and their labels; of slates only those of which one was chosen."""
    places: list[int] = []
    labels: list[float] = []
    for number, place in enumerate(chosen.tolist()):
        rest = [one for one in range(SIZE) if one != place]
        if listwise and place < 0:
            continue
        ordered = rest if place < 0 else [place, *rest]
        places += [number * SIZE + one for one in ordered]
        labels += [0.0] * SIZE if place < 0 else [1.0] + [0.0] * (SIZE - 1)
    return np.array(places, np.int64), np.array(labels, np.float32)


def error(weights: ModelWeights) -> float:
    """The deviation of learned utilities from the true ones; a constant is of no account."""
    seen = world()
    items = Inputs(seen.quality[:, np.newaxis], (np.arange(ITEMS)[:, np.newaxis] + 1) * 7919)
    return float(np.std(outputs_of(weights, items) - seen.utilities))


SLATES = LogisticRegression(loss=PlackettLuceLoss())


FOUND: dict[tuple[str, int, int], float] = {}


def error_of(optimizer: Optimizer, step: int, shards: int) -> float:
    """Found once: several tests compare it."""
    learning = repr(optimizer), step, shards
    if learning not in FOUND:
        FOUND[learning] = error(learned(SLATES, optimizer, step, shards))
    return FOUND[learning]


@pytest.mark.parametrize("optimizer", [AutoAdagrad(), FTRL(), SGD()], ids=repr)
def test_the_order_is_learned_where_the_rate_of_clicks_tells_the_wrong_one(
    optimizer: Optimizer,
) -> None:
    by_items = error(learned(LogisticRegression(0.1), optimizer, 4))
    assert error_of(optimizer, 1, 1) < by_items - 0.3
    assert error_of(AutoAdagrad(), 1, 1) < 0.35 and by_items > 0.9


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize(("step", "within"), [(16, 0.01), (64, 0.03), (256, 0.08)])
@pytest.mark.parametrize("optimizer", [AutoAdagrad(), FTRL(), SGD()], ids=repr)
def test_what_is_learned_does_not_depend_on_the_slates_of_a_step(
    optimizer: Optimizer, step: int, within: float, shards: int
) -> None:
    assert abs(error_of(optimizer, step, shards) - error_of(optimizer, 1, 1)) < within


@pytest.mark.parametrize("loss", [PlackettLuceLoss(), LogLoss()], ids=repr)
def test_a_deep_model_learns_either_loss(loss: Loss) -> None:
    found = error(learned(DeepFM(4, (8,), loss=loss), AutoAdagrad(), 8))
    assert found < 0.4 if loss.listwise else found > 0.8
