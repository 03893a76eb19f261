from itertools import pairwise

import numpy as np
import pytest

from freshrank.actors.messages import Floats
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.evaluation.progressive import ProgressiveValidation
from freshrank.learner.evaluation.slate_tally import SlateTally, slate_sums
from freshrank.learner.models.losses import PlackettLuceLoss

SIZES = (3, 2, 10, 1, 5)


def slates(seed: int) -> tuple[Floats, Floats]:
    """Labels, and probabilities with ties."""
    random = np.random.default_rng(seed)
    labels, found = [], []
    for size in SIZES:
        odds = np.exp(random.integers(-2, 3, size))
        found.append(odds / odds.sum())
        labels.append(np.arange(size) == 0)
    return np.concatenate(labels).astype(np.float32), np.concatenate(found).astype(np.float32)


def rank(predictions: Floats) -> float:
    """Of the first: the mean of the best and of the worst that ties allow."""
    first, rest = predictions[0], predictions[1:]
    return 1.0 + float(np.mean([(rest > first).sum(), (rest >= first).sum()]))


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_those_of_each_slate_by_itself(seed: int) -> None:
    labels, predictions = slates(seed)
    bounds = np.cumsum((0, *SIZES)).tolist()
    parts = [predictions[one:other] for one, other in pairwise(bounds)]
    found = slate_sums(labels, predictions)
    assert found[0] == len(SIZES)
    assert found[1] == pytest.approx(sum(-np.log(part[0]) for part in parts), rel=1e-6)
    assert found[2] == pytest.approx(sum(1.0 / rank(part) for part in parts))
    assert found[3] == pytest.approx(sum(np.log(size) for size in SIZES))
    orders = [np.mean([1.0 / place for place in range(1, size + 1)]) for size in SIZES]
    assert found[4] == pytest.approx(sum(orders))


def test_rows_before_the_first_chosen_one_are_no_slate() -> None:
    labels, predictions = slates(0)
    late = slate_sums(labels[1:], predictions[1:])
    assert late == pytest.approx(slate_sums(labels[3:], predictions[3:]))
    assert slate_sums(labels[1:3], predictions[1:3]).tolist() == [0.0] * 5


def test_validation_tells_the_rank_of_the_chosen_and_what_a_random_order_has() -> None:
    validation = ProgressiveValidation(PlackettLuceLoss())
    assert validation.status()["mean_reciprocal_rank"] is None
    labels, live = slates(1)
    _, reference = slates(2)
    for _ in range(3):
        validation.add(labels, live, reference)
    status = validation.status()
    assert status["measure"] == "mean_reciprocal_rank"
    slate, loss, ranks, random_loss, random_ranks = slate_sums(labels, live).tolist()
    for when in ("", "_live", "_recent"):
        assert status[f"mean_reciprocal_rank{when}"] == pytest.approx(ranks / slate)
        assert status[f"plackett_luce_loss{when}"] == pytest.approx(loss / slate)
    assert status["random_loss"] == pytest.approx(random_loss / slate)
    assert status["random_reciprocal_rank"] == pytest.approx(random_ranks / slate)
    of_reference = slate_sums(labels, reference)
    assert status["mean_reciprocal_rank_frozen"] == pytest.approx(of_reference[2] / slate)
    assert status["auc"] == pytest.approx(exact_auc(labels, live), abs=1e-3)
    kept = ProgressiveValidation(PlackettLuceLoss())
    kept.restore({name: one.copy() for name, one in validation.arrays().items()})
    for name in ("mean_reciprocal_rank", "plackett_luce_loss", "random_loss", "judged"):
        assert kept.status()[name] == status[name]


def test_without_slates_there_is_no_quality() -> None:
    tally = SlateTally(PlackettLuceLoss())
    assert all(np.isnan(value) for value in (*tally.quality(), *tally.of_random_order()))
