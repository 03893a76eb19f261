"""Numbers that the learner cleans, and crosses with their buckets, as the encoder gives them."""

from __future__ import annotations

import numpy as np
import pytest
from naive import stream, user

from freshrank import Bucketed, Clipped, Count, FeatureView, Imputed, LastK, Scaled, TimeSince
from freshrank.actors.errors import ConfigError
from freshrank.actors.inputs.cleaning import Cleaning
from freshrank.actors.kernels.hashing import hash_text, mix
from freshrank.actors.messages import Doubles, IdField, Inputs, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.views.plan import FeaturePlan


class Seen(FeatureView):
    entity, source = user, stream
    seen = Count(windows=["1h"])
    idle = TimeSince()
    recent = LastK("item_id", k=2)


PLAN = FeaturePlan([Seen])
CONTEXT = ["item_id", "category", "price"]


def encoder_of(*cleaning: Cleaning, crosses: list[tuple[str, ...]] | None = None) -> InputEncoder:
    derived = DerivedInputs(missing=["idle"], relative=["price"], cleaning=cleaning)
    return InputEncoder([PLAN], stream, CONTEXT, crosses or [], derived)


def encoded(encoder: InputEncoder, idle: float, price: float, category: int = 3) -> Inputs:
    block = FeatureBlock(
        np.array([[2.0, idle]]), np.array([[11, 0]]), np.array([[1.0, 0.0]], np.float64)
    )
    context: dict[str, Ints | Doubles] = {
        "user_id": np.array([5]),
        "item_id": np.array([7]),
        "category": np.array([category]),
        "price": np.array([price]),
    }
    return encoder.encode([block], [np.zeros(1, np.int64)], context)


def test_a_missing_number_is_nan_where_the_learner_fills_or_buckets_it() -> None:
    nan = float("nan")
    for cleaning, missing in (
        ((), []),
        ((Clipped("idle"), Scaled("price")), []),
        ((Imputed("idle", "mean"),), ["idle"]),
        ((Imputed("price", 3.0), Bucketed("idle")), ["idle", "price"]),
        ((Bucketed("price_relative"),), []),
    ):
        encoder = encoder_of(*cleaning)
        dense = dict(zip(encoder.layout.dense, encoded(encoder, nan, nan).dense[0], strict=True))
        assert [name for name, number in dense.items() if np.isnan(number)] == missing
        assert dense["idle_missing"] == 1.0
        known = encoded(encoder, 4.0, 9.0).dense[0]
        assert known[encoder.layout.dense.index("price")] == pytest.approx(np.log1p(9.0))


