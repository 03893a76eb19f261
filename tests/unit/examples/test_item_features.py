"""The example with a catalogue and features of items."""

from __future__ import annotations

import asyncio

import pytest

from freshrank.examples import catalogue, recommend
from freshrank.examples.item_features import WITH_ITEMS, quality


@pytest.mark.repeats
def test_a_catalogue_and_features_of_items_add_to_the_features_of_users() -> None:
    own = asyncio.run(quality(recommend.pipeline, seconds=80, seed=2))
    both = asyncio.run(quality(WITH_ITEMS, seconds=80, seed=2))
    assert own.examples == both.examples > 1_000, "both learn from the same impressions"
    assert both.auc > own.auc + 0.01
    assert both.log_loss < own.log_loss


def test_a_request_names_the_item_only() -> None:
    assert dict(catalogue.pipeline.online_features.context) == {"item_id": int}
