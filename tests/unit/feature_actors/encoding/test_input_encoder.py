import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Behaviour, stream, user

from freshrank import Count, DecayedCount, Entity, FeatureView, LastK, Stream, TimeSince
from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.hashing import hash_text, mix
from freshrank.actors.messages import Doubles, IdField, Inputs, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.views.plan import FeaturePlan


class Activity(FeatureView):
    entity, source = user, stream
    seen = Count(windows=["1h"])
    idle = TimeSince()
    recent = LastK("item_id", k=3)
    interest = DecayedCount(by="category", half_life="1h", top=2)


plan = FeaturePlan([Activity])
CONTEXT = ["item_id", "category", "price"]
CROSSES = [("user_id", "category"), ("category", "recent"), ("recent", "item_id")]
encoder = InputEncoder([plan], stream, CONTEXT, CROSSES)


def test_the_layout_names_every_input() -> None:
    assert encoder.layout.dense == ("seen_1h", "idle", "price", "recent_match", "interest_match")
    assert encoder.layout.fields == (
        IdField("user_id"),
        IdField("item_id"),
        IdField("category"),
        IdField("recent", 3),
        IdField("interest", 2),
        IdField("user_id_x_category"),
        IdField("category_x_recent", 3),
        IdField("recent_x_item_id", 3),
    )
    assert encoder.layout.id_width == 15


def test_the_fingerprint_is_that_of_the_inputs_that_earlier_versions_learned_from() -> None:
    assert encoder.former_fingerprint == "6ac297f80c255a78"


DERIVED = DerivedInputs(missing=["idle", "price"], relative=["price", "seen_1h"])


def test_derived_inputs_follow_all_others_and_are_part_of_the_fingerprint() -> None:
    other = InputEncoder([plan], stream, CONTEXT, CROSSES, DERIVED)
    added = ("idle_missing", "price_missing", "price_relative", "seen_1h_relative")
    assert other.layout.dense == (*encoder.layout.dense, *added)
    assert other.layout.fields == encoder.layout.fields
    assert other.fingerprint != encoder.fingerprint


def test_derived_inputs_tell_what_is_missing_and_how_far_from_the_median_it_is() -> None:
    other = InputEncoder([plan], stream, CONTEXT, CROSSES, DERIVED)
    values = np.array([[7.0, math.nan], [1.0, 5.0]])
    block = FeatureBlock(values, np.zeros((2, 5), np.int64), np.zeros((2, 5)))
    context: dict[str, Ints | Doubles] = {
        "user_id": np.array([1]), "item_id": np.arange(1, 5), "category": np.arange(1, 5),
        "price": np.array([math.nan, 1.0, 3.0, 1e308]),
    }  # fmt: skip
    lines = np.array([0, 1, 1, 1])
    plain = encoder.encode([block], [lines], context)
    found = other.encode([block], [lines], context)
    np.testing.assert_array_equal(found.ids, plain.ids)
    np.testing.assert_array_equal(found.dense[:, :5], plain.dense)
    np.testing.assert_array_equal(found.dense[:, 5:7], [[1, 1], [0, 0], [0, 0], [0, 0]])
    relative = [0.0, shrink(-2.0), 0.0, shrink(1e308)]
    np.testing.assert_allclose(found.dense[:, 7], relative, rtol=1e-6)
    np.testing.assert_allclose(found.dense[:, 8], [shrink(6.0), 0.0, 0.0, 0.0], rtol=1e-6)


