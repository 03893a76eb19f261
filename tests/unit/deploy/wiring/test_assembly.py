"""What parts are given because of what a pipeline declares."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_catalogue import PIPELINE

from freshrank import Arm, EpsilonGreedy, Experiment, Thompson
from freshrank.deploy.wiring import assembly
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.settings import LearnerSettings
from freshrank.serve.experiments.exploration import Exploration


@pytest.mark.parametrize(
    ("exploration", "there"),
    [(EpsilonGreedy(0.1), False), (Thompson(), True)],
    ids=["epsilon", "thompson"],
)
def test_a_learner_that_differentiates_sends_its_state_to_replicas_that_draw_weights(
    exploration: Exploration, there: bool
) -> None:
    arms = [Arm("control", 0.5), Arm("exploring", 0.5, explore=exploration)]
    pipeline = replace(PIPELINE, experiments=[Experiment("one", arms)])
    learner = assembly.learner(pipeline, LearnerSettings(), CompiledDifferentiator)
    assert (learner.snapshot(0).row_state is not None) == there
