"""Thompson sampling: an item comes as probably as it is the best by weights that are drawn."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from worth_choices import EVERY, WORTH, ChoicesOf, check_shares

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles
from freshrank.actors.parameters.uncertainty import WeightSampling
from freshrank.serve.experiments.exploration import Thompson
from freshrank.serve.experiments.explored_list import (
    OF_ITEMS,
    OF_WEIGHTS,
    Choices,
    PlainChoices,
    explored_list,
    seed_of,
)

DEVIATIONS = np.array([0.1, 0.3, 0.5, 0.4])


def by_weights(samples: int, seed: int = 1) -> Doubles:
    """float64[1 + samples, 4]: first the means."""
    random = np.random.default_rng(seed)
    drawn = random.normal(WORTH, DEVIATIONS, (samples, len(WORTH)))
    return np.concatenate([WORTH[np.newaxis], drawn])


SAMPLED = by_weights(40)


def probability(choices: Choices, places: list[int]) -> float:
    """By which a list begins with `places`: by counting weights that each item is best by."""
    found = 1.0
    for place in places:
        values = choices.values()
        best = [int(row.argmax()) for row in values if row.max() > -np.inf]
        found *= best.count(place) / max(len(best), 1)
        choices.take(place)
    return found


@pytest.mark.parametrize("choices", EVERY.values(), ids=EVERY)
def test_lists_come_as_often_as_their_propensities_say(choices: ChoicesOf) -> None:
    check_shares(
        Thompson(), lambda: choices(SAMPLED), lambda places: probability(choices(SAMPLED), places)
    )


def test_propensities_are_those_of_all_weights_within_the_stated_error() -> None:
    # By many more draws than a request has.
    exact = Thompson().probabilities(by_weights(200_000, seed=2))
    two = Thompson().probabilities(by_weights(200_000, seed=3)[:, :2])
    between = (WORTH[0] - WORTH[1]) / math.hypot(*DEVIATIONS[:2])
    assert two[0] == pytest.approx(0.5 * (1 + math.erf(between / math.sqrt(2))), abs=0.003)
    exploration, errors = Thompson(), []
    for seed in range(200):
        found = exploration.probabilities(by_weights(exploration.samples, seed))
        assert found.sum() == pytest.approx(1.0)
        assert found[0] >= 1 / (1 + exploration.samples), "the best by the weights that serve"
        errors.append(found - exact)
    # The best by the weights that serve is one draw in 129 more.
    greedy = np.array([1.0, 0.0, 0.0, 0.0]) - exact
    assert np.mean(errors, axis=0) == pytest.approx(
        greedy / (1 + exploration.samples), abs=4 * 0.044 / math.sqrt(200)
    )
    stated = np.sqrt(exact * (1 - exact) / exploration.samples)
    assert np.std(errors, axis=0) == pytest.approx(stated, rel=0.2)
    assert stated.max() <= 0.5 / math.sqrt(exploration.samples) <= 0.0442


def test_what_is_shown_never_has_the_propensity_0_and_the_best_can_always_come() -> None:
    # By no weights that were drawn is the first item the best.
    worth = np.array([[1.0, 0.9], *([[0.0, 1.0]] * 16)])
    shown = Counter[int]()
    for number in range(2_000):
        found = explored_list(Thompson(), PlainChoices(worth), 1, f"r{number}")
        assert found.propensities[0] == pytest.approx([1 / 17, 16 / 17][found.places[0]])
        assert found.greedy.tolist() == [0]
        shown[int(found.places[0])] += 1
    assert shown[0] / 2_000 == pytest.approx(1 / 17, abs=4 * (1 / 17 / 2_000) ** 0.5)


def test_a_cold_item_is_explored_more_than_a_hot_one() -> None:
    sure, unsure = 0.05, 0.5
    random = np.random.default_rng(4)
    means = np.array([0.5, 0.4, 0.4])
    drawn = random.normal(means, [sure, sure, unsure], (4_000, 3))
    best, hot, cold = Thompson().probabilities(np.concatenate([means[np.newaxis], drawn]))
    assert cold > 4 * hot > 0
    assert best > 0.3


def test_weights_and_items_are_drawn_by_numbers_of_their_own() -> None:
    assert seed_of("r1", OF_WEIGHTS) == seed_of("r1", OF_WEIGHTS)
    purposes = (OF_ITEMS, OF_WEIGHTS)
    seeds = {seed_of(f"r{number}", one) for number in range(1_000) for one in purposes}
    assert len(seeds) == 2_000
    assert Thompson(0.5, prior=3.0, samples=64).sampling == WeightSampling(64, 3.0, 0.5)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("scale", 0),
        ("scale", -1.0),
        ("scale", float("nan")),
        ("prior", 0),
        ("prior", float("inf")),
        ("samples", 15),
        ("samples", 4_097),
        ("samples", 64.0),
    ],
)
def test_what_cannot_be_used_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Thompson(**{field: wrong})
    assert caught.value.place == f"Thompson.{field}"
    assert repr(wrong) in str(caught.value)
