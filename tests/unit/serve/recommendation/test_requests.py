"""Requests for items: what they mean, their bounds, and errors that name the place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from fake_retriever import FakeRetriever, item
from serving import FakeFeatures, ReplicaUnderTest

from freshrank.actors.errors import BadRecord, ConfigError, RequestError
from freshrank.actors.features.retrieval import Boost, Filter
from freshrank.actors.messages import Version
from freshrank.examples import catalogue
from freshrank.serve.api.consistency import ANY, Consistency
from freshrank.serve.api.recommendation_answers import NoteCode, RecommendAnswer
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.recommendation.diversity import Diversity, Mmr
from freshrank.serve.recommendation.requests import (
    RecommendCall,
    RecommendDecoder,
    SimilarCall,
    SimilarDecoder,
)
from freshrank.serve.recommendation.selection import SelectionTypes

RETRIEVER = FakeRetriever({"3": item()})
PIPELINE = ReplicaUnderTest(RequestLimits(candidates=500)).service.pipeline
TYPES = SelectionTypes(PIPELINE, RETRIEVER)
RECOMMEND = RecommendDecoder(PIPELINE, RETRIEVER, TYPES)
SIMILAR = SimilarDecoder(TYPES)


def recommend(**changes: Any) -> RecommendCall:
    return RECOMMEND.decode(msgspec.json.encode({"user": "u1"} | changes))


def similar(**changes: Any) -> SimilarCall:
    return SIMILAR.decode(msgspec.json.encode({"items": [3]} | changes))


def test_what_a_request_does_not_say() -> None:
    call = recommend()
    assert call.key == "u1"
    assert (call.selection.k, call.candidates, call.show) == (20, 200, None)
    assert call.selection.filters == ()
    assert call.selection.exclude == frozenset()
    assert call.selection.diversity == Diversity()
    assert (call.boosts, call.explain, call.pages) == ([], 0, 1)
    assert call.exclude_seen == ("recent", "bought")
    assert call.sources == ()
    assert call.wanted is ANY


def test_a_pipeline_of_few_candidates_ranks_as_many_as_it_may() -> None:
    few = ReplicaUnderTest(RequestLimits(candidates=50)).service.pipeline
    call = RecommendDecoder(few, RETRIEVER, SelectionTypes(few, RETRIEVER)).decode(b'{"user":"u"}')
    assert call.candidates == 50


def test_all_that_a_request_may_say() -> None:
    call = recommend(
        k=100,
        filters={"brand": "a"},
        exclude=[3, "4", -7, 3],
        exclude_seen=["bought", "bought"],
        diversify={
            "most_per": {"brand": 2, "stock": 100, "price": None},
            "mmr": {"lambda": 0.25, "fields": ["stock", "brand", "stock"]},
        },
        boosts=[{"filters": {"price": {"lt": 5}}, "factor": 2}, {"filters": {}, "factor": 0.5}],
        pages=10,
        sources=["co_visited"],
        candidates=500,
        show=0,
        min_version="2.7",
        max_model_age_ms=40,
        min_offsets={"clicks": 7},
        timeout_ms=20,
    )
    assert call.selection.k == 100
    assert call.selection.filters == (Filter("brand", "eq", "a"),)
    assert call.selection.exclude == {"3", "4", "-7"}
    assert call.selection.diversity.most_per == {"brand": 2, "stock": 100}
    assert call.selection.diversity.mmr == Mmr(0.25, ["stock", "brand"])
    assert call.boosts == [Boost((Filter("price", "lt", 5.0),), 2.0), Boost((), 0.5)]
    assert call.pages == 10
    assert call.exclude_seen == ("bought",)
    assert call.sources == ("co_visited",)
    assert (call.candidates, call.show) == (500, 0)
    assert call.wanted == Consistency(Version(2, 7), 40, {"clicks": 7}, timeout_ms=20)
    assert recommend(exclude_seen=False).exclude_seen == ()
    assert recommend(exclude_seen=[]).exclude_seen == ()


@pytest.mark.parametrize(
    ("condition", "filters"),
    [
        ({"brand": "a"}, [("brand", "eq", "a")]),
        ({"brand": ["a", "b"]}, [("brand", "in", ["a", "b"])]),
        ({"brand": []}, [("brand", "in", [])]),
        ({"brand": {}}, []),
        (
            {"brand": {"not_in": ["a"], "ne": "b"}},
            [("brand", "ne", "b"), ("brand", "not_in", ["a"])],
        ),
        ({"brand": {"is_null": False}}, [("brand", "is_null", False)]),
        ({"price": {"ge": 5, "lt": 9.5}}, [("price", "lt", 9.5), ("price", "ge", 5.0)]),
        ({"price": {"gt": 5, "le": 9}}, [("price", "le", 9.0), ("price", "gt", 5.0)]),
        ({"price": 5}, [("price", "eq", 5.0)]),
        ({"price": [5, 5.5]}, [("price", "in", [5.0, 5.5])]),
        ({"stock": {"eq": 7.0}}, [("stock", "eq", 7)]),
        ({"stock": 7.0, "brand": "b"}, [("brand", "eq", "b"), ("stock", "eq", 7)]),
        ({"stock": {"in": [7.0, 8]}}, [("stock", "in", [7, 8])]),
    ],
)
def test_conditions(condition: dict[str, Any], filters: list[tuple[str, Any, Any]]) -> None:
    found = recommend(filters=condition).selection.filters
    assert [(one.field, one.comparison, one.value) for one in found] == filters
    assert [type(one.value) for one in found] == [type(value) for _, _, value in filters]
    assert similar(filters=condition).selection.filters == found


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"k": 0}, "k", ">= 1"),
    ({"k": 101}, "k", "<= 100"),
    ({"k": "5"}, "k", "got `str`"),
    ({"kk": 5}, "body", "did you mean `k`?"),
    ({"filters": []}, "filters", "got `array`"),
    ({"diversify": {"mmr": {}}}, "diversify.mmr.fields", "missing required field `fields`"),
    ({"diversify": {"mmr": {"fields": []}}}, "diversify.mmr.fields", "length >= 1"),
    (
        {"diversify": {"mmr": {"fields": ["brnd"]}}},
        "diversify.mmr.fields[0]",
        "did you mean `brand`?",
    ),
    ({"diversify": {"mmr": {"lamda": 1}}}, "diversify.mmr", "did you mean `lambda`?"),
    (
        {"diversify": {"mmr": {"fields": ["brand"], "lambda": 1.1}}},
        "diversify.mmr.lambda",
        "<= 1",
    ),
    ({"filters": {"prise": 1}}, "filters", "did you mean `price`? It takes: `brand`, `price`"),
    ({"filters": {"zzz": 1}}, "filters", "field `zzz`. It takes: `brand`, `price`, `stock`"),
    ({"filters": {"price": "1"}}, "filters.price", "got `str`"),
    ({"filters": {"price": None}}, "filters.price", "got `null`"),
    ({"filters": {"price": True}}, "filters.price", "got `bool`"),
    ({"filters": {"price": {"ge": "1"}}}, "filters.price.ge", "got `str`"),
    ({"filters": {"price": {"gt": [1]}}}, "filters.price.gt", "got `array`"),
    ({"filters": {"price": {"gte": 1}}}, "filters.price", "did you mean `gt`?"),
    ({"filters": {"price": {"in": 1}}}, "filters.price.in", "got `int`"),
    ({"filters": {"price": {"in": ["x"]}}}, "filters.price.in[0]", "got `str`"),
    ({"filters": {"price": {"is_null": 1}}}, "filters.price.is_null", "got `int`"),
    ({"filters": {"price": [1] * 101}}, "filters.price", "length <= 100"),
    ({"filters": {"price": {"not_in": [1] * 101}}}, "filters.price.not_in", "length <= 100"),
    ({"filters": {"stock": 7.5}}, "filters.stock", "got `float`"),
    ({"filters": {"stock": {"lt": 2**63}}}, "filters.stock.lt", "<= 9223372036854775807"),
    ({"filters": {"brand": "x" * 257}}, "filters.brand", "length <= 256"),
    ({"filters": {"brand": 7}}, "filters.brand", "got `int`"),
    ({"filters": {"brand": {"ge": "a"}}}, "filters.brand", "`in`, `not_in`, `is_null`"),
    ({"exclude": [2**63]}, "exclude[0]", "<= 9223372036854775807"),
    ({"exclude": [3] * 1001}, "exclude", "length <= 1000"),
    ({"diversify": {"most": 1}}, "diversify", "It takes: `most_per`, `mmr`"),
    ({"diversify": {"most_per": {"brands": 1}}}, "diversify.most_per", "did you mean `brand`?"),
    ({"diversify": {"most_per": {"brand": 0}}}, "diversify.most_per.brand", ">= 1"),
    ({"diversify": {"most_per": {"brand": 101}}}, "diversify.most_per.brand", "<= 100"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "place", "reason"), WRONG)
def test_what_is_wrong_about_items_is_named_by_its_place(
    changes: dict[str, Any], place: str, reason: str
) -> None:
    for decode in (recommend, similar):
        with pytest.raises(RequestError) as caught:
            decode(**changes)
        assert (caught.value.field, caught.value.status) == (place, 422)
        assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("changes", "place", "reason"),
    [
        ({"user": 5}, "user", "got `int`"),
        ({"user": ""}, "user", "length >= 1"),
        ({"exclude_seen": 1}, "exclude_seen", "got `int`"),
        ({"exclude_seen": ["resent"]}, "exclude_seen[0]", "did you mean `recent`?"),
        ({"sources": ["popular", "x"]}, "sources[1]", "It takes: `popular`, `co_visited`"),
        ({"sources": []}, "sources", "length >= 1"),
        ({"pages": 11}, "pages", "<= 10"),
        ({"explain": 21}, "explain", "<= 20"),
        ({"boosts": [{"factor": 2}]}, "boosts[0].filters", "missing required field `filters`"),
        ({"boosts": [{"filters": {}, "factor": 0}]}, "boosts[0].factor", ">= 0.001"),
        ({"boosts": [{"filters": {}, "factor": 1e4}]}, "boosts[0].factor", "<= 1000"),
        ({"boosts": [{"filter": {}}]}, "boosts[0]", "did you mean `filters`? It takes: `filters`,"),
        ({"boosts": [{"filters": {"brnd": 1}}]}, "boosts[0].filters", "did you mean `brand`?"),
        (
            {"boosts": [{"filters": {"price": {"gte": 1}}}]},
            "boosts[0].filters.price",
            "did you mean `gt`?",
        ),
        ({"boosts": [{"filters": {}, "factor": 1}] * 21}, "boosts", "length <= 20"),
        ({"candidates": 0}, "candidates", ">= 1"),
        ({"candidates": 501}, "candidates", "<= 500"),
        ({"show": -1}, "show", ">= 0"),
        ({"min_version": "1"}, "min_version", "a version of the weights"),
        ({"max_model_age_ms": -1}, "max_model_age_ms", ">= 0"),
        ({"min_offsets": {"clicks": -1}}, "min_offsets[...]", ">= 0"),
        ({"min_offsets": [7]}, "min_offsets", "object"),
        ({"timeout_ms": 10_001}, "timeout_ms", "<= 10000"),
        ({"items": [3]}, "body", "unknown field `items`"),
    ],
)
def test_what_is_wrong_about_a_request_for_recommendations_is_named_by_its_place(
    changes: dict[str, Any], place: str, reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        recommend(**changes)
    assert (caught.value.field, caught.value.status) == (place, 422)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("changes", "place", "reason"),
    [
        ({"items": []}, "items", "length >= 1"),
        ({"items": [3] * 21}, "items", "length <= 20"),
        ({"items": [3.5]}, "items[0]", "got `float`"),
        ({"item": [3]}, "body", "did you mean `items`?"),
        ({"candidates": 5}, "body", "unknown field `candidates`"),
    ],
)
def test_what_is_wrong_about_a_request_for_similar_items_is_named_by_its_place(
    changes: dict[str, Any], place: str, reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        similar(**changes)
    assert (caught.value.field, caught.value.status) == (place, 422)
    assert reason in caught.value.reason


@pytest.mark.parametrize("decode", [RECOMMEND.decode, SIMILAR.decode])
def test_a_body_that_is_not_json_is_a_400(decode: Any) -> None:
    with pytest.raises(RequestError) as caught:
        decode(b"{")
    assert (caught.value.field, caught.value.status) == ("body", 400)


def test_given_items_come_once_in_their_order() -> None:
    assert similar(items=[9, "3", 3, 9.0]).items == ("9", "3")


def test_keys_of_text_are_taken_as_they_are() -> None:
    retriever = FakeRetriever({"a": item()}, integer_keys=False)
    decoder = SimilarDecoder(SelectionTypes(PIPELINE, retriever))
    call = decoder.decode(b'{"items": ["07", "a"], "exclude": [" b"]}')
    assert call.items == ("07", "a")
    assert call.selection.exclude == {" b"}
    with pytest.raises(RequestError) as caught:
        decoder.decode(b'{"items": [7]}')
    assert caught.value.field == "items[0]"


class NoSevens(FakeFeatures):
    def canonical_key(self, entity: str, key: str | int) -> str:
        assert entity == "item"
        if str(key) == "7":
            raise BadRecord("7 is no item")
        return str(key)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"items": [1], "exclude": [3, 7]}', "exclude[1]"),
        (b'{"items": [1, 2, "7"]}', "items[2]"),
    ],
)
def test_a_key_that_the_pipeline_does_not_allow_is_named_by_its_place(
    body: bytes, place: str
) -> None:
    pipeline = ReplicaUnderTest(features=NoSevens()).service.pipeline
    with pytest.raises(RequestError) as caught:
        SimilarDecoder(SelectionTypes(pipeline, RETRIEVER)).decode(body)
    assert (caught.value.field, caught.value.reason) == (place, "7 is no item")


@pytest.mark.parametrize("name", ["k", "filters", "show", "min_version"])
def test_an_entity_with_the_name_of_a_field_is_refused(name: str) -> None:
    pipeline = replace(PIPELINE, entity=name)
    with pytest.raises(ConfigError, match=f"Entity\\('{name}'\\)"):
        RecommendDecoder(pipeline, RETRIEVER, TYPES)


def test_lists_are_filtered_by_their_values_and_neither_by_size_nor_for_diversity() -> None:
    class Films(FakeRetriever):
        lists: Mapping[str, type] = {"tags": str, "sizes": int}

    films = Films({})
    types = SelectionTypes(PIPELINE, films)

    def asked(**body: Any) -> list[tuple[str, Any, Any]]:
        request = msgspec.json.encode({"items": [1], **body})
        found = SimilarDecoder(types).decode(request).selection.filters
        return [(one.field, one.comparison, one.value) for one in found]

    assert asked(filters={"tags": ["a", "b"], "sizes": {"ne": 4, "is_null": False}}) == [
        ("tags", "in", ["a", "b"]), ("sizes", "ne", 4), ("sizes", "is_null", False),
    ]  # fmt: skip
    assert asked(filters={"tags": "a"}) == [("tags", "eq", "a")]
    for wrong in (
        {"filters": {"sizes": {"lt": 4}}},
        {"filters": {"sizes": ["a"]}},
        {"diversify": {"most_per": {"tags": 1}}},
        {"diversify": {"mmr": {"fields": ["tags"]}}},
    ):
        with pytest.raises(RequestError):
            asked(**wrong)
    described = PIPELINE.describe(1, films).catalogue
    assert described is not None
    assert described.fields["tags"] == "list[str]"


def test_a_value_that_a_field_cannot_have_is_refused_with_those_that_it_can() -> None:
    class Garments(FakeRetriever):
        fields: Mapping[str, type] = {"colour": str, "size": int, "size.of": str}
        lists: Mapping[str, type] = {"cuts": str, "tags": str}
        choices: Mapping[str, Sequence[str | int]] = {
            "colour": ("blue", "red"), "size": (38, 40), "size.of": ("uk",), "cuts": ("slim",)
        }  # fmt: skip

    types = SelectionTypes(PIPELINE, Garments({}))
    decoder = RecommendDecoder(PIPELINE, Garments({}), types)
    # The document has a name for each kind of condition, also where some fields are free.
    defined = msgspec.json.schema(decoder.request_type)["$defs"]
    assert sum(name.startswith("TextListCondition") for name in defined) == 2

    def reason(place: str, **body: Any) -> str:
        request = msgspec.json.encode({"user": "u1", **body})
        with pytest.raises(RequestError) as caught:
            decoder.decode(request)
        assert (caught.value.field, caught.value.status) == (place, 422)
        return caught.value.reason

    colours = "did you mean `red`? It takes: `blue`, `red`"
    assert reason("filters.colour", filters={"colour": "rad"}).endswith(f"'rad'; {colours}")
    assert colours in reason("filters.colour[1]", filters={"colour": ["blue", "rad"]})
    assert colours in reason("filters.colour.ne", filters={"colour": {"ne": "rad"}})
    assert colours in reason("filters.colour.in[0]", filters={"colour": {"in": ["rad"]}})
    assert "It takes: `eq`" in reason("filters.colour", filters={"colour": {"rad": "red"}})
    boost = {"filters": {"colour": "rad"}, "factor": 2}
    assert colours in reason("boosts[0].filters.colour", boosts=[boost])
    assert "value 39. It takes: `38`, `40`" in reason("filters.size", filters={"size": 39})
    assert "It takes: `uk`" in reason("filters.size.of.eq", filters={"size.of": {"eq": "us"}})
    assert "It takes: `slim`" in reason("filters.cuts[0]", filters={"cuts": ["slm"]})
    fine = {"colour": ["red"], "size": {"lt": 39, "in": [38.0]}, "tags": "any"}
    filters = decoder.decode(msgspec.json.encode({"user": "u", "filters": fine})).selection.filters
    assert [(one.comparison, one.value) for one in filters] == [
        ("in", ["red"]), ("in", [38]), ("lt", 39), ("eq", "any")
    ]  # fmt: skip
    one_value = "`tags` is a list of values, and items differ by fields of one value: `colour`, "
    assert one_value in reason("diversify.most_per", diversify={"most_per": {"tags": 1}})
    mmr = {"mmr": {"fields": ["tags"]}}
    assert one_value in reason("diversify.mmr.fields[0]", diversify=mmr)


def test_a_bool_is_compared_with_booleans_or_what_features_have_for_them() -> None:
    class Gifts(FakeRetriever):
        fields: Mapping[str, type] = {"gift": bool}
        lists: Mapping[str, type] = {"options": bool}

    decoder = RecommendDecoder(PIPELINE, Gifts({}), SelectionTypes(PIPELINE, Gifts({})))

    def decoded(filters: Any) -> list[Filter]:
        request = msgspec.json.encode({"user": "u1", "filters": filters})
        return list(decoder.decode(request).selection.filters)

    assert decoded({"gift": True}) == [Filter("gift", "eq", True)]
    assert decoded({"gift": [False, 1]}) == [Filter("gift", "in", [False, 1])]
    assert decoded({"gift": {"ne": False}}) == [Filter("gift", "ne", False)]
    assert decoded({"options": {"in": [True]}}) == [Filter("options", "in", [True])]
    for wrong, reason in (
        ({"gift": 7}, "It takes: `true`, `false`"),
        ({"gift": {"ge": 1}}, "It takes: `eq`, `ne`, `in`"),
        ({"options": {"in": [2]}}, "It takes: `true`, `false`"),
        ({"gift": "yes"}, "got `str`"),
    ):
        with pytest.raises(RequestError) as caught:
            decoded(wrong)
        assert (caught.value.status, reason in caught.value.reason) == (422, True)


def test_a_field_of_the_catalogue_may_have_any_name() -> None:
    class Odd(FakeRetriever):
        fields: Mapping[str, type] = {
            "in": str, "class": int, "device.os": str, "k": float, "_x": str
        }  # fmt: skip

    types = SelectionTypes(PIPELINE, Odd({}))
    call = SimilarDecoder(types).decode(
        b'{"items": [1], "filters": {"in": "a", "device.os": ["b"], "_x": {"in": ["c"]}},'
        b' "diversify": {"most_per": {"class": 1}}}'
    )
    assert [(one.field, one.comparison) for one in call.selection.filters] == [
        ("in", "eq"), ("device.os", "in"), ("_x", "in")
    ]  # fmt: skip
    assert call.selection.diversity.most_per == {"class": 1}


def test_the_request_and_the_answer_of_the_page_are_those_that_it_describes() -> None:
    class Demo(FakeRetriever):
        fields: Mapping[str, type] = {
            name: field.kind.value for name, field in catalogue.catalogue.fields.items()
        }

    page = (Path(__file__).parents[4] / "docs" / "recommendations.md").read_text(encoding="utf-8")
    bodies = re.findall(r"-d '(\{.*?\})'", page, re.DOTALL)
    types = SelectionTypes(PIPELINE, Demo({}))
    call = RecommendDecoder(PIPELINE, Demo({}), types).decode(bodies[0].encode())
    assert len(call.selection.filters) == 2
    assert call.selection.diversity.most_per == {"category_id": 1}
    boosted = RecommendDecoder(PIPELINE, Demo({}), types).decode(bodies[1].encode())
    assert [one.factor for one in boosted.boosts] == [1.5, 0.2]
    assert (boosted.selection.diversity.mmr, boosted.pages) == (Mmr(0.7, ["category_id"]), 5)
    assert SimilarDecoder(types).decode(bodies[2].encode()).items == ("7", "12")
    (answer,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    read = msgspec.json.decode(answer, type=RecommendAnswer)
    assert msgspec.to_builtins(read) == msgspec.json.decode(answer)
    readme = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
    (plain,) = re.findall(r"/v1/recommend .*?-d '(\{.*?\})'", readme, re.DOTALL)
    assert RecommendDecoder(PIPELINE, Demo({}), types).decode(plain.encode()).selection.filters
    codes = re.findall(r"^\| `(\w+)` \|", page.partition("| code |")[2], re.MULTILINE)
    assert codes == list(get_args(NoteCode))
