"""Keys of the rows of compound entities: of the request, of candidates, and of rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Table,
    col,
)
from freshrank.actors.errors import RequestError
from freshrank.actors.features.service import Candidates
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.keys.compound_key import compound_ids
from freshrank.feature_actors.streams.table_codec import TableCodec


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    shop: int | None
    category: str
    kind: str
    ts: int


class Product(msgspec.Struct):
    item: int
    category: str | None = None


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Taste(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["1h"])


class Affinity(FeatureView):
    entity, source = Entity("user_category", key=["user", "category"]), clicks
    there = Count(windows=["1h"])


class Shops(FeatureView):
    entity, source = Entity("shop_user", key=["shop", "user"]), clicks
    bought_there = Count(windows=["1h"])


class Trend(FeatureView):
    entity, source = Entity("shop_category", key=["shop", "category"]), clicks
    trend = Count(windows=["1h"])


PIPELINE = Pipeline(
    "shop",
    stream=clicks,
    features=[Taste, Affinity, Shops, Trend],
    tables=[catalogue],
    context=["item", "shop", catalogue.category],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
)
FEATURES = PIPELINE.online_features
TABLES = {name: plan.row_plans[0] for name, plan in PIPELINE.plans.items()}
CANDIDATES: Mapping[str, Sequence[int | None]] = {"item": [1, 2, 3, 9], "shop": [5, 5, None, 0]}


def product_row(number: int, category: str | None) -> bytes:
    value = msgspec.json.encode(Product(number, category))
    batch = consecutive_records("catalogue", 0, [value], 1)
    (plan,) = PIPELINE.plans["item"].latest
    records = TableCodec(catalogue).decode(replace(batch, keys=[str(number).encode()]))
    row: bytes = plan.rows(records.columns())[0].tobytes()
    return row


def test_rows_of_tables_lead_to_those_of_compound_entities() -> None:
    lookups = FEATURES.lookups("ann", CANDIDATES)
    assert [one.entity for one in lookups] == ["user", "item"]
    leading = [one for one in lookups if one.leads]
    assert [one.table for one in leading] == ["catalogue"]
    rows = [product_row(1, "shoes"), product_row(2, "hats"), product_row(3, "shoes"), None]
    found = {one.entity: one for one in FEATURES.following(leading, rows, "ann", CANDIDATES)}
    assert list(found) == ["shop_category", "shop_user", "user_category"]
    shop = found["shop_category"]
    assert shop.keys[0] == TABLES["shop_category"].row_key("5:shoes")
    assert shop.keys[1] == TABLES["shop_category"].row_key("5:hats")
    assert shop.which.tolist() == [0, 1, 2, 3] and list(shop.unkeyed) == [2, 3]
    own = found["shop_user"]
    assert [own.keys[at] for at in own.which] == [
        TABLES["shop_user"].row_key("5:ann"),
        TABLES["shop_user"].row_key("5:ann"),
        own.keys[1],
        TABLES["shop_user"].row_key("0:ann"),
    ]
    assert list(own.unkeyed) == [2] and list(found["user_category"].unkeyed) == [3]
    assert [shop.shared, own.shared, found["user_category"].shared] == [True, False, False]


def test_a_candidate_with_a_part_of_another_type_is_refused() -> None:
    lookups = [one for one in FEATURES.lookups("ann", CANDIDATES) if one.leads]
    wrong: Candidates = {"item": [1, 2, 3, 9], "shop": ["x", "y", "z", "0"]}
    with pytest.raises(RequestError, match=r"candidates.shop"):
        FEATURES.following(lookups, [None] * 4, "ann", wrong)


def test_the_keys_of_who_is_forgotten_are_told_from_others() -> None:
    owned = FEATURES.owned("ann")
    names = {
        "user_category": ["ann:shoes", "bob:ann", "ann~1:shoes"],
        "shop_user": ["5:ann", "5:bob"],
        "shop_category": ["5:ann"],
        "user": ["ann"],
    }
    found = [
        f"{entity} {name}"
        for entity, of in names.items()
        for name in of
        if owned(TABLES[entity].row_key(name))
    ]
    assert found == ["user_category ann:shoes", "shop_user 5:ann"]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_no_two_pairs_have_one_row(pairs: list[tuple[str, str]]) -> None:
    names = [compound_ids([[one], [other]])[0] for one, other in pairs]
    keys = {TABLES["user_category"].row_key(name) for name in names}
    assert len(keys) == len(set(pairs))
