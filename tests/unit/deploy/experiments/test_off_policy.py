"""Off-policy estimates are those of the policy that they are about, by simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from freshrank.actors.impressions import Impression, ServedDraws, served_draws
from freshrank.actors.messages import Doubles, Floats
from freshrank.deploy.experiments.off_policy import OffPolicy, OffPolicyTally, weighed
from freshrank.serve.experiments.exploration import EpsilonGreedy, Exploration, Softmax, Thompson
from freshrank.serve.experiments.explored_list import PlainChoices, explored_list

CLUSTERS, POSITIONS, SHOWN = 64, 2, 3
# What the model says of five items, and what users do: it knows the order of some only.
PREDICTED = np.array([0.5, 0.4, 0.35, 0.3, 0.1], np.float32)
CLICKED = np.array([0.3, 0.45, 0.1, 0.2, 0.5])
# At a second position items are seen by half the users.
SEEN = np.array([1.0, 0.5, 0.25])
GREEDY = CLICKED[0] * SEEN[0] + CLICKED[1] * SEEN[1]
"""Clicks at the first two positions of the ranking by the model."""


def worth(random: np.random.Generator, exploration: Exploration) -> Doubles:
    """By what the model says, and by weights that are drawn where the exploration needs them."""
    found = PREDICTED.astype(np.float64)
    if exploration.sampling is None:
        return found
    drawn = random.normal(found, 0.1, (exploration.sampling.count, len(found)))
    return np.concatenate([found[np.newaxis], drawn])


def estimates(
    random: np.random.Generator,
    exploration: Exploration,
    lists: int,
    predicted: Floats = PREDICTED,
    clicked: Doubles = CLICKED,
    seen: Doubles = SEEN,
) -> OffPolicy:
    """Of so many lists, each of another user."""
    tally = OffPolicyTally(CLUSTERS, POSITIONS)
    for number in range(lists):
        choices = PlainChoices(worth(random, exploration))
        drawn = explored_list(exploration, choices, SHOWN, f"r{random.integers(2**62)}")
        explored = drawn.items(predicted, SHOWN)
        impression = Impression("r", "u", 0, "", "", b"\0" * 8 * SHOWN, b"", b"", explored=explored)
        draws = served_draws(impression)
        assert draws is not None
        weights = weighed(draws, predicted[drawn.places], POSITIONS)
        tally.show(number % CLUSTERS, weights)
        clicks = random.random(SHOWN) < clicked[drawn.places] * seen
        for position in np.flatnonzero(clicks).tolist():
            tally.click(number % CLUSTERS, weights, position)
    found = tally.result()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "exploration", [EpsilonGreedy(0.5), Softmax(0.15), Thompson(samples=32)], ids=repr
)
def test_estimates_are_unbiased_and_their_intervals_hold_the_truth(
    exploration: Exploration,
) -> None:
    random = np.random.default_rng(1)
    found = [estimates(random, exploration, 250) for _ in range(80)]
    logged = np.mean([one.logged.value for one in found])
    for name in ("ips", "snips", "dr"):
        made = [getattr(one, name) for one in found]
        values = np.array([one.value for one in made])
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - GREEDY) < 4 * error
        assert abs(logged - GREEDY) > 6 * error, "what was logged tells another number"
        held = np.mean([one.low <= GREEDY <= one.high for one in made])
        assert held > 0.85
    effective = np.mean([one.effective_lists for one in found])
    assert 20 < effective < 250


def test_good_predictions_make_the_doubly_robust_estimate_surer() -> None:
    random, certain = np.random.default_rng(2), np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    right = estimates(
        random, EpsilonGreedy(0.8), 500, certain.astype(np.float32), certain, np.ones(SHOWN)
    )
    assert right.dr == pytest.approx((1.0, 1.0, 1.0))
    assert right.ips.high - right.ips.low > 0.1


def one_list(
    propensities: Sequence[float], greedy: Sequence[bool], clicks: Sequence[int]
) -> OffPolicy:
    tally = OffPolicyTally(CLUSTERS, POSITIONS)
    draws = ServedDraws(
        np.array(propensities, np.float32), np.array(greedy), np.zeros(len(greedy), np.float32)
    )
    weights = weighed(draws, np.zeros(len(greedy), np.float32), POSITIONS)
    tally.show(0, weights)
    for position in clicks:
        tally.click(0, weights, position)
    found = tally.result()
    assert found is not None
    return found


def test_a_click_counts_by_the_weights_up_to_its_position() -> None:
    both = one_list([0.5, 0.25], [True, True], [0, 1])
    assert both.ips.value == pytest.approx(2 + 8)
    assert both.logged.value == 2
    assert both.effective_lists == 1
    other = one_list([0.5, 0.25], [False, True], [0, 1])
    assert (other.ips.value, other.snips, other.effective_lists) == (0, None, 0)
    first = one_list([0.5, 0.25], [True, False], [0, 1])
    assert first.ips.value == pytest.approx(2)


def test_clicks_below_the_positions_do_not_count() -> None:
    found = one_list([1.0, 1.0, 1.0], [True] * 3, [1, 2])
    assert (found.logged.value, found.ips.value) == (1, 1)
    assert found.snips is not None
    assert found.snips.value == 1


def test_without_a_list_there_is_no_estimate() -> None:
    assert OffPolicyTally(CLUSTERS, POSITIONS).result() is None
