"""How uncertain outputs are: against the formula, and draws that have the covariance of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freshrank.actors.messages import Delta, Doubles, IdField, InputLayout, Inputs, Version
from freshrank.actors.parameters.uncertainty import WeightSampling
from freshrank.learner.models.base import Model
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import ClassWeighted, DownSampled, LogLoss, residuals_of
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_moments import unscaled
from freshrank.learner.parameters.uncertainty import (
    sampled_predictions,
    spread,
    unknown_uncertainty,
)
from freshrank.learner.parameters.weights import ModelWeights

LAYOUT = InputLayout(("age", "price"), (IdField("user"), IdField("item"), IdField("tags", 3)))
USER, HOT, WARM, COLD, RED, SOFT = 1, 10, 11, 12, 20, 21
SEEN = {USER: 40.0, HOT: 400.0, WARM: 8.0, RED: 15.0, SOFT: 3.0}
DENSE = [90.0, 7.0, 30.0]
"""Squared gradients of the bias and of both numbers."""
AROUND = WeightSampling(count=40_000, prior=2.0, scale=0.5)
# Of one user: a hot item, two of one tag, an item that is not known at all, one without any id.
X = np.array([[1, 0.5], [1, -2], [1, 0], [1, 1], [1, 3]], np.float32)
IDS = np.array(
    [
        [USER, HOT, RED, SOFT, 0],
        [USER, WARM, RED, 0, 0],
        [USER, COLD, 0, 0, 0],
        [USER, HOT, SOFT, SOFT, RED],
        [USER, 0, 0, 0, 0],
    ]
)


def known(
    optimizer: Optimizer | None = None, model: Model | None = None, seen: float = 1.0
) -> ModelWeights:
    """Weights whose squares are `SEEN` and `DENSE`, times `seen`."""
    model = model or LogisticRegression().bind(LAYOUT)
    optimizer = optimizer or Adagrad()
    made = ModelWeights(model, optimizer)
    random, width, size = np.random.default_rng(3), model.rows.width, model.dense_size
    state = np.zeros((len(SEEN), made.table.rows.shape[1] - width), np.float32)
    state[:, 0] = np.array(list(SEEN.values())) * seen
    dense_state = np.zeros(made.dense_state.shape[1] - size, np.float32)
    dense_state[:3] = np.array(DENSE) * seen
    made.apply(
        Delta(
            version=Version(1, 1),
            base=None,
            dense=random.normal(size=size).astype(np.float32),
            moments=unscaled(2),
            keys=np.array(list(SEEN)),
            rows=random.normal(size=(len(SEEN), width)).astype(np.float32),
            evicted=np.zeros(0, np.int64),
            row_state=state,
            dense_state=dense_state,
        )
    )
    return made


def covariance() -> Doubles:
    """float64[5, 5]: ``Σ x_i x'_i / q_i`` over the weights, one by one."""
    weights = ["bias", "age", "price", USER, HOT, WARM, COLD, RED, SOFT]
    squares = [*DENSE, *(SEEN.get(key, 0.0) for key in weights[3:] if isinstance(key, int))]
    inputs = np.zeros((5, len(weights)))
    inputs[:, 0], inputs[:, 1:3] = 1.0, X
    for row, ids in enumerate(IDS.tolist()):
        for field in (ids[:1], ids[1:2], ids[2:]):
            present = [key for key in field if key]
            for key in present:
                inputs[row, weights.index(key)] += 1 / len(present)
    precisions = (AROUND.prior + np.array(squares)) / AROUND.scale**2
    found: Doubles = (inputs / precisions) @ inputs.T
    return found


@pytest.mark.parametrize("optimizer", [Adagrad(), AutoAdagrad(), FTRL()], ids=repr)
@pytest.mark.parametrize("model", [LogisticRegression(), DeepFM(4, (3,))], ids=repr)
def test_the_variance_of_an_output_is_the_sum_of_squared_inputs_over_precisions(
    optimizer: Optimizer, model: LogisticRegression | DeepFM
) -> None:
    found = spread(known(optimizer, model.bind(LAYOUT)), X, IDS, AROUND)
    assert found.variances == pytest.approx(covariance().diagonal(), rel=1e-6)
    assert (found.own > 0).tolist() == [False, True, True, False, False], "warm and cold are alone"
    assert found.shared.shape == (5, 4), "price, and three ids that some have"


def test_rows_move_together_by_what_they_share() -> None:
    drawn = spread(known(), X, IDS, AROUND).draw(AROUND.count, np.random.default_rng(5))
    wanted = covariance()
    # A sampled covariance has a standard error of at most sqrt(2 / count) of both deviations.
    deviations = np.sqrt(wanted.diagonal())
    error = 5 * (2 / AROUND.count) ** 0.5 * np.outer(deviations, deviations)
    assert (np.abs(np.cov(drawn.T) - wanted) < error).all()
    assert np.abs(drawn.mean(axis=0)).max() < 5 * deviations.max() / AROUND.count**0.5


