"""Lists that explore: propensities are the shares by which items are drawn, whatever the rules."""

import numpy as np
import pytest
from worth_choices import EVERY, WORTH, ChoicesOf, check_shares

from freshrank.actors.errors import ConfigError
from freshrank.serve.experiments.exploration import EpsilonGreedy, Exploration, Softmax
from freshrank.serve.experiments.explored_list import (
    Choices,
    ExploredList,
    PlainChoices,
    explored_list,
)
from freshrank.serve.recommendation.diversity import Diversity, Mmr

EXPLORATIONS = [EpsilonGreedy(0.4), EpsilonGreedy(1.0), Softmax(0.3)]


def probability(choices: Choices, exploration: Exploration, places: list[int]) -> float:
    """By which a list begins with `places`, from the rules themselves."""
    found = 1.0
    for place in places:
        values = choices.values()
        left = np.flatnonzero(values > -np.inf).tolist()
        if place not in left:
            return 0.0
        found *= float(exploration.probabilities(values[left])[left.index(place)])
        choices.take(place)
    return found


@pytest.mark.parametrize("choices", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("exploration", EXPLORATIONS)
def test_lists_come_as_often_as_their_propensities_say(
    exploration: Exploration, choices: ChoicesOf
) -> None:
    check_shares(
        exploration,
        lambda: choices(WORTH),
        lambda places: probability(choices(WORTH), exploration, places),
    )


def test_softmax_is_plackett_and_luces_model() -> None:
    weights = np.exp(WORTH / 0.2)
    first, second = weights[1] / weights.sum(), weights[0] / (weights.sum() - weights[1])
    assert probability(PlainChoices(WORTH), Softmax(0.2), [1, 0]) == pytest.approx(first * second)


def test_a_cold_softmax_is_the_ranking() -> None:
    found = explored_list(Softmax(1e-6), PlainChoices(np.array([0.3, 0.9, 0.5])), 3, "r")
    assert found.places.tolist() == [1, 2, 0]
    assert found.propensities.tolist() == [1.0, 1.0, 1.0]
    assert found.explored == 0


def test_the_same_request_gets_the_same_list_and_others_do_not() -> None:
    worth = np.linspace(0, 1, 50)

    def places(request_id: str) -> list[int]:
        drawn = explored_list(Softmax(0.5), PlainChoices(worth), 10, request_id)
        return [int(place) for place in drawn.places]

    assert places("a-1") == places("a-1")
    assert len({tuple(places(f"a-{number}")) for number in range(20)}) == 20


def test_what_would_have_been_is_told_for_each_position() -> None:
    found = explored_list(EpsilonGreedy(1.0), PlainChoices(WORTH), 4, "r3")
    left = set(range(4))
    for place, greedy in zip(found.places.tolist(), found.greedy.tolist(), strict=True):
        assert greedy == min(left, key=lambda one: (-WORTH[one], one))
        left.remove(place)
    assert found.explored == int((found.places != found.greedy).sum()) > 0
    scores = np.array([0.25, 0.5, 0.75, 1.0], np.float32)
    items = found.items(scores, 2)
    assert np.frombuffer(items.greedy_scores, np.float32).tolist() == (
        scores[found.greedy[:2]].tolist()
    )
    assert np.frombuffer(items.greedy, np.bool_).tolist() == (
        (found.places[:2] == found.greedy[:2]).tolist()
    )


def test_a_list_that_is_longer_than_the_candidates_ends_with_them() -> None:
    found = explored_list(Softmax(1.0), PlainChoices(WORTH), 9, "r")
    assert sorted(found.places.tolist()) == [0, 1, 2, 3]
    assert found.propensities[-1] == 1.0
    none = explored_list(Softmax(1.0), PlainChoices(np.zeros(0)), 9, "r")
    assert len(none.places) == 0


def test_what_is_not_drawn_follows_in_its_order() -> None:
    drawn = ExploredList(np.array([2, 0]), np.ones(2, np.float32), np.array([3, 3]))
    assert drawn.before(np.array([3, 2, 1, 0])).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("limits", [{}, {"brand": 1}, {"brand": 2}])
@pytest.mark.parametrize("mmr", [None, Mmr(0.3, ["brand"])])
def test_the_best_choice_each_time_is_what_diversity_chooses(
    limits: dict[str, int], mmr: Mmr | None
) -> None:
    random = np.random.default_rng(5)
    diversity = Diversity(limits, mmr)
    for _ in range(30):
        rows = [{"brand": brand} for brand in random.choice(["a", "b", "c", ""], 12)]
        rows = [row if row["brand"] else {"brand": None} for row in rows]
        worth = np.sort(random.random(12))[::-1]
        choices, chosen = diversity.choices(rows, worth), list[int]()
        while len(chosen) < 8 and (values := choices.values()).max() > -np.inf:
            chosen.append(int(values.argmax()))
            choices.take(chosen[-1])
        assert chosen == diversity.choose(range(12), rows, worth, 8)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"EpsilonGreedy\.epsilon"):
        EpsilonGreedy(wrong)


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"Softmax\.temperature"):
        Softmax(wrong)
