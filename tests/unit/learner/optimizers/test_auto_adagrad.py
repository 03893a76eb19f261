"""The rates that `AutoAdagrad` finds: by the number of inputs, and by its hypergradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import MODELS, OF_CLASSES, examples

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, IdField, InputLayout
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.auto_adagrad import (
    OF_ALL_INPUTS,
    OF_EMBEDDINGS,
    OF_ONE_INPUT,
    AutoAdagrad,
)
from freshrank.learner.optimizers.base import OF_PROBABILITY, of_one_example
from freshrank.learner.parameters.gradient_sum import total
from freshrank.learner.parameters.training_state import TrainingState

GRADIENTS = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20)
AT = np.array([0])


def moved(optimizer: AutoAdagrad, gradients: list[list[float]], *, dense: bool = False) -> Floats:
    """Weights and state of a row after a step of an example for each gradient."""
    width = len(gradients[0])
    more = optimizer.dense_state_width(width) if dense else optimizer.state_width(width)
    rows: Floats = np.zeros((1, width + more), np.float32)
    for one in gradients:
        optimizer.update(rows, AT, of_one_example(np.array([one], np.float32)), dense)
    return rows.ravel()


@given(GRADIENTS)
def test_ids_share_what_all_inputs_may_move_the_output_by(gradients: list[float]) -> None:
    weight = squares = embedded = 0.0
    for g in gradients:
        squares += g * g
        weight -= OF_ALL_INPUTS / 9 * g / (1 + math.sqrt(squares))
        embedded -= OF_EMBEDDINGS * g / (1 + math.sqrt(squares))
    found = moved(AutoAdagrad(inputs=8), [[g, g] for g in gradients])
    assert found.tolist() == pytest.approx([weight, embedded, squares, squares], rel=1e-3, abs=1e-5)


@given(GRADIENTS)
def test_the_bias_follows_its_hypergradient(gradients: list[float]) -> None:
    """Line by line, of a single weight."""
    weight = squares = trace = log_rate = seen = 0.0
    for g in gradients:
        if g * trace:
            seen += (g * trace) ** 2
            log_rate -= 0.1 * g * trace / math.sqrt(1e-3 + seen)
        squares += g * g
        rate = 0.5 * math.exp(log_rate) / (1 + math.sqrt(squares))
        weight -= rate * g
        trace = trace * math.exp(-rate * g * g) - rate * g
    found = moved(AutoAdagrad(), [[g] for g in gradients], dense=True)
    assert found[:3].tolist() == pytest.approx([weight, squares, trace], rel=1e-2, abs=1e-4)
    assert found[3] == pytest.approx(log_rate, rel=1e-2, abs=1e-3)


def others_log_rate(gradients: list[list[float]]) -> float:
    """The logarithm of how much faster the dense weights but the bias learn than in the begin."""
    return float(moved(AutoAdagrad(), gradients, dense=True)[-2])


def test_a_rate_rises_while_gradients_agree_and_falls_while_they_alternate() -> None:
    agree = [[0.0, 0.5, -0.5]] * 50
    alternate = [[0.0, 0.5 * (-1) ** step, 0.5 * (-1) ** step] for step in range(50)]
    assert others_log_rate(agree) > 0.5
    assert others_log_rate(alternate) < -0.5


def test_a_rate_stays_within_fifteen_times_that_of_the_begin() -> None:
    for gradients in ([[0.0, 1.0]] * 5_000, [[0.0, (-1.0) ** step] for step in range(5_000)]):
        assert 1.0 < abs(others_log_rate(gradients)) <= math.log(15)


def test_of_several_classes_all_columns_of_a_row_are_linear_weights() -> None:
    many = moved(AutoAdagrad(inputs=39).for_model(39, 2, OF_PROBABILITY), [[1.0, 1.0, 1.0]])[:3]
    linear, embedded = -OF_ALL_INPUTS / 80, -OF_EMBEDDINGS / 2
    assert many.tolist() == pytest.approx([linear, linear, embedded])
    assert OF_CLASSES["softmax regression"].rows.linear == 3 and MODELS["DeepFM"].rows.linear == 1


def test_an_id_among_few_has_a_rate_of_its_own() -> None:
    few, many = (moved(AutoAdagrad(inputs=inputs), [[1.0]])[0] for inputs in (1, 39))
    assert [few, many] == pytest.approx([-OF_ONE_INPUT / 2, -OF_ALL_INPUTS / 80])


def test_a_learner_counts_the_inputs_of_its_model() -> None:
    layout = InputLayout((), tuple(IdField(f"f{field}") for field in range(19)))
    model = LogisticRegression().bind(layout)
    trained = TrainingState(model, AutoAdagrad(), max_rows=1_000)
    work = CompiledDifferentiator(model, trained.weights).gradient(examples(layout, 1))
    trained.update(replace(total([work]), probes=None))  # as far as the rate says
    rate = OF_ALL_INPUTS / 20
    expected = -rate * work.rows / (1 + np.sqrt(work.row_squares))
    assert trained.weights.table.read(work.keys) == pytest.approx(expected, rel=1e-5)


def test_ids_of_a_model_of_numbers_have_a_quarter_of_the_rate() -> None:
    """An error of one deviation moves its loss four times as fast as one of a unit of log-odds."""
    layout = InputLayout((), (IdField("only"),))
    found = []
    for spec in (LogisticRegression(), LinearRegression()):
        trained = TrainingState(spec.bind(layout), AutoAdagrad(), max_rows=1_000)
        stepping = trained.weights.optimizer_at(0)
        assert isinstance(stepping, AutoAdagrad)
        found.append(moved(stepping, [[1.0]])[0])
    assert found == pytest.approx([-OF_ONE_INPUT / 2, -OF_ONE_INPUT / 8])


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_a_rate_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"AutoAdagrad\.rate"):
        AutoAdagrad(wrong)
