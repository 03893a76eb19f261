import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import Behaviour, columns_of, stream

from freshrank import col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.expressions.numbers import Arithmetic, number_of

numbers = st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 3.0, 1e200]))


def behaviour(price: float | None, quantity: int | None = None, item: int = 1) -> Behaviour:
    return Behaviour(event_id="e", user_id="u", ts=1, price=price, quantity=quantity, item_id=item)


def values(expression: Arithmetic, *events: Behaviour) -> list[float]:
    found: list[float] = number_of(expression).evaluate(columns_of(events)).tolist()
    return found


def in_python(
    calculate: Callable[[Any, Any], Any], left: float | None, right: float | None
) -> float:
    """The result in Python, NaN where there is none that is finite."""
    if left is None or right is None or (calculate is operator.truediv and right == 0):
        return math.nan
    found = float(calculate(left, right))
    return found if math.isfinite(found) else math.nan


@given(
    calculate=st.sampled_from([operator.add, operator.sub, operator.mul, operator.truediv]),
    price=numbers,
    quantity=st.one_of(st.none(), st.integers(-2, 2)),
)
def test_a_calculation_means_what_it_means_in_python_and_is_missing_where_nothing_finite_is(
    calculate: Callable[[Any, Any], Any], price: float | None, quantity: int | None
) -> None:
    event = behaviour(price, quantity)
    for expression, wanted in (
        (calculate(col.price, col.quantity), in_python(calculate, price, quantity)),
        (calculate(col.price * col.price, 3), in_python(calculate, squared(price), 3)),
        (calculate(2, col.quantity), in_python(calculate, 2, quantity)),
    ):
        np.testing.assert_equal(values(expression, event), [wanted])


def squared(price: float | None) -> float | None:
    return None if price is None or math.isinf(price * price) else price * price


def test_a_logarithm_and_a_sign_are_numbers_too() -> None:
    events = [behaviour(0.0), behaviour(-1.0), behaviour(None), behaviour(math.e - 1)]
    np.testing.assert_allclose(values(col.price.log1p(), *events), [0.0, np.nan, np.nan, 1.0])
    np.testing.assert_equal(values(-(col.price * 2), *events[1:3]), [2.0, np.nan])
    np.testing.assert_equal(values(abs(col.price - 1), *events[:3]), [1.0, 2.0, np.nan])
    assert values(col.price, events[1]) == [-1.0]  # what is read is not changed


@pytest.mark.parametrize(
    "compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
def test_numbers_are_compared_with_each_other_and_a_missing_one_only_differs(
    compare: Callable[[Any, Any], Any],
) -> None:
    events = [behaviour(1.0, 1), behaviour(2.0, 1), behaviour(0.5, 1), behaviour(None, 1)]
    prices = [math.nan if one.price is None else one.price for one in events]
    columns = columns_of(events)
    for condition, wanted in (
        (compare(col.price, col.quantity), [compare(price, 1) for price in prices]),
        (compare(col.price * 2, 2), [compare(price * 2, 2) for price in prices]),
        (compare(2, col.price * 2), [compare(2, price * 2) for price in prices]),
    ):
        assert condition.evaluate(columns).tolist() == wanted
        assert condition.fields_read() <= {"price", "quantity"}


def test_a_calculation_is_told_by_its_text() -> None:
    text = "((price * (quantity + 1)) > log1p((-0.5 - item_id)))"
    condition = col.price * (col.quantity + 1) > (-0.5 - col.item_id).log1p()
    assert str(condition) == text
    assert condition.fields_read() == {"price", "quantity", "item_id"}
    assert str(number_of("price")) == "price"


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (lambda: col.price * "2", "cannot be calculated with"),
        (lambda: {} / col.price, "cannot be calculated with"),
        (lambda: number_of(col.type * 2).check(stream.fields, "here"), "the field 'type' is str"),
        (
            lambda: number_of(col.prise / 2).check(stream.fields, "here"),
            "no field 'prise'.*'price'",
        ),
        (lambda: (col.type == col.category).check(stream.fields, "here"), "'type' is str"),
        (col.price.lgo1p, "Did you mean 'log1p'"),
        (col.price.round, "There are isin.*hour_of_day"),
        (lambda: abs(col.type).check(stream.fields, "here"), "the field 'type' is str"),
        (lambda: (-col.type).log1p().check(stream.fields, "here"), "the field 'type' is str"),
    ],
)
def test_what_is_no_number_is_refused_by_name(
    definition: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){problem}"):
        definition()
