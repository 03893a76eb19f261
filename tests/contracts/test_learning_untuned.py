"""What is learned depends neither on the scale of the inputs nor on the examples of a step."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from source_offsets import upto

from freshrank.actors.messages import Examples, Floats, IdField, InputLayout, Inputs, OffsetRange
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import CosineDecay, WarmUp
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.settings import LearnerSettings

ROWS, DENSE, IDS, FIELDS = 8_192, 4, 200, 39
LAYOUT = InputLayout(tuple(f"x{one}" for one in range(DENSE)), (IdField("a"), IdField("b")))
SHIFTS = {"x": (0, 1), "x/1000": (0, 1e-3), "20+5x": (20, 5), "1e3+100x": (1e3, 100),
          "1e6+1e4x": (1e6, 1e4)}  # fmt: skip


@functools.cache
def stream() -> tuple[Floats, Inputs, Floats]:
    """Numbers, the inputs with their ids, and labels that both decide."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(ROWS, DENSE))
    ids = np.minimum(random.zipf(1.3, (ROWS, 2)), IDS)
    of_ids = random.normal(size=(2, IDS + 1)) * 0.7
    logits = numbers @ random.normal(size=DENSE) + of_ids[0, ids[:, 0]] + of_ids[1, ids[:, 1]] - 1
    labels = (random.random(ROWS) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    hashed = ids * 7919 + np.array([0, 100_003])
    return numbers.astype(np.float32), Inputs(numbers.astype(np.float32), hashed), labels


def progressive_auc(spec: ModelSpec, optimizer: Optimizer, step: int, x: Floats) -> float:
    """The AUC of the second half of the stream, each example scored before it is learned."""
    _, inputs, labels = stream()
    learner = Learner(
        spec.bind(LAYOUT),
        optimizer,
        LearnerSettings(batch_examples=1),
        differentiate=CompiledDifferentiator,
    )
    scores = []
    for begin in range(0, ROWS, step):
        rows = slice(begin, begin + step)
        some = Inputs(x[rows], inputs.ids[rows])
        scores.append(learner.weights.score(some))
        covered = OffsetRange(0, upto(begin), upto(begin + step))
        learner.offer(Examples(covered, some, labels[rows], np.arange(step) + 1_000), 0.0)
        learner.step(0, 0.0)
    assert learner.quarantine.quarantined == []
    return exact_auc(labels[ROWS // 2 :], np.concatenate(scores)[ROWS // 2 :])


FOUND: dict[tuple[str, str, int], float] = {}


def auc_of_numbers(spec: ModelSpec, optimizer: Optimizer, step: int) -> float:
    """`progressive_auc` of the numbers of the stream, found once: several tests compare it."""
    numbers, _, _ = stream()
    learning = repr(spec), repr(optimizer), step
    if learning not in FOUND:
        FOUND[learning] = progressive_auc(spec, optimizer, step, numbers)
    return FOUND[learning]


def squashed(numbers: Floats) -> Floats:
    """As the encoder gives them to a model."""
    found: Floats = (np.sign(numbers) * np.log1p(np.abs(numbers))).astype(np.float32)
    return found


@pytest.mark.repeats
@pytest.mark.parametrize("optimizer", [SGD(), Adagrad(), Adam(), FTRL()], ids=repr)
@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM()], ids=repr)
def test_the_scale_and_the_origin_of_inputs_do_not_matter(
    spec: ModelSpec, optimizer: Optimizer
) -> None:
    numbers, _, _ = stream()
    found = {
        name: progressive_auc(spec, optimizer, 64, squashed(origin + scale * numbers))
        for name, (origin, scale) in SHIFTS.items()
    }
    assert min(found.values()) > found["x"] - 0.01, found


@pytest.mark.parametrize(
    "optimizer",
    [
        Adagrad(),
        FTRL(),
        SGD(),
        Adam(),
        DEFAULT_OPTIMIZER,
        SGD(schedule=WarmUp(ROWS / 8, then=CosineDecay(ROWS / 2))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM()], ids=repr)
def test_how_many_examples_a_step_holds_hardly_matters(
    spec: ModelSpec, optimizer: Optimizer
) -> None:
    few, some, many = (auc_of_numbers(spec, optimizer, step) for step in (8, 64, 256))
    assert abs(some - few) < 0.005
    assert abs(many - few) < 0.02


@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM()], ids=repr)
def test_the_default_optimizer_is_close_to_the_best(spec: ModelSpec) -> None:
    named: list[Optimizer] = [SGD(), Adagrad(), Adam(), FTRL()]
    best = max(auc_of_numbers(spec, optimizer, 64) for optimizer in named)
    assert auc_of_numbers(spec, DEFAULT_OPTIMIZER, 64) > best - 0.005


@functools.cache
def many_fields() -> tuple[Inputs, Floats]:
    """39 id fields, of which a few tell about the label; one label in thirty is 1."""
    random = np.random.default_rng(0)
    ids = np.minimum(random.zipf(1.5, (ROWS, FIELDS)), 1_000)
    of_ids = random.normal(size=(5, 1_001)) * 0.4
    logits = sum(of_ids[field, ids[:, field]] for field in range(5)) - 3.7
    labels = (random.random(ROWS) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    hashed = ids * 7919 + np.arange(FIELDS) * 100_003
    return Inputs(np.zeros((ROWS, 0), np.float32), hashed), labels


@pytest.mark.repeats
@pytest.mark.parametrize("step", [64, 1_024])
@pytest.mark.parametrize(
    "optimizer", [SGD(), Adagrad(), Adam(), FTRL(), DEFAULT_OPTIMIZER], ids=repr
)
def test_a_deepfm_of_many_fields_does_not_diverge_at_any_size_of_a_step(
    optimizer: Optimizer, step: int
) -> None:
    """Thousands of weights correct the same wrong base rate at once."""
    inputs, labels = many_fields()
    layout = InputLayout((), tuple(IdField(f"f{field}") for field in range(FIELDS)))
    settings = LearnerSettings(batch_examples=1)
    learner = Learner(
        DeepFM().bind(layout), optimizer, settings, differentiate=CompiledDifferentiator
    )
    losses = []
    for begin in range(0, ROWS, step):
        rows = slice(begin, begin + step)
        some = Inputs(inputs.dense[rows], inputs.ids[rows])
        losses.append(LogLoss().value(labels[rows], learner.weights.score(some)))
        covered = OffsetRange(0, upto(begin), upto(begin + step))
        learner.offer(Examples(covered, some, labels[rows], np.arange(step) + 1_000), 0.0)
        learner.step(0, 0.0)
    assert learner.quarantine.quarantined == []
    of_constant = LogLoss().of_constant(float(labels.mean()), 0.0)
    assert np.concatenate(losses)[ROWS // 2 :].mean() < 1.3 * of_constant
