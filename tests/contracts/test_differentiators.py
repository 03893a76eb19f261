"""The compiled kernels and torch compute one and the same gradient."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import pytest
from learning import LAYOUT, MODELS, OF_CLASSES, OF_SLATES, examples, random_weights

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages import Examples, Inputs
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.gradients.linear_parts import has_kernel
from freshrank.learner.gradients.local_weights import LocalWeights
from freshrank.learner.gradients.parts import Batch, LearnedParts, ModelParts
from freshrank.learner.gradients.torch_autograd import TorchDifferentiator
from freshrank.learner.models.base import Array, Model
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss, PlackettLuceLoss
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.schedules import InverseRootDecay
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

EVERY = {**MODELS, **OF_CLASSES, **OF_SLATES}
every = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)


def without_ids(work: Examples) -> Examples:
    return replace(work, inputs=Inputs(work.inputs.dense, np.zeros_like(work.inputs.ids)))


@pytest.mark.parametrize("case", ["some", "none", "no ids", "weights"])
@every
def test_both_agree(model: Model, case: str) -> None:
    weights = random_weights(model)
    work = examples(model.layout, 0 if case == "none" else 64, seed=11)
    if case == "no ids":
        work = without_ids(work)
    if case == "weights":
        work = replace(work, weights=np.linspace(0, 3, 64).astype(np.float32))
    compiled = CompiledDifferentiator(model, weights)
    torch = TorchDifferentiator(model, weights, "auto")
    compiled.freeze_reference()
    torch.freeze_reference()
    ours, theirs = compiled.gradient(work), torch.gradient(work)
    assert (theirs.offset_range, theirs.base) == (ours.offset_range, ours.base)
    assert theirs.newest_event_ms == ours.newest_event_ms
    assert (theirs.keys == ours.keys).all()
    assert theirs.reference_scores is not None and ours.reference_scores is not None
    for mine, other in (
        (ours.dense, theirs.dense),
        (ours.rows, theirs.rows),
        (ours.dense_squares, theirs.dense_squares),
        (ours.row_squares, theirs.row_squares),
        (ours.scores, theirs.scores),
        (ours.labels, theirs.labels),
        (ours.reference_scores, theirs.reference_scores),
    ):
        assert mine.dtype == other.dtype == np.float32
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)


class ByCalls(CompiledDifferentiator):
    """Without the kernel that learns a part of a linear model at once."""

    def _parts(self, batch: Batch, local: LocalWeights) -> LearnedParts:
        return ModelParts(self._model, self._derivatives, batch, local)


@pytest.mark.parametrize("rate", [1.0, 40.0], ids=["default", "too high"])
@pytest.mark.parametrize(
    "case", ["plain", "corrections", "weights", "without ids", "none", "slates"]
)
def test_a_kernel_of_parts_learns_what_calls_of_the_model_and_the_optimiser_do(
    case: str, rate: float
) -> None:
    # Where single examples go too far, a rounding is soon another part.
    count = 300 if rate == 1.0 else 12
    loss = PlackettLuceLoss() if case == "slates" else LogLoss()
    model = LogisticRegression(base_rate=0.1, loss=loss).bind(LAYOUT)
    work = examples(LAYOUT, count, seed=3)
    optimizer = AutoAdagrad(rate, l1=0.001, l2=0.01, dense_l2=0.01, schedule=InverseRootDecay(100))
    if case == "corrections":
        work = replace(work, corrects=(np.arange(count) % 3 == 0) & (work.labels > 0.5))
    elif case == "weights":
        work = replace(work, weights=np.linspace(0, 3, count).astype(np.float32))
    elif case == "without ids":
        work = without_ids(work)
    elif case == "none":
        work = examples(LAYOUT, 0)
    weights = ModelWeights(model, optimizer)
    weights.apply(Learner(model, optimizer, LearnerSettings()).snapshot(0))
    assert has_kernel(model, weights.optimizer)
    ours = CompiledDifferentiator(model, weights).gradient(work)
    theirs = ByCalls(model, weights).gradient(work)
    assert (ours.keys == theirs.keys).all() and ours.in_order and theirs.in_order
    for name in ("dense", "dense_squares", "rows", "row_squares", "row_counts", "scores"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype == np.float32, name
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4, err_msg=name)


@every
def test_torch_asks_for_weights_before_it_differentiates_too(model: Model) -> None:
    with pytest.raises(Unavailable, match="no snapshot has arrived yet"):
        TorchDifferentiator(model, ModelWeights(model), "cpu").gradient(examples(model.layout, 3))


@dataclass(frozen=True)
class NumPyOnly(BoundLinear):
    """A model whose outputs torch cannot differentiate."""

    def outputs(self, dense: Array, x: Array, pooled: Array) -> Array:
        return cast(Array, np.asarray(super().outputs(dense, x, pooled)))


def test_a_model_that_torch_cannot_compute_is_told_with_the_way_out() -> None:
    model = NumPyOnly(LogisticRegression(), LAYOUT, LogLoss(), 0.0)
    weights = ModelWeights(model)
    weights.apply(Learner(model, Adagrad(), LearnerSettings()).snapshot(0))
    assert len(CompiledDifferentiator(model, weights).gradient(examples(LAYOUT, 3))) == 3
    with pytest.raises(ConfigError, match=r"torch tensors .* learner\.device = \"cpu\""):
        TorchDifferentiator(model, weights, "cpu")


def test_models_and_their_kernels_are_imported_without_torch() -> None:
    code = (
        "import sys, freshrank.learner.models.deepfm, freshrank.learner.gradients.compiled;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@every
def test_a_learner_learns_the_same_by_either(model: Model) -> None:
    learners = [
        Learner(model, Adagrad(0.05), LearnerSettings(), differentiate=differentiate)
        for differentiate in (CompiledDifferentiator, partial(TorchDifferentiator, device="cpu"))
    ]
    for number in range(20):
        work = examples(model.layout, 32, begin=32 * number, seed=number)
        for learner in learners:
            learner.offer(work, 0.0)
            learner.step(0, 0.0)
    unseen = examples(model.layout, 200, seed=99).inputs
    by_kernels, by_torch = (learner.weights.score(unseen) for learner in learners)
    np.testing.assert_allclose(by_kernels, by_torch, atol=5e-3)