def test_where_no_candidate_has_a_number_none_is_far_from_the_median() -> None:
    other = InputEncoder([plan], stream, ["price"], [], DerivedInputs(relative=["price"]))
    block = FeatureBlock(np.zeros((1, 2)), np.zeros((1, 5), np.int64), np.zeros((1, 5)))
    context: dict[str, Ints | Doubles] = {
        "user_id": np.array([1]), "price": np.array([math.nan, math.nan])
    }  # fmt: skip
    found = other.encode([block], [np.array([0, 0])], context)
    assert found.dense[:, -1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("derived", "problem"),
    [
        (
            DerivedInputs(missing=["prise"]),
            "missing\\[0\\]: 'prise' is no numeric input",
        ),
        (DerivedInputs(relative=["item_id"]), "relative\\[0\\]: 'item_id' is no numeric input"),
        (DerivedInputs(missing=["price", "price"]), "missing\\[1\\]: 'price' is given twice"),
        (DerivedInputs(missing="price"), "missing: 'price' is no list of names"),
    ],
)
def test_a_derived_input_of_nothing_is_refused(derived: DerivedInputs, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        InputEncoder([plan], stream, CONTEXT, CROSSES, derived)


def shrink(value: float) -> float:
    return 0.0 if math.isnan(value) else math.copysign(math.log1p(abs(value)), value)


def salted(name: str, one: int, other: int | None = None) -> int:
    if one == 0 or other == 0:
        return 0
    own = mix(np.int64(hash_text(name)), np.int64(one))
    return int(own if other is None else mix(own, np.int64(other)))


def naive(block: FeatureBlock, row: int, ids: dict[str, int], price: float) -> Inputs:
    """One row, value by value."""
    recent, interest = block.ids[row, :3].tolist(), block.ids[row, 3:].tolist()
    weights = block.id_weights[row]
    matches = [
        sum(weights[place] for place in range(3) if recent[place] == ids["item_id"]),
        sum(weights[3 + place] for place in range(2) if interest[place] == ids["category"]),
    ]
    if ids["item_id"] == 0:
        matches[0] = 0.0
    if ids["category"] == 0:
        matches[1] = 0.0
    dense = [shrink(float(one)) for one in (*block.values[row], price, *matches)]
    columns = [salted(name, ids[name]) for name in ("user_id", "item_id", "category")]
    columns += [salted("recent", one) for one in recent]
    columns += [salted("interest", one) for one in interest]
    columns += [salted("user_id_x_category", ids["user_id"], ids["category"])]
    columns += [salted("category_x_recent", one, ids["category"]) for one in recent]
    columns += [salted("recent_x_item_id", one, ids["item_id"]) for one in recent]
    return Inputs(np.array([dense], dtype=np.float32), np.array([columns]))


small = st.integers(0, 3)
numbers = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6))
row_strategy = st.tuples(
    st.tuples(numbers, numbers), st.tuples(*[small] * 5), st.tuples(*[st.floats(0, 9)] * 5)
)
example_strategy = st.tuples(st.integers(0, 2), small, small, small, numbers)


def block_of(
    rows: list[tuple[tuple[float, ...], tuple[int, ...], tuple[float, ...]]],
) -> FeatureBlock:
    ids = np.array([row[1] for row in rows], dtype=np.int64)
    weights = np.where(ids == 0, 0.0, np.array([row[2] for row in rows]))
    return FeatureBlock(np.array([row[0] for row in rows]), ids, weights)


@given(
    st.lists(row_strategy, min_size=3, max_size=3),
    st.lists(example_strategy, max_size=8),
)
@settings(max_examples=150)
def test_every_input_is_what_its_definition_says(
    rows: list[tuple[tuple[float, ...], tuple[int, ...], tuple[float, ...]]],
    examples: list[tuple[int, int, int, int, float]],
) -> None:
    block = block_of(rows)
    context: dict[str, Ints | Doubles] = {
        name: np.array([one[1 + place] for one in examples], dtype=np.int64)
        for place, name in enumerate(("user_id", "item_id", "category"))
    }
    context["price"] = np.array([one[4] for one in examples], dtype=np.float64)
    which = np.array([one[0] for one in examples], dtype=np.int64)
    inputs = encoder.encode([block], [which], context)
    assert inputs.dense.shape == (len(examples), 5)
    assert inputs.ids.shape == (len(examples), 15)
    for place, (row, own_user, item, category, price) in enumerate(examples):
        ids = {"user_id": own_user, "item_id": item, "category": category}
        wanted = naive(block, row, ids, price)
        np.testing.assert_allclose(inputs.dense[place], wanted.dense[0], rtol=1e-6)
        assert inputs.ids[place].tolist() == wanted.ids[0].tolist()


def test_no_number_however_large_makes_an_input_that_is_not_finite() -> None:
    block = block_of([((math.inf, -math.inf), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0))])
    context: dict[str, Ints | Doubles] = dict.fromkeys(
        ("user_id", "item_id", "category"), np.array([1])
    )
    context["price"] = np.array([1.7e308])
    dense = encoder.encode([block], [np.array([0])], context).dense
    assert np.isfinite(dense).all()
    assert dense[0, 0] > 700 > -700 > dense[0, 1]


def test_the_key_is_context_whether_named_or_not() -> None:
    named = InputEncoder([plan], stream, ["item_id", "user_id"], [])
    assert [field.name for field in named.layout.fields][:2] == ["item_id", "user_id"]
    unnamed = InputEncoder([plan], stream, [], [])
    assert unnamed.context_names == ("user_id",)
    assert "recent_match" not in unnamed.layout.dense


def test_the_fingerprint_tells_encoders_apart() -> None:
    encoders = [
        InputEncoder([plan], stream, ["item_id"], []),
        InputEncoder([plan], stream, ["item_id", "price"], []),
        InputEncoder([plan], stream, ["item_id"], [("user_id", "item_id")]),
        InputEncoder([plan], stream, ["item_id"], [("item_id", "user_id")]),
    ]
    assert len({one.fingerprint for one in encoders}) == 4
    assert encoders[0].fingerprint == InputEncoder([plan], stream, ["item_id"], []).fingerprint


