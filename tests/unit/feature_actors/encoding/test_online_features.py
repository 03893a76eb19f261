from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import Count, DecayedCount, Entity, FeatureView, LastK, Mean, Stream, Sum, TimeSince
from freshrank.actors.errors import RequestError, Unavailable
from freshrank.actors.features.service import Candidates, FeatureService
from freshrank.actors.kernels.hashing import ZERO_INTEGER_ID, hash_text
from freshrank.actors.messages import Inputs
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.encoding.online_features import OnlineFeatures
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.views.plan import FeaturePlan


class Activity(FeatureView):
    entity, source = user, stream
    seen = Count(windows=["10s"])
    paid = Mean("price", windows=["10s"])
    idle = TimeSince()
    recent = LastK("item_id", k=3)
    interest = DecayedCount(by="category", half_life="4s", top=2)


plan = FeaturePlan([Activity])
encoder = InputEncoder(
    [plan],
    stream,
    ["item_id", "category", "price"],
    [("interest", "category"), ("user_id", "item_id")],
)
served = OnlineFeatures([plan], encoder, stream, join_on="item_id")

EVENTS = [
    Behaviour(event_id="e", user_id="ann", ts=START_MS, item_id=4, category="a", price=2.0),
    Behaviour(event_id="f", user_id="ann", ts=START_MS + 2_000, item_id=5, category="b"),
]
CANDIDATES: dict[str, list[Any]] = {
    "item_id": [4, 9, 4],
    "category": ["a", "b", "c\0d"],
    "price": [1.5, 0.0, -3.0],
}


def row_of(events: list[Behaviour]) -> bytes | None:
    table = EntityTable(plan.tables[0], 10)
    table.apply(columns_of(events, 30), before=False)
    row = table.row("ann")
    return None if row is None else row.tobytes()


def inputs_of(row: bytes | None, key: str, candidates: Candidates, at_ms: int) -> Inputs:
    return served.inputs(served.lookups(key, candidates), [row], key, candidates, at_ms)


def test_it_is_what_a_replica_takes() -> None:
    taken: FeatureService = served
    assert dict(taken.context) == {"item_id": int, "category": str, "price": float}


def test_a_row_lies_under_pipeline_entity_and_definition() -> None:
    assert served.keys("user", "ann") == [f"user:{plan.fingerprint[:8]}:ann".encode()]
    assert served.keys("user", "ünï:\0") == [plan.tables[0].row_key("ünï:\0")]


def test_freshness_is_that_of_the_last_event() -> None:
    assert served.freshness("user", [row_of(EVENTS)]) == (START_MS + 2_000, {"behaviour": 31})
    assert served.freshness("user", [None]) == (0, {"behaviour": -1})


def test_features_move_on_without_events() -> None:
    row = row_of(EVENTS)
    soon, later = (served.describe("user", [row], START_MS + after) for after in (6_000, 60_000))
    assert (soon["seen_10s"], soon["paid_10s"], soon["idle"]) == (2.0, 2.0, 4.0)
    assert (later["seen_10s"], later["paid_10s"], later["idle"]) == (0.0, None, 58.0)
    last = [{"id": item, "weight": 1.0, "value": item} for item in (5, 4)]
    assert soon["recent"] == later["recent"] == last
    assert soon["interest"] == [
        {"id": hash_text("a"), "weight": pytest.approx(0.5**1.5), "hash_of": "category"},
        {"id": hash_text("b"), "weight": pytest.approx(0.5), "hash_of": "category"},
    ]


def test_the_values_of_a_bag_are_shown_as_they_were_meant() -> None:
    class Sale(msgspec.Struct):
        sale_id: str
        user_id: str
        ts: int
        item: int
        gift: bool
        kind: Literal["view", "order"]
        size: Literal[0, 1]
        note: str

    sales = Stream("sales", id="sale_id", time="ts", key=user, schema=Sale)

    class Sold(FeatureView):
        entity, source = user, sales
        items = LastK("item", k=1)
        gifts = LastK("gift", k=1)
        kinds = DecayedCount(by="kind", half_life="1h", top=2)
        sizes = LastK("size", k=1)
        notes = LastK("note", k=1)

    sold = FeaturePlan([Sold])
    shown = OnlineFeatures([sold], InputEncoder([sold], sales, ["item"], []), sales)
    table = EntityTable(sold.tables[0], 10)
    event = Sale("s", "ann", START_MS, 0, False, "order", 0, "0")
    columns = Columns.of_events(sales.fields, [event], np.array([0]), np.array([START_MS]))
    table.apply(columns, before=False)
    row = table.row("ann")
    assert row is not None
    found = shown.describe("user", [row.tobytes()], START_MS)
    named = {name: bag[0] for name, bag in found.items() if isinstance(bag, list)}
    zero = {"id": ZERO_INTEGER_ID, "weight": 1.0, "value": 0}
    assert named == {
        "items": zero,
        "gifts": zero | {"value": False},
        "kinds": {"id": hash_text("order"), "weight": 1.0, "value": "order"},
        "sizes": zero,
        "notes": {"id": hash_text("0"), "weight": 1.0, "hash_of": "note"},
    }
    assert named["gifts"]["value"] is False