def test_buckets_are_id_inputs_that_crosses_may_name() -> None:
    crosses: list[tuple[str, ...]] = [
        ("user_id", "item_id"),
        ("item_id", "price_bucket"),
        ("recent", "idle_bucket", "price_bucket"),
        ("price_bucket", "idle_bucket"),
        ("user_id", "item_id", "category"),
        ("user_id", "recent", "category"),
        ("item_id", "category", "price_bucket"),
    ]
    encoder = encoder_of(Bucketed("price", 4), Bucketed("idle"), crosses=crosses)
    assert encoder.layout.fields == (
        IdField("user_id"),
        IdField("item_id"),
        IdField("category"),
        IdField("recent", 2),
        IdField("price_bucket", 1, ("price",)),
        IdField("idle_bucket", 1, ("idle",)),
        IdField("item_id_x_price_bucket", 1, ("price",)),
        IdField("recent_x_idle_bucket_x_price_bucket", 2, ("idle", "price")),
        IdField("price_bucket_x_idle_bucket", 1, ("price", "idle")),
        IdField("user_id_x_item_id"),
        IdField("user_id_x_item_id_x_category"),
        IdField("user_id_x_recent_x_category", 2),
        IdField("item_id_x_category_x_price_bucket", 1, ("price",)),
    )
    found = dict(zip(_columns(encoder), encoded(encoder, 1.0, 2.0).ids[0].tolist(), strict=True))
    assert found == {
        "user_id": _mixed("user_id", 5),
        "item_id": _mixed("item_id", 7),
        "category": _mixed("category", 3),
        "recent": _mixed("recent", 11),
        "recent 1": 0,
        "price_bucket": _mixed("price_bucket", 1),
        "idle_bucket": _mixed("idle_bucket", 1),
        "item_id_x_price_bucket": _mixed("item_id_x_price_bucket", 7),
        "recent_x_idle_bucket_x_price_bucket": _mixed("recent_x_idle_bucket_x_price_bucket", 11),
        "recent_x_idle_bucket_x_price_bucket 1": 0,
        "price_bucket_x_idle_bucket": _mixed("price_bucket_x_idle_bucket", 1),
        "user_id_x_item_id": _mixed("user_id_x_item_id", 5, 7),
        "user_id_x_item_id_x_category": _mixed("user_id_x_item_id_x_category", 5, 7, 3),
        "user_id_x_recent_x_category": _mixed("user_id_x_recent_x_category", 11, 5, 3),
        "user_id_x_recent_x_category 1": 0,
        "item_id_x_category_x_price_bucket": _mixed("item_id_x_category_x_price_bucket", 7, 3),
    }
    absent = encoded(encoder, 1.0, 2.0, category=0).ids[0].tolist()
    gone = [name for name, id_ in zip(_columns(encoder), absent, strict=True) if id_ == 0]
    assert {"category", "user_id_x_item_id_x_category"} <= set(gone)
    assert "item_id_x_price_bucket" not in gone


def _columns(encoder: InputEncoder) -> list[str]:
    fields = encoder.layout.fields
    return [
        one.name if column == 0 else f"{one.name} {column}"
        for one in fields
        for column in range(one.width)
    ]


def _mixed(name: str, *values: int) -> int:
    found = np.int64(hash_text(name))
    for value in values:
        found = mix(found, np.int64(value))
    return int(found)


def test_the_fingerprint_is_that_of_what_the_learner_is_given() -> None:
    plain = encoder_of().fingerprint
    assert encoder_of(Clipped("price"), Scaled("idle", "robust")).fingerprint == plain
    others = [encoder_of(Imputed("idle", "mean")), encoder_of(Bucketed("idle"))]
    prints = {one.fingerprint for one in others}
    assert len(prints | {plain}) == 3
    assert encoder_of(Imputed("idle", "last")).fingerprint in prints, "the learner fills"


@pytest.mark.parametrize(
    ("cleaning", "problem"),
    [
        ([Clipped("prise")], r"cleaning\[0\]: 'prise' is no numeric .*Did you mean 'price'"),
        ([Clipped("price"), Imputed("item_id", 1)], r"cleaning\[1\]: 'item_id' .*There are: seen"),
        ([Imputed("price_relative", "mean")], "no numeric input that it can clean"),
        ([Scaled("idle"), Scaled("idle", "robust")], "a second Scaled of 'idle'"),
        (["price"], "'price' cleans nothing. Take Clipped"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(cleaning: list[Cleaning], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        encoder_of(*cleaning)


@pytest.mark.parametrize(
    ("cross", "problem"),
    [
        (("item_id",), "no pair and no triple"),
        (("item_id", "user_id", "category", "recent"), "no pair and no triple"),
        (("item_id", "price_buckets"), "Did you mean 'price_bucket'"),
        (("item_id", "idle"), r"a number is one as Bucketed\(...\)"),
    ],
)
def test_crosses_of_what_is_no_id_input_are_refused(cross: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        encoder_of(Bucketed("price"), crosses=[cross])


def test_two_inputs_of_one_name_are_refused() -> None:
    twice = [("item_id", "price_bucket")] * 2
    with pytest.raises(ConfigError, match="two id inputs are called 'item_id_x_price_bucket'"):
        encoder_of(Bucketed("price"), crosses=[*twice])
