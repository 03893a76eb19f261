import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.learner.models.losses import (
    LogLoss,
    PlackettLuceLoss,
    choice_probabilities,
    slate_offsets,
    within_slates,
)

LOSS = PlackettLuceLoss()
outputs = st.lists(st.floats(-14, 14, width=32), min_size=2, max_size=12)


@given(st.lists(outputs, min_size=1, max_size=4))
def test_a_prediction_is_the_softmax_of_its_slate(slates: list[list[float]]) -> None:
    labels = np.concatenate([np.arange(len(one)) == 0 for one in slates]).astype(np.float32)
    given_outputs = np.concatenate(slates).astype(np.float32)
    found = choice_probabilities(given_outputs, slate_offsets(labels, given_outputs))
    powers = [np.exp(np.array(one)) for one in slates]
    wanted = [one / one.sum() for one in powers]
    assert found == pytest.approx(np.concatenate(wanted), abs=1e-5)
    served = LOSS.link.prediction(given_outputs + np.float32(50.0))
    assert len(set(served.tolist())) == len(set((given_outputs + np.float32(50.0)).tolist()))
    assert within_slates(LOSS, labels, served) == pytest.approx(found, abs=1e-4)


def test_great_outputs_leave_no_digit_of_the_others_out() -> None:
    labels = np.array([1, 0, 0], np.float32)
    offsets = slate_offsets(labels, np.array([80.0, 1.0, 1.0], np.float32))
    assert offsets == pytest.approx([-1.0 - np.log(2.0), -80.0, -80.0], rel=1e-6)


def test_a_slate_of_one_is_chosen_for_certain() -> None:
    alone = np.array([1.0], np.float32)
    for output in (-5.0, 0.0, 5.0):
        at = np.array([output], np.float32)
        assert choice_probabilities(at, slate_offsets(alone, at)).tolist() == [1.0]


def test_unknown_predictions_stay_unknown_and_other_losses_have_no_slates() -> None:
    labels = np.array([1, 0, 1, 0], np.float32)
    served = np.array([np.nan, np.nan, np.log(9), 0.0], np.float32)
    found = within_slates(LOSS, labels, served)
    assert np.isnan(found[:2]).all() and found[2:] == pytest.approx([0.9, 0.1])
    assert within_slates(LogLoss(), labels, served) is served
    assert LogLoss() != LOSS and LOSS.name == "plackett_luce_loss"