def test_the_first_predictions_are_the_scores_and_the_others_follow_from_the_seed() -> None:
    weights, inputs = known(), Inputs(X, IDS)
    few = replace(AROUND, count=20)
    found = sampled_predictions(weights, inputs, few, 7)
    assert found.shape == (21, 5)
    assert found.dtype == np.float32
    assert found[0].tobytes() == weights.score(inputs).tobytes()
    assert sampled_predictions(weights, inputs, few, 7).tobytes() == found.tobytes()
    other = sampled_predictions(weights, inputs, few, 8)
    assert (other[1:] != found[1:]).mean() > 0.9
    logits = LogLoss().link.output(found[1:].ravel()).reshape(20, 5)
    of_scores = LogLoss().link.output(found[0])
    drawn = spread(weights, X, IDS, few).draw(20, np.random.Generator(np.random.PCG64(7)))
    assert logits - of_scores == pytest.approx(drawn, abs=1e-3)


def test_who_was_seen_more_is_surer() -> None:
    found = spread(known(), X[:3], IDS[:3], AROUND).variances
    assert found[0] < found[1] < found[2], "hot, warm, cold"
    surer = spread(known(seen=100.0), X[:3], IDS[:3], AROUND).variances
    assert (surer < found).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_without_ids_and_of_a_single_row_nothing_is_lost(rows: int) -> None:
    found = spread(known(), X[:rows], np.zeros((rows, 5), np.int64), AROUND)
    precisions = (AROUND.prior + np.array(DENSE)) / AROUND.scale**2
    inputs = np.concatenate([np.ones((rows, 1)), X[:rows]], axis=1)
    assert found.variances == pytest.approx((inputs**2 / precisions).sum(axis=1))


def test_of_no_rows_there_are_no_predictions() -> None:
    none = Inputs(np.zeros((0, 2), np.float32), np.zeros((0, 5), np.int64))
    assert sampled_predictions(known(), none, replace(AROUND, count=4), 1).shape == (5, 0)


def test_a_model_without_id_fields_is_uncertain_by_its_numbers() -> None:
    model = LogisticRegression().bind(InputLayout(("age",), ()))
    made = ModelWeights(model, Adagrad())
    found = spread(made, X[:, 1:], np.zeros((5, 0), np.int64), AROUND)
    of_each = AROUND.scale**2 / AROUND.prior
    assert found.variances == pytest.approx(of_each * (1 + X[:, 1] ** 2))


def test_corrections_count_as_the_documentation_says() -> None:
    predicted, positives, count = np.float32(0.2), 200, 1_000
    predictions = np.full(count, predicted)
    negatives = residuals_of(LogLoss(), np.zeros(count, np.float32), None, predictions)
    clicked = np.ones(positives, np.float32), np.ones(positives, np.bool_)
    corrections = residuals_of(LogLoss(), *clicked, predictions[:positives])
    squares = float((negatives**2).sum() + (corrections**2).sum())
    fisher = count * 0.2 * 0.8
    assert squares == pytest.approx(fisher * (1 + 0.2) / (1 - 0.2), rel=1e-5)


class Own:
    """A model that tells nothing of a linear part."""

    loss = LogLoss()


WEIGHTED: Any = ClassWeighted(LogLoss(), positive=5.0)
SAMPLED: Any = DownSampled(LogLoss(), 0.1)


@pytest.mark.parametrize(
    ("model", "optimizer", "says"),
    [
        (LogisticRegression().bind(LAYOUT), Adagrad(), None),
        (LogisticRegression(loss=SAMPLED).bind(LAYOUT), FTRL(), None),
        (DeepFM(4, (3,)).bind(LAYOUT), AutoAdagrad(), None),
        (LinearRegression().bind(LAYOUT), Adagrad(), "of the log loss alone"),
        (LogisticRegression(loss=WEIGHTED).bind(LAYOUT), Adagrad(), "ClassWeighted"),
        (Own(), Adagrad(), "Own does not say which of its weights are linear"),
        (LogisticRegression().bind(LAYOUT), SGD(), "SGD(rate=0.01) keeps no squared gradients"),
    ],
)  # fmt: skip
def test_why_it_is_not_known_is_told(model: Any, optimizer: Optimizer, says: str | None) -> None:
    found = unknown_uncertainty(model, optimizer)
    assert (found is None) == (says is None)
    if found is not None and says is not None:
        assert says in found.reason
        assert found.fix.startswith("Take ")
