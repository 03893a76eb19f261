"""The examples with a catalogue, features of items, and of pairs."""

from __future__ import annotations

import asyncio

import pytest

from freshrank.examples import affinity, catalogue, recommend
from freshrank.examples.item_features import WITH_ITEMS, WITH_PAIRS, WITHOUT_PAIRS, quality


@pytest.mark.repeats
def test_a_catalogue_and_features_of_items_add_to_the_features_of_users() -> None:
    own = asyncio.run(quality(recommend.pipeline, seconds=80, seed=2))
    both = asyncio.run(quality(WITH_ITEMS, seconds=80, seed=2))
    assert own.examples == both.examples > 1_000, "both learn from the same impressions"
    assert both.auc > own.auc + 0.01
    assert both.log_loss < own.log_loss


@pytest.mark.repeats
def test_pairs_of_user_and_category_add_to_features_of_users_and_of_items() -> None:
    without = asyncio.run(quality(WITHOUT_PAIRS, seconds=160, seed=2))
    pairs = asyncio.run(quality(WITH_PAIRS, seconds=160, seed=2))
    assert without.examples == pairs.examples > 1_000, "both learn from the same impressions"
    assert pairs.auc > without.auc
    assert pairs.log_loss < without.log_loss


def test_a_request_names_the_item_only() -> None:
    for one in (catalogue.pipeline, affinity.pipeline):
        assert dict(one.online_features.context) == {"item_id": int}
