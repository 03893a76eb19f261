"""Labels that cannot be right are found, whichever way they are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freshrank.actors.impressions import Impression
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.actors.messages import Inputs
from freshrank.benchmarks.chaos.label_truth import ClickLog, mislabelled
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.labels.examples import LabelledRows


def shown(user: str, items: list[int], at_ms: int, dense: list[float]) -> Impression:
    ids = np.array(items)
    return Impression(
        request_id="r",
        entity=user,
        at_ms=at_ms,
        version="1.0",
        layout="",
        join_keys=hash_ints(ids).astype("<i8").tobytes(),
        dense=np.array(dense, dtype="<f4").tobytes(),
        ids=ids.astype("<i8").tobytes(),
    )


def rows(labels: list[float], dense: list[float], ids: list[int]) -> LabelledRows:
    count = np.arange(len(labels))
    inputs = Inputs(np.array(dense, dtype=np.float32).reshape(-1, 1), np.array(ids).reshape(-1, 1))
    return LabelledRows.not_served(count, inputs, np.array(labels, dtype=np.float32), count)


def negative_at_once(known: LabelledRows) -> LabelledRows:
    """The same labels, as rows that are negative at first, and corrections."""
    negatives = replace(known, labels=np.zeros_like(known.labels))
    corrections = known.take(np.flatnonzero(known.labels))
    made = replace(corrections, corrects=np.ones(len(corrections), np.bool_))
    return LabelledRows.join([negatives, made], 1, 1)


def click(user: str, item: int) -> ShopEvent:
    # Its own time says nothing.
    return ShopEvent("e", user, item, 1, "click", 1.0, ts=5)


@pytest.mark.parametrize(
    ("labels", "wrong"),
    [([1, 0, 0], 0), ([1, 0, 1], 0), ([0, 0, 0], 1), ([1, 1, 0], 1), ([0, 1, 1], 2)],
)
def test_a_label_is_wrong_unless_a_click_makes_it_right(labels: list[float], wrong: int) -> None:
    clicks = ClickLog(within_ms=3_000)
    clicks.add(click("ann", 1), 11_000, 11_000)
    clicks.add(click("bob", 2), 11_000, 11_000)
    clicks.add(click("ann", 3), 13_500, 13_500)  # near the end: either label is right
    impression = shown("ann", [1, 2, 3], 10_000, [0.1, 0.2, 0.3])
    found = rows(labels, [0.1, 0.2, 0.3], [1, 2, 3])
    assert len(mislabelled([found], [impression], clicks)) == wrong
    assert len(mislabelled([negative_at_once(found)], [impression], clicks)) == wrong


def test_of_items_with_the_same_inputs_the_numbers_of_labels_count() -> None:
    clicks = ClickLog(within_ms=3_000)
    clicks.add(click("ann", 1), 11_000, 11_000)
    same = [shown(user, [1], 10_000, [0.5]) for user in ("ann", "bob", "eve")]
    for labels, wrong in (([0, 1, 0], 0), ([1, 0], 0), ([0, 0], 0), ([0, 0, 0], 1), ([1, 1], 1)):
        found = rows([float(label) for label in labels], [0.5] * len(labels), [1] * len(labels))
        assert len(mislabelled([found], same, clicks)) == wrong


@pytest.mark.parametrize(
    ("begun_ms", "sent_ms", "label", "wrong"),
    [
        (11_000, 11_500, 0, 1),
        (11_000, 14_500, 0, 0),
        (11_000, 14_500, 1, 0),
        (14_500, 19_000, 1, 1),
        (14_500, 19_000, 0, 0),
    ],
)
def test_a_click_whose_writing_took_long_may_have_been_stamped_at_any_time_of_it(
    begun_ms: int, sent_ms: int, label: int, wrong: int
) -> None:
    clicks = ClickLog(within_ms=3_000)
    clicks.add(click("ann", 1), begun_ms, sent_ms)
    found = rows([label], [0.1], [1])
    assert len(mislabelled([found], [shown("ann", [1], 10_000, [0.1])], clicks)) == wrong
