import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import Behaviour, columns_of, stream

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.expressions.column import col
from freshrank.feature_actors.streams.expressions.conditions import Expression

behaviours = st.lists(
    st.builds(
        Behaviour,
        event_id=st.just("e"),
        user_id=st.just("u"),
        ts=st.just(1),
        type=st.sampled_from(["view", "order", "cart"]),
        item_id=st.integers(-2, 2),
        category=st.sampled_from(["a", "", None]),
        price=st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 2.5])),
        quantity=st.one_of(st.none(), st.integers(0, 2)),
    ),
    max_size=12,
)
OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


def holds(condition: Expression, events: list[Behaviour]) -> list[bool]:
    found: list[bool] = condition.evaluate(columns_of(events)).tolist()
    return found


@given(
    compare=st.sampled_from(OPERATORS),
    sides=st.sampled_from(
        [("item_id", 0), ("item_id", 1), ("item_id", 0.5), ("price", 0), ("price", 2.5)]
    ),
    events=behaviours,
)
def test_a_comparison_of_numbers_means_what_it_means_in_python(
    compare: Callable[[Any, Any], Any], sides: tuple[str, float], events: list[Behaviour]
) -> None:
    name, constant = sides
    values = [getattr(event, name) for event in events]
    wanted = [compare(math.nan if value is None else value, constant) for value in values]
    assert holds(compare(getattr(col, name), constant), events) == wanted


@given(
    compare=st.sampled_from([operator.eq, operator.ne]),
    sides=st.sampled_from([("type", "view"), ("category", ""), ("quantity", 0)]),
    events=behaviours,
)
def test_equality_of_text_and_of_optional_fields_minds_none(
    compare: Callable[[Any, Any], Any], sides: tuple[str, object], events: list[Behaviour]
) -> None:
    name, constant = sides
    wanted = [compare(getattr(event, name), constant) for event in events]
    assert holds(compare(getattr(col, name), constant), events) == wanted


@given(name=st.sampled_from(["category", "price", "quantity"]), events=behaviours)
def test_null_is_none_and_neither_zero_nor_the_empty_text(
    name: str, events: list[Behaviour]
) -> None:
    null = [getattr(event, name) is None for event in events]
    condition = getattr(col, name).is_null()
    assert holds(condition, events) == null
    assert holds(~condition, events) == [not one for one in null]
    either = condition | (col.type == "view")
    assert holds(either, events) == [
        one or event.type == "view" for one, event in zip(null, events, strict=True)
    ]
    assert condition.fields_read() == {name}


def test_none_is_asked_for_by_is_null() -> None:
    with pytest.raises(ConfigError, match=r"write col\.price\.is_null\(\)"):
        _ = col.price == None  # noqa: E711


@given(events=behaviours)
def test_conditions_combine(events: list[Behaviour]) -> None:
    condition = (col.type == "view") & ~(col.item_id > 0) | col.type.isin(["order", "cart"])
    wanted = [
        (event.type == "view" and not event.item_id > 0) or event.type in ("order", "cart")
        for event in events
    ]
    assert holds(condition, events) == wanted


def test_all_64_bits_of_an_integer_are_compared() -> None:
    events = [Behaviour(event_id="e", user_id="u", ts=1, item_id=one) for one in (2**62, 2**62 + 1)]
    assert holds(col.item_id == 2**62 + 1, events) == [False, True]


def test_a_condition_is_told_by_its_text() -> None:
    assert str((col.type == "view") & ~(col.price < 3)) == "((type == 'view') & (~(price < 3)))"
    assert str(~col.price.is_null()) == "(~(price is null))"


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (col.tipe == "view", "no field 'tipe'.*Did you mean 'type'"),
        (col.type == 3, "the field 'type' is str, the constant is int"),
        (col.item_id == "3", "the field 'item_id' is int, the constant is str"),
        (col.type < "view", "the field 'type' is str"),
        (col.type.isin([]), "empty list"),
        (col.type.isin([3]), "the constant is int"),
        (~(col.type == 1) | (col.price > 1), "the constant is int"),
        ((col.price > 1) & (col.type == 1), "the constant is int"),
        (col.item_id == 2**63, "no 64-bit value"),
        (col.price < math.inf, "no 64-bit value"),
        (col.prise.is_null(), "no field 'prise'.*Did you mean 'price'"),
        (col.type.is_null(), "'type' is never None.*may be"),
        (~col.item_id.is_null(), "'item_id' is never None.*for every event"),
        (col.category.is_null() & (col.category == "a"), "is never None and 'a'"),
    ],
)
def test_a_condition_that_does_not_fit_the_schema_is_refused(
    condition: Expression, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        condition.check(stream.fields, "V.f.where")
    assert caught.value.place.startswith("V.f.where")


@pytest.mark.parametrize(
    "write",
    [
        lambda: col.type == "view" and col.price > 1,
        lambda: 1 < col.price < 5,
        lambda: not (col.price > 1),
        lambda: col.type in ["view"],
    ],
)
def test_what_python_decides_at_once_is_refused_with_the_way_to_write_it(
    write: Callable[[], object],
) -> None:
    with pytest.raises(ConfigError, match="Combine conditions with &"):
        write()


@pytest.mark.parametrize(
    "write",
    [
        lambda: (col.type == "view") & True,
        lambda: (col.type == "view") | col.price,
        lambda: col.price == [1],
        lambda: col.price == None,  # noqa: E711
        lambda: col.type.isin("view"),
    ],
)
def test_what_is_no_condition_is_refused(write: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        write()


def test_no_events_make_no_truth_values() -> None:
    assert np.array_equal(((col.type == "a") | (col.price > 1)).evaluate(columns_of([])), [])
