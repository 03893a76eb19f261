"""Pinned weights score as the learner's did at their version, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from damage import damaged
from learning import MODELS, examples, inputs

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.learner.checkpoints import take
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.pinned import KIND, pinned_of, pinned_weights
from freshrank.learner.settings import LearnerSettings


def learned(model: Model, optimizer: Optimizer) -> Learner:
    made = Learner(model, optimizer, LearnerSettings(), differentiate=CompiledDifferentiator)
    for number in range(4):
        work = examples(model.layout, 20, begin=20 * number, seed=number)
        assert made.offer(work, 0.0).accepted
        made.step(0, 0.0)
    return made


def checkpoint(learner: Learner) -> bytes:
    return b"".join(take(learner).pieces())


@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(0.01)], ids=repr)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_scores_are_those_of_the_learner(model: Model, optimizer: Optimizer) -> None:
    learner = learned(model, optimizer)
    file = b"".join(pinned_of(checkpoint(learner), model, optimizer))
    found, asked = pinned_weights(file, model), inputs(model.layout, 50, seed=9)
    assert found.version == learner.weights.version
    np.testing.assert_array_equal(found.score(asked), learner.weights.score(asked))
    assert found.checksum() == learner.weights.checksum()
    assert len(file) <= len(checkpoint(learner))


def test_weights_of_another_model_are_refused() -> None:
    model, other = MODELS["DeepFM"], MODELS["linear SVM"]
    file = checkpoint(learned(model, SGD(0.01)))
    with pytest.raises(DefinitionChanged):
        pinned_of(file, model, Adagrad(0.1))
    with pytest.raises(DefinitionChanged):
        pinned_weights(b"".join(pinned_of(file, model, SGD(0.01))), other)


def test_damaged_weights_are_refused() -> None:
    model = MODELS["logistic regression"]
    file = b"".join(pinned_of(checkpoint(learned(model, SGD(0.01))), model, SGD(0.01)))
    for what, broken in damaged(file, KIND, MadeFor(model.fingerprint)):
        with pytest.raises(SnapshotError):
            pinned_weights(broken, model)
            raise AssertionError(what)
