"""Four items of two brands, to choose from plainly or with regard to what was taken before."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from freshrank.actors.messages import Doubles
from freshrank.serve.experiments.exploration import Exploration
from freshrank.serve.experiments.explored_list import Choices, PlainChoices, explored_list
from freshrank.serve.recommendation.diversity import Diversity, Mmr, Rows

WORTH = np.array([0.9, 0.5, 0.4, 0.4])
_ROWS: Rows = [{"brand": "a"}, {"brand": "a"}, {"brand": None}, {"brand": "b"}]

ChoicesOf: TypeAlias = Callable[[Doubles], Choices]
"""From what the items are worth, float64[4] or [1 + s, 4]."""


def one_of_each_brand(worth: Doubles) -> Choices:
    return Diversity(most_per={"brand": 1}).choices(_ROWS, worth)


def unlike(worth: Doubles) -> Choices:
    return Diversity(mmr=Mmr(0.5, ["brand"])).choices(_ROWS, worth)


EVERY: dict[str, ChoicesOf] = {
    "plain": PlainChoices,
    "one_of_each_brand": one_of_each_brand,
    "unlike": unlike,
}
"""By name: the ways to choose."""


def check_shares(
    exploration: Exploration,
    choices: Callable[[], Choices],
    probability: Callable[[list[int]], float],
) -> None:
    """Lists of two come as often as they should and as their propensities say.

    `probability` is that by which a list begins with some places.
    """
    tries, k = 4_000, 2
    lists = [explored_list(exploration, choices(), k, f"r{number}") for number in range(tries)]
    counts = Counter(tuple(one.places.tolist()) for one in lists)
    said = {tuple(one.places.tolist()): float(one.propensities.prod()) for one in lists}
    total = 0.0
    for places in itertools.permutations(range(len(WORTH)), k):
        wanted = probability(list(places))
        total += wanted
        # Four standard deviations, of up to twelve lists in nine cases.
        margin = 4 * (wanted * (1 - wanted) / tries) ** 0.5
        assert counts[places] / tries == pytest.approx(wanted, abs=margin)
        assert said.get(places, wanted) == pytest.approx(wanted, rel=1e-5)
    assert total == pytest.approx(1.0)