def test_an_entity_without_a_row_has_defaults() -> None:
    assert served.describe("user", [None], START_MS) == {
        "seen_10s": 0.0,
        "paid_10s": None,
        "idle": None,
        "recent": [],
        "interest": [],
    }
    inputs = inputs_of(None, "new", CANDIDATES, START_MS)
    assert not inputs.dense[:, :3].any()
    assert inputs.ids[0, 0] != 0  # who asks is known, what they did is not


@given(
    st.lists(
        st.builds(
            Behaviour,
            event_id=st.just("e"),
            user_id=st.just("ann"),
            ts=st.integers(START_MS, START_MS + 30_000),
            item_id=st.integers(0, 9),
            category=st.sampled_from(["a", "b", None]),
            price=st.one_of(st.none(), st.floats(-100, 100)),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60)
def test_what_is_served_is_what_is_trained_on(events: list[Behaviour]) -> None:
    """The inputs before an event equal those served from the stored row at that moment."""
    table = EntityTable(plan.tables[0], 10)
    row = None
    for place, event in enumerate(events):
        columns = columns_of([event], place)
        block = table.apply(columns, before=True).before
        assert block is not None
        trained = encoder.encode([block], [np.array([0])], encoder.context_of(columns))
        if event.category is not None and event.price is not None:
            candidate: dict[str, list[Any]] = {
                "item_id": [event.item_id],
                "category": [event.category],
                "price": [event.price],
            }
            inputs = inputs_of(row, "ann", candidate, event.ts)
            np.testing.assert_array_equal(inputs.ids, trained.ids)
            np.testing.assert_array_equal(inputs.dense, trained.dense)
        stored = table.row("ann")
        assert stored is not None
        row = stored.tobytes()


def test_each_candidate_has_its_own_inputs_whatever_stands_beside_it() -> None:
    row = row_of(EVENTS)
    together = inputs_of(row, "ann", CANDIDATES, START_MS + 5_000)
    for place in range(3):
        alone = {name: [values[place]] for name, values in CANDIDATES.items()}
        single = inputs_of(row, "ann", alone, START_MS + 5_000)
        np.testing.assert_array_equal(single.ids[0], together.ids[place])
        np.testing.assert_array_equal(single.dense[0], together.dense[place])


def test_no_candidates_give_no_inputs() -> None:
    none = {name: list[float]() for name in CANDIDATES}
    assert len(inputs_of(row_of(EVENTS), "ann", none, START_MS)) == 0


def test_candidates_are_recognised_as_the_events_are() -> None:
    wanted = columns_of([Behaviour("e", "u", 1, item_id=one) for one in (4, 9, 0)])
    candidates = CANDIDATES | {"item_id": [4, 9, 0]}
    assert served.join_keys(candidates).tolist() == wanted.hashed("item_id").tolist()
    unjoined = OnlineFeatures([plan], encoder, stream)
    assert unjoined.join_keys(CANDIDATES).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("item_id", ["x", "y", "z"], "not all values are int"),
        ("item_id", [2**63, 1, 1], "not all values are int"),
        ("price", ["cheap", "dear", ""], "not all values are float"),
    ],
)
def test_candidates_of_a_wrong_type_are_the_callers_fault(
    name: str, values: list[Any], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        inputs_of(None, "ann", CANDIDATES | {name: values}, START_MS)
    assert caught.value.field == f"candidates.{name}"


def test_a_missing_context_field_is_the_callers_fault() -> None:
    with pytest.raises(RequestError, match="every candidate needs it"):
        inputs_of(None, "ann", {"item_id": [1]}, START_MS)


def test_a_row_of_another_size_is_not_read() -> None:
    with pytest.raises(Unavailable, match="a row of 16 bytes"):
        served.freshness("user", [b"x" * 16])


class ItemSale(Behaviour, kw_only=True):
    item_id: int


catalogue = Entity("item", key="item_id")
sales = Stream("sales", id="event_id", time="ts", key=catalogue, schema=ItemSale)


class Popularity(FeatureView):
    entity, source = catalogue, sales
    sold = Count(windows=["10s"])
    buyers = LastK("user_id", k=2)


item_plan = FeaturePlan([Popularity])
both_encoder = InputEncoder([plan, item_plan], stream, ["item_id", "category", "price"], [])
both = OnlineFeatures([plan, item_plan], both_encoder, stream, join_on="item_id")


def item_row(item: int, *sold_ms: int) -> bytes:
    table = EntityTable(item_plan.tables[0], 10)
    events = [Behaviour("e", "ann", START_MS + at_ms, item_id=item) for at_ms in sold_ms]
    table.apply(columns_of(events), before=False)
    row = table.row(str(item))
    assert row is not None
    return row.tobytes()


def test_the_rows_of_candidates_are_looked_up_each_once() -> None:
    who, what = both.lookups("ann", CANDIDATES)
    assert (who.entity, who.keys) == ("user", served.keys("user", "ann"))
    assert who.which.tolist() == [0, 0, 0]
    assert what.entity == "item"
    assert what.keys == [*both.keys("item", "4"), *both.keys("item", "9")]
    assert what.which.tolist() == [0, 1, 0]
    assert both.entities == ["user", "item"]


def test_candidates_take_the_features_of_their_own_rows() -> None:
    lookups = both.lookups("ann", CANDIDATES)
    rows = [row_of(EVENTS), item_row(4, 4_000, 4_500), None]
    inputs = both.inputs(lookups, rows, "ann", CANDIDATES, START_MS + 5_000)
    dense = dict(zip(both_encoder.layout.dense, inputs.dense.T, strict=True))
    np.testing.assert_allclose(dense["sold_10s"], np.log1p([2, 0, 2]), rtol=1e-6)
    np.testing.assert_allclose(dense["buyers_match"], np.log1p([2, 0, 2]), rtol=1e-6)
    alone = inputs_of(rows[0], "ann", CANDIDATES, START_MS + 5_000)
    np.testing.assert_array_equal(dense["seen_10s"], alone.dense[:, 0])


def test_the_inputs_of_a_candidate_have_the_values_that_people_know() -> None:
    lookups, at_ms = served.lookups("ann", CANDIDATES), START_MS + 2_000
    row = row_of(EVENTS)
    first, second, _ = served.input_values(lookups, [row], "ann", CANDIDATES, at_ms)
    names = {*encoder.layout.dense, *(field.name for field in encoder.layout.fields)}
    assert first.keys() == second.keys() == names
    shown = served.describe("user", [row], at_ms)
    assert {name: first[name] for name in shown} == shown
    assert [first[name] for name in ("user_id", "item_id", "category", "price")] == [
        "ann", 4, "a", 1.5,
    ]  # fmt: skip
    assert (first["recent_match"], second["recent_match"]) == (1.0, 0.0)
    assert first["interest_match"] == pytest.approx(0.5**0.5)
    assert second["interest_match"] == pytest.approx(1.0)
    assert second["user_id_x_item_id"] == {"user_id": "ann", "item_id": 9}
    assert second["interest_x_category"] == {"interest": shown["interest"], "category": "b"}


def test_what_a_candidate_lacks_has_no_value() -> None:
    lacking: dict[str, list[Any]] = {"item_id": [4], "category": [None], "price": [None]}
    lookups = served.lookups("new", lacking)
    (found,) = served.input_values(lookups, [None], "new", lacking, START_MS)
    assert (found["category"], found["price"], found["paid_10s"]) == (None, None, None)
    assert (found["recent"], found["recent_match"], found["interest_match"]) == ([], 0.0, 0.0)


def test_the_values_of_a_match_are_those_that_the_model_is_given() -> None:
    lookups = both.lookups("ann", CANDIDATES)
    rows = [row_of(EVENTS), item_row(4, 4_000, 4_500), None]
    inputs = both.inputs(lookups, rows, "ann", CANDIDATES, START_MS + 5_000)
    values = both.input_values(lookups, rows, "ann", CANDIDATES, START_MS + 5_000)
    for given_to_model, shown in zip(inputs.dense, values, strict=True):
        for name, number in zip(both_encoder.layout.dense, given_to_model.tolist(), strict=True):
            value: Any = shown[name]
            meant = 0.0 if value is None else np.sign(value) * np.log1p(abs(value))
            assert number == pytest.approx(meant, rel=1e-5), name


def test_what_is_derived_from_numbers_has_the_value_that_the_model_is_given() -> None:
    derived = DerivedInputs(missing=["price", "sold_10s"], relative=["price", "sold_10s"])
    deriving = InputEncoder([plan, item_plan], stream, ["item_id", "price"], [], derived)
    features = OnlineFeatures([plan, item_plan], deriving, stream, join_on="item_id")
    candidates: dict[str, list[Any]] = {"item_id": [4, 9, 9], "price": [None, 1.0, 4.0]}
    lookups = features.lookups("ann", candidates)
    rows = [row_of(EVENTS), item_row(4, 4_000, 4_500), None]
    asked = (lookups, rows, "ann", candidates, START_MS + 5_000)
    values = [
        [one[name] for name in deriving.derived.names] for one in features.input_values(*asked)
    ]
    assert values == [[1.0, 0.0, None, 2.0], [0.0, 0.0, -1.5, 0.0], [0.0, 0.0, 1.5, 0.0]]
    dense = features.inputs(*asked).dense[:, -4:]
    np.testing.assert_array_equal(dense[:, :2], [row[:2] for row in values])
    shrunk = np.sign(dense[:, 2:]) * np.expm1(np.abs(dense[:, 2:]))
    np.testing.assert_allclose(shrunk, [[0.0, 2.0], [-1.5, 0.0], [1.5, 0.0]], rtol=1e-6)


def test_each_kind_of_entity_is_described_by_its_own_rows() -> None:
    row = item_row(4, 1_000, 2_000)
    assert both.freshness("item", [row]) == (START_MS + 2_000, {"sales": 1})
    assert both.describe("item", [row], START_MS + 3_000) == {
        "sold_10s": 2.0,
        "buyers": [{"id": hash_text("ann"), "weight": 1.0, "hash_of": "user_id"}] * 2,
    }


@pytest.mark.parametrize(
    ("candidates", "problem"),
    [
        ({"price": [1.0]}, "every candidate needs it"),
        ({"item_id": ["x"]}, "not all values are int"),
    ],
)
def test_a_candidate_that_names_no_row_is_the_callers_fault(
    candidates: dict[str, list[Any]], problem: str
) -> None:
    with pytest.raises(RequestError, match=problem) as caught:
        both.lookups("ann", candidates)
    assert caught.value.field == "candidates.item_id"


orders = Stream("orders", id="event_id", time="ts", key=user, schema=Behaviour)


class Spending(FeatureView):
    entity, source = user, orders
    spent = Sum("price", windows=["10s"])
    bought = LastK("item_id", k=2)


two_plan = FeaturePlan([Activity, Spending])
two_encoder = InputEncoder([two_plan], stream, ["item_id", "category", "price"], [])
two = OnlineFeatures([two_plan], two_encoder, stream, join_on="item_id")


def order_row(*items: int) -> bytes:
    table = EntityTable(two_plan.tables[1], 10)
    bought = [
        Behaviour(f"o{item}", "ann", START_MS + 3_000, item_id=item, price=1.5) for item in items
    ]
    table.apply(columns_of(bought, 400), before=False)
    row = table.row("ann")
    assert row is not None
    return row.tobytes()


def test_the_rows_of_two_streams_have_keys_of_their_own_and_give_one_input_row() -> None:
    lookups = two.lookups("ann", CANDIDATES)
    keys = [key for lookup in lookups for key in lookup.keys]
    assert keys == list(two.keys("user", "ann"))
    assert keys == [table.row_key("ann") for table in two_plan.tables]
    assert len(set(keys)) == 2
    inputs = two.inputs(
        lookups, [row_of(EVENTS), order_row(4, 9)], "ann", CANDIDATES, START_MS + 5_000
    )
    dense = dict(zip(two_encoder.layout.dense, inputs.dense.T, strict=True))
    np.testing.assert_allclose(dense["seen_10s"], np.log1p([2, 2, 2]), rtol=1e-6)
    np.testing.assert_allclose(dense["spent_10s"], np.log1p([3, 3, 3]), rtol=1e-6)
    np.testing.assert_allclose(dense["bought_match"], np.log1p([1, 1, 1]), rtol=1e-6)


def test_rows_of_two_streams_are_described_together_and_one_may_be_missing() -> None:
    described = two.describe("user", [None, order_row(4)], START_MS + 5_000)
    assert (described["seen_10s"], described["spent_10s"]) == (0.0, 1.5)
    assert described["bought"] == [{"id": 4, "weight": 1.0, "value": 4}]


def test_freshness_is_the_newest_time_of_all_streams_and_the_offset_in_each() -> None:
    rows = row_of(EVENTS), order_row(4, 9)
    assert two.freshness("user", rows) == (START_MS + 3_000, {"behaviour": 31, "orders": 401})
    clicked = two.freshness("user", [rows[0], None])
    assert clicked == (START_MS + 2_000, {"behaviour": 31, "orders": -1})
    ordered = two.freshness("user", [None, rows[1]])
    assert ordered == (START_MS + 3_000, {"behaviour": -1, "orders": 401})
    assert two.freshness("user", [None, None]) == (0, {"behaviour": -1, "orders": -1})
