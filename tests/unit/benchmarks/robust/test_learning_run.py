import numpy as np
import pytest

from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import (
    flipped,
    honest,
    with_dense,
    with_inputs_of_others,
)
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.ftrl import FTRL

LOGISTIC = LogisticRegression()


@pytest.mark.parametrize(("batch", "shards"), [(1, 1), (1, 4), (64, 1), (256, 4)])
def test_each_row_is_learned_once_by_weights_that_the_shards_follow(
    batch: int, shards: int
) -> None:
    run = LearningRun(Setup(LOGISTIC, FTRL(), batch, shards))
    played = run.play(honest(512, 1))
    assert played.learned == 512
    assert len(run.learner.applied) == shards
    assert run.copy.version == run.learner.version
    assert run.copy.checksum() == run.learner.weights.checksum()


def test_shards_of_one_round_score_by_the_same_weights() -> None:
    rows = honest(8, 1)
    alone = LearningRun(Setup(LOGISTIC, FTRL(), 1, 1)).play(rows).scores
    four = LearningRun(Setup(LOGISTIC, FTRL(), 1, 4)).play(rows).scores
    assert four[:4].tolist() == [0.5] * 4
    assert alone[0] == 0.5 != alone[1]


def test_rows_that_are_refused_are_named_in_the_second_stream_too() -> None:
    run = LearningRun(Setup(LOGISTIC, FTRL()))
    assert not run.play(honest(4_096, 1)).lost.any()
    spoilt = with_dense(honest(256, 2), np.nan)
    played = run.play(honest(512, 3) + spoilt + honest(256, 4))
    assert np.flatnonzero(played.lost).tolist() == list(range(512, 768))
    assert played.refused == 256
    assert np.isfinite(played.loss())


def test_losses_are_of_true_labels_and_of_rows_without_poison() -> None:
    rows = honest(512, 1)
    some = np.arange(512) < 64
    played = LearningRun(Setup(LOGISTIC, FTRL())).play(flipped(rows, some))
    assert played.rows.truth.tolist() == rows.labels.tolist()
    assert played.base_loss() == pytest.approx(
        LogLoss().of_constant(float(rows.labels[64:].mean()), 0.0)
    )


def test_inputs_of_others_are_those_of_rows_that_are_poisoned_too() -> None:
    rows = honest(256, 1)
    where = rows.partitions() == 2
    found = with_inputs_of_others(rows, where)
    assert (found.inputs.dense[~where] == rows.inputs.dense[~where]).all()
    assert sorted(found.inputs.dense[where, 0]) == sorted(rows.inputs.dense[where, 0])
    assert (found.inputs.dense[where] != rows.inputs.dense[where]).any()
    assert found.labels.tolist() == rows.labels.tolist()
