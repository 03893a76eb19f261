from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from small_catalogue import PIPELINE, Audience, Recent, catalogue, clicks, item

from freshrank import (
    Count,
    CoVisited,
    Entity,
    FeatureView,
    LastK,
    Listed,
    Newest,
    Popular,
    Table,
    user_agent,
)
from freshrank.actors.errors import ConfigError


class MistypedKind(msgspec.Struct):
    item: str
    kind: int
    brand: str


class WithItems(FeatureView):
    entity, source = Entity("item", key="item"), clicks
    total = Count(windows=["1h"])
    kinds = LastK("kind", k=2)


mistyped = Table("catalogue", key=item, schema=MistypedKind)


@pytest.mark.parametrize(
    ("changes", "place", "says"),
    [
        ({"candidates": Newest()}, "candidates", "is no list"),
        ({"candidates": ["newest"]}, "candidates[0]", "is no source of candidates"),
        ({"candidates": [Newest(), Newest()]}, "candidates[1]", "newest is there already"),
        ({"candidates": [Popular("viewd_1h")]}, "candidates[0].by", "mean 'viewed_1h'"),
        ({"candidates": [Popular("viewed_1h", per="brnd")]}, "candidates[0].per", "'brand'"),
        ({"candidates": [Popular("viewed_1h", per="price")]}, "candidates[0].per", "float"),
        ({"candidates": [Newest(by="brand")]}, "candidates[0].by", "is str"),
        ({"candidates": [CoVisited("viewed_1h")]}, "candidates[0].users", "There are: users"),
        ({"candidates": [Listed("front", [])]}, "candidates[0].items", "no list of keys"),
        ({"candidates": [Listed("front", ["a", 7])]}, "candidates[0].items[1]", "str"),
        (
            {"features": [Recent, WithItems], "candidates": [CoVisited("kinds")]},
            "candidates[0].users",
            "lists 'kind', not 'user'",
        ),
        (
            {"features": [Recent], "candidates": [Popular("viewed_1h")]},
            "candidates[0].by",
            "Declare one in a view of items",
        ),
        (
            {"tables": [], "context": ["item"], "candidates": [Newest()]},
            "candidates",
            "there is no table keyed by 'item'",
        ),
    ],
)
def test_each_mistake_with_candidates_is_named(
    changes: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(PIPELINE, **changes)
    assert caught.value.place.endswith(place)
    assert says in str(caught.value)
    assert caught.value.fix.endswith((".", "?"))


def test_a_field_that_no_item_has_is_given_by_the_request() -> None:
    context = ["item", "kind", *user_agent("kind"), catalogue.brand]
    changed = replace(PIPELINE, context=cast(Any, context), candidates=[Newest()])
    assert "requests for recommendations give in their context: kind" in changed.describe()
    assert "requests for" not in PIPELINE.describe()
    plan = changed.retrieval
    assert plan is not None
    assert (plan.item_context, plan.request_context) == (["item"], ["kind"])


def test_a_field_that_candidates_carry_has_the_type_of_the_stream() -> None:
    with pytest.raises(ConfigError, match="'kind' has another type in 'catalogue'"):
        replace(
            PIPELINE,
            tables=[mistyped],
            context=["item", "kind", mistyped.brand],
            candidates=[Newest()],
        )


def test_a_source_that_is_learned_is_an_input_and_others_change_nothing() -> None:
    without = replace(PIPELINE, candidates=[])
    assert without.retrieval is None
    assert without.plan.fingerprint == PIPELINE.plan.fingerprint
    names = PIPELINE.encoder.layout.dense
    assert [name for name in names if name not in without.encoder.layout.dense] == [
        "co_visited:users"
    ]
    assert PIPELINE.encoder.layout.favourable == ("co_visited:users",)
    for sources in ([CoVisited("users", learned=False)], [Newest(), Popular("viewed_1h")]):
        unlearned = replace(PIPELINE, candidates=sources)
        assert unlearned.encoder.fingerprint == without.encoder.fingerprint
        assert unlearned.made_for.fingerprint == without.made_for.fingerprint


def test_a_list_that_is_not_learned_is_no_input_and_changes_no_row() -> None:
    class Learned(FeatureView):
        entity, source = item, clicks
        viewed = Audience.features["viewed"]
        users = LastK("user", k=8, repeats=False)

    learned = replace(PIPELINE, features=[Recent, Learned])
    ids = [field.name for field in learned.encoder.layout.fields]
    assert "users" in ids
    assert "users_match" in learned.encoder.layout.dense
    own = PIPELINE.encoder.layout
    assert [field.name for field in own.fields] == [name for name in ids if name != "users"]
    assert "users_match" not in own.dense
    (plan,), (other,) = PIPELINE.candidate_plans, learned.candidate_plans
    assert plan.fingerprint == other.fingerprint
