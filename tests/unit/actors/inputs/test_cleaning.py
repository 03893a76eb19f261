from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest

from freshrank import Bucketed, Clipped, Imputed, Scaled
from freshrank.actors.errors import ConfigError
from freshrank.actors.inputs.cleaning import FILLS, SCALES


def text(number: str) -> float:
    """A text where a number is due."""
    return cast("float", number)


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: Clipped("price", low=0.9, high=0.1), "no shares in this order"),
        (lambda: Clipped("price", low=-0.1), "no shares in this order"),
        (lambda: Clipped("price", high=99), "no shares in this order"),
        (lambda: Clipped("price", low=math.nan), "low: nan is no number"),
        (lambda: Clipped("price", high=text("0.9")), "high: '0.9' is no number"),
        (lambda: Clipped("price", deviations=text("4")), "deviations: '4' is no number"),
        (lambda: Clipped("price", low=0.2, deviations=4.0), "by shares .* and by deviations"),
        (lambda: Clipped("price", deviations=0.0), "deviations: 0.0 is no distance"),
        (lambda: Imputed("age", "medain"), "Did you mean 'median'"),
        (lambda: Imputed("age", "x"), "There are: mean, median, most_frequent, last"),
        (lambda: Imputed("age", math.inf), "inf is no number"),
        (lambda: Imputed("age", True), "True is no number"),
        (lambda: Scaled("age", cast("str", None)), "None is no scale"),
        (lambda: Scaled("age", "robsut"), "Did you mean 'robust'"),
        (lambda: Bucketed("age", 1), "Take 2 to 64"),
        (lambda: Bucketed("age", 65), "Take 2 to 64"),
    ],
)
def test_what_means_nothing_is_refused_when_it_is_declared(
    declare: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        declare()


def test_all_that_is_listed_can_be_declared() -> None:
    assert [Imputed("age", by).by for by in FILLS] == list(FILLS)
    assert [Scaled("age", by).by for by in SCALES] == list(SCALES)
    assert Imputed("age", -3).by == -3
    assert Bucketed("price", 4).input == "price_bucket"