@pytest.mark.parametrize(
    ("context", "crosses", "problem"),
    [
        (["item"], [], r"context\[1\]: .* no field 'item'.*Did you mean 'item_id'"),
        (["item_id", "item_id"], [], "given twice"),
        (["item_id"], [("user_id", "category")], "'category' is no id input"),
        (["price"], [("user_id", "price")], "'price' is no id input"),
        (["item_id"], [("recent", "interest")], "two of its sides are bags"),
        (["item_id"], [("user_id", "item_id"), ("user_id", "item_id")], "two id inputs"),
    ],
)
def test_context_and_crosses_that_name_nothing_are_refused(
    context: list[str], crosses: list[tuple[str, str]], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        InputEncoder([plan], stream, context, crosses)


class ItemSale(Behaviour, kw_only=True):
    item_id: int


catalogue = Entity("item", key="item_id")
item_events = Stream("sales", id="event_id", time="ts", key=catalogue, schema=ItemSale)


class Popularity(FeatureView):
    entity, source = catalogue, item_events
    sold = Count(windows=["1m", "1h"])
    buyers = LastK("user_id", k=2)


def test_each_candidate_has_the_features_of_its_own_row_of_a_second_table() -> None:
    both = InputEncoder(
        [plan, FeaturePlan([Popularity])], stream, CONTEXT, [*CROSSES, ("buyers", "user_id")]
    )
    users = block_of(
        [((1.0, 2.0), (4, 5, 0, 6, 0), (1, 1, 0, 0.5, 0)), ((3.0, 4.0), (0,) * 5, (0,) * 5)]
    )
    items = FeatureBlock(
        np.array([[10.0, 100.0], [20.0, np.nan], [30.0, 300.0]]),
        np.array([[7, 8], [0, 0], [9, 7]]),
        np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]),
    )
    context: dict[str, Ints | Doubles] = {
        "user_id": np.array([7, 7, 7, 8]),
        "item_id": np.array([4, 5, 4, 6]),
        "category": np.array([1, 2, 3, 1]),
        "price": np.array([0.5, 1.5, 2.5, 3.5]),
    }
    who, what = np.array([0, 0, 0, 1]), np.array([2, 1, 0, 2])
    inputs = both.encode([users, items], [who, what], context)
    dense = dict(zip(both.layout.dense, inputs.dense.T, strict=True))
    # What the first table gives is what it gives alone.
    alone = encoder.encode([users], [who], context)
    for name, column in zip(encoder.layout.dense, alone.dense.T, strict=True):
        np.testing.assert_array_equal(dense[name], column)
    ids = columns_by_field(both, inputs)
    for field, columns in columns_by_field(encoder, alone).items():
        np.testing.assert_array_equal(ids[field], columns)
    np.testing.assert_allclose(dense["sold_1m"], np.log1p([30, 20, 10, 30]), rtol=1e-6)
    np.testing.assert_allclose(dense["sold_1h"], np.log1p([300, 0, 100, 300]), rtol=1e-6)
    # Whether who asks is among the last buyers of the item.
    np.testing.assert_allclose(dense["buyers_match"], np.log1p([1, 0, 1, 0]), rtol=1e-6)
    for place, buyers in enumerate([[9, 7], [0, 0], [7, 8], [9, 7]]):
        asking = int(context["user_id"][place])
        assert ids["buyers"][place].tolist() == [salted("buyers", one) for one in buyers]
        crossed = [salted("buyers_x_user_id", one, asking) for one in buyers]
        assert ids["buyers_x_user_id"][place].tolist() == crossed


def columns_by_field(made: InputEncoder, inputs: Inputs) -> dict[str, Ints]:
    ends = np.cumsum([field.width for field in made.layout.fields])
    names = [field.name for field in made.layout.fields]
    return dict(zip(names, np.split(inputs.ids, ends[:-1], axis=1), strict=True))


def test_features_of_one_name_in_two_tables_are_refused() -> None:
    class Other(FeatureView):
        entity, source = catalogue, item_events
        seen = Count(windows=["1h"])

    with pytest.raises(ConfigError, match="two numeric inputs are called 'seen_1h'"):
        InputEncoder([plan, FeaturePlan([Other])], stream, CONTEXT, [])


def test_a_bag_and_a_context_field_of_one_name_are_refused() -> None:
    class Clash(FeatureView):
        entity, source = user, stream
        category = LastK("item_id", k=1)

    with pytest.raises(ConfigError, match="two id inputs are called 'category'"):
        InputEncoder([FeaturePlan([Clash])], stream, ["category"], [])
