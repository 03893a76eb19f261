from __future__ import annotations

import numpy as np
import pytest
from learning import MODELS

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, InputLayout
from freshrank.learner.models.base import Model, ModelSpec
from freshrank.learner.models.deepfm import BoundDeepFM, DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogitLink


def parts(model: Model, rows: int = 5) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(5)
    dense = random.normal(size=model.dense_size).astype(np.float32)
    x = random.normal(size=(rows, len(model.layout.dense))).astype(np.float32)
    pooled = random.normal(size=(rows, len(model.layout.fields), model.rows.width))
    return dense, x, pooled.astype(np.float32)


def test_logistic_regression_adds_bias_dense_inputs_and_fields() -> None:
    model = MODELS["logistic regression"]
    dense = np.array([0.5, 2.0, -1.0], np.float32)
    x = np.array([[1.0, 3.0]], np.float32)
    pooled = np.array([[[0.1], [0.2], [0.3]]], np.float32)
    assert model.outputs(dense, x, pooled).tolist() == pytest.approx([0.5 + 2.0 - 3.0 + 0.6])


def test_deepfm_adds_every_pair_of_fields_once() -> None:
    model = MODELS["DeepFM without layers"]
    assert isinstance(model, BoundDeepFM)
    dense, x, pooled = parts(model)
    linear, embedding, ((weights, bias),) = model.shape.split(dense)
    for i, output in enumerate(model.outputs(dense, x, pooled)):
        vectors = [*pooled[i, :, 1:], *(x[i][:, None] * embedding)]
        expected = dense[0] + x[i] @ linear + pooled[i, :, 0].sum()
        for first in range(len(vectors)):
            for second in range(first):
                expected += vectors[first] @ vectors[second]
        expected += np.concatenate([pooled[i, :, 1:].ravel(), x[i]]) @ weights[:, 0] + bias[0]
        assert output == pytest.approx(expected, rel=1e-4)


def test_the_flat_vector_has_no_unused_or_shared_place() -> None:
    model = MODELS["DeepFM"]
    assert isinstance(model, BoundDeepFM)
    flat = np.zeros(model.dense_size, np.float32)
    linear, embedding, layers = model.shape.split(flat)
    flat[0] += 1
    for part in (linear, embedding, *(one for layer in layers for one in layer)):
        np.add(part, 1, out=part)
    assert (flat == 1.0).all()


@pytest.mark.parametrize("spec", [LogisticRegression(), DeepFM(hidden=())])
def test_a_model_that_has_learned_nothing_ranks_by_favourable_inputs(spec: ModelSpec) -> None:
    names = ("price", "co_visited", "followed_by")
    known = spec.bind(InputLayout(names, (), favourable=names[1:]))
    first = known.initial() - spec.bind(InputLayout(names, ())).initial()
    assert first[:4].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert not first[4:].any()
    # What was learned before it was known means the same, and is read.
    assert known.fingerprint == spec.bind(InputLayout(names, ())).fingerprint


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_base_rate_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"base_rate: .* is not a rate\. Give the share"):
        LogisticRegression(base_rate=rate)


def test_impossible_sizes_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"DeepFM\.embedding_dim"):
        DeepFM(embedding_dim=0)
    with pytest.raises(ConfigError, match=r"DeepFM\.hidden"):
        DeepFM(hidden=(8, 0))


def test_probabilities_stay_finite_for_extreme_logits() -> None:
    extreme = np.array([-1e30, -88.0, 0.0, 88.0, 1e30], np.float32)
    scores = LogitLink().prediction(extreme)
    assert np.isfinite(scores).all()
    assert scores[2] == 0.5
    assert (np.diff(scores) >= 0.0).all()
