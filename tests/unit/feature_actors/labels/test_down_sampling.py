from __future__ import annotations

import numpy as np
import pytest

from freshrank.actors.messages import Inputs
from freshrank.feature_actors.labels.down_sampling import kept, without_negatives
from freshrank.feature_actors.labels.examples import LabelledRows

PLACES = np.arange(1_000_000, 1_020_000)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_as_many_are_kept_as_said_and_always_the_same(share: float) -> None:
    found = kept(PLACES, share)
    deviation = (share * (1 - share) / len(PLACES)) ** 0.5
    assert found.mean() == pytest.approx(share, abs=4 * deviation)
    assert (kept(PLACES[7:], share) == found[7:]).all()


def test_what_a_small_share_keeps_a_greater_one_keeps_too() -> None:
    few, many = kept(PLACES, 0.1), kept(PLACES, 0.2)
    assert not (few & ~many).any()


def test_positives_stay_and_those_whose_negative_was_left_out_correct_nothing() -> None:
    order = np.repeat(PLACES[:1_000], 2)  # each is shown, and clicked
    labels = np.tile(np.array([0, 1], np.float32), 1_000)
    inputs = Inputs(np.zeros((2_000, 0), np.float32), np.zeros((2_000, 1), np.int64))
    rows = LabelledRows(
        *(order, inputs.dense, inputs.ids, labels, order, labels > 0.5),
        served=np.zeros(2_000, np.float32),
        weights=np.ones(2_000, np.float32),
    )
    found = without_negatives(rows, 0.3)
    learned = kept(PLACES[:1_000], 0.3)
    assert found.order[found.labels < 0.5].tolist() == PLACES[:1_000][learned].tolist()
    assert (found.labels > 0.5).sum() == 1_000
    assert found.order[found.corrects].tolist() == PLACES[:1_000][learned].tolist()
    assert without_negatives(rows, 1.0) is rows
