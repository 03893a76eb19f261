"""Cleaned inputs against their definitions, and the same in everyone who has a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from learning import Files, examples
from source_offsets import upto

from freshrank import FTRL, Bucketed, Clipped, DeepFM, Imputed, LogisticRegression, Scaled
from freshrank.actors.inputs.cleaning import Cleaning
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import (
    Doubles,
    Examples,
    Floats,
    IdField,
    InputLayout,
    Inputs,
    OffsetRange,
)
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.input_drift import InputDrift
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import Model, weights_fingerprint
from freshrank.learner.parameters.gradient_sum import total
from freshrank.learner.parameters.input_cleaning import (
    cleaned_scale,
    no_statistics,
    prepared,
    statistics_of,
)
from freshrank.learner.parameters.input_moments import MEAN, VARIANCE, merge
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

NAMES = ("price", "age")
FIELDS = (
    IdField("item"),
    IdField("price_bucket", 1, ("price",)),
    IdField("recent_x_price_bucket", 2, ("price",)),
)
ALL: tuple[Cleaning, ...] = (
    Clipped("price", low=0.05, high=0.95),
    Scaled("price", "robust"),
    Bucketed("price", 4),
    Imputed("age", "median"),
)
ROWS = 5_000


def layout_of(*cleaning: Cleaning) -> InputLayout:
    bucketed = any(one.name == "price" for one in cleaning if isinstance(one, Bucketed))
    return InputLayout(NAMES, FIELDS if bucketed else FIELDS[:1], cleaning)


def numbers(seed: int = 3, rows: int = ROWS) -> Floats:
    """float32[n, 2]: a skewed number, of which some are wild, and one that is often missing."""
    random = np.random.default_rng(seed)
    dense = np.exp(random.normal(size=(rows, 2)))
    dense[random.random(rows) < 0.002, 0] = 1e6
    dense[random.random(rows) < 0.3, 1] = np.nan
    found: Floats = dense.astype(np.float32)
    return found


def fitted(layout: InputLayout, dense: Floats, step: int = 250) -> Doubles:
    """The statistics of numbers that come so many at a time."""
    moments = no_statistics(layout, len(NAMES))
    for begin in range(0, len(dense), step):
        moments = merge(moments, statistics_of(layout, dense[begin : begin + step], moments))
    return moments


def cleaned(layout: InputLayout, dense: Floats) -> Floats:
    ids = np.ones((len(dense), layout.id_width), np.int64)
    return prepared(Inputs(dense, ids), cleaned_scale(layout, fitted(layout, dense)))[0]


def rank_error(values: Floats, bound: float, share: float) -> float:
    return abs(float((values.astype(np.float64) <= bound).mean()) - share)


def test_clipped_numbers_end_at_running_quantiles_and_have_their_moments() -> None:
    layout, dense = layout_of(Clipped("price", low=0.05, high=0.95)), numbers()
    moments = fitted(layout, dense)
    price = dense[:, 0]
    low, high = np.quantile(price, [0.05, 0.95])
    expected = np.clip(price, low, high)
    assert moments[MEAN, 0] == pytest.approx(expected.mean(), rel=0.03)
    assert moments[VARIANCE, 0] == pytest.approx(expected.var(), rel=0.1)
    x = cleaned(layout, dense)[:, 0].astype(np.float64)
    shown = x * np.sqrt(moments[VARIANCE, 0]) + moments[MEAN, 0]
    assert rank_error(price, shown.max(), 0.95) < 0.011
    assert rank_error(price, shown.min(), 0.05) < 0.011
    assert np.allclose(shown, np.clip(price, shown.min(), shown.max()), rtol=1e-4)


def test_robust_bounds_are_deviations_from_the_median() -> None:
    layout, dense = layout_of(Clipped("price", deviations=2.0)), numbers()
    bounds = cleaned_scale(layout, fitted(layout, dense))
    low, middle, high = np.quantile(dense[:, 0], [0.25, 0.5, 0.75])
    expected = middle + 2.0 * (high - low) / 1.349
    x = np.array([[1e9, 0.0], [expected, 0.0]], np.float32)
    wild, just = prepared(Inputs(x, np.ones((2, layout.id_width), np.int64)), bounds)[0][:, 0]
    assert wild == pytest.approx(just, rel=0.03)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("mean", lambda known: float(known.mean())),
        ("median", lambda known: float(np.median(known))),
        ("last", lambda known: float(known[-1])),
        (3.5, lambda _: float(np.log1p(3.5))),
        (-3.5, lambda _: float(-np.log1p(3.5))),
    ],
)
def test_a_missing_number_counts_as_what_is_declared(by: str | float, expected: object) -> None:
    layout, dense = layout_of(Imputed("age", by)), numbers()
    known = dense[~np.isnan(dense[:, 1]), 1].astype(np.float64)
    moments = fitted(layout, dense)
    assert callable(expected)
    fill = (expected(known) - known.mean()) / known.std()
    x = cleaned(layout, dense)[:, 1]
    assert x[np.isnan(dense[:, 1])] == pytest.approx(fill, abs=0.02)
    assert moments[MEAN, 1] == pytest.approx(known.mean(), rel=1e-6), "of those that are known"
    assert moments[VARIANCE, 1] == pytest.approx(known.var(), rel=1e-6)


def test_the_most_frequent_value_fills_what_is_missing() -> None:
    layout, dense = layout_of(Imputed("age", "most_frequent"), Scaled("age", "min_max")), numbers()
    dense[:, 1] = np.random.default_rng(1).choice(
        [1.0, 2.0, 5.0, np.nan], ROWS, p=[0.2, 0.4, 0.1, 0.3]
    )
    x = cleaned(layout, dense)[:, 1]
    assert x[np.isnan(dense[:, 1])] == pytest.approx(0.25)


def test_scales_are_those_that_are_declared() -> None:
    dense = numbers()
    price = dense[:, 0].astype(np.float64)
    share = cleaned(layout_of(Scaled("price", "min_max")), dense)[:, 0]
    assert share == pytest.approx((price - price.min()) / (price.max() - price.min()), abs=1e-6)
    low, middle, high = np.quantile(price, [0.25, 0.5, 0.75])
    robust = cleaned(layout_of(Scaled("price", "robust")), dense)[:, 0]
    expected = np.clip((price - middle) / ((high - low) / 1.349), -10.0, 10.0)
    assert robust == pytest.approx(expected, rel=0.04, abs=0.04)
    standard = cleaned(layout_of(Scaled("price")), dense)[:, 0]
    expected = np.clip((price - price.mean()) / price.std(), -10.0, 10.0)
    assert standard == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_numbers_that_are_nearly_all_equal_keep_a_scale() -> None:
    dense = np.zeros((1_000, 2), np.float32)
    dense[:80, 0] = np.arange(80)
    layout = layout_of(Scaled("price", "robust"), Clipped("price", deviations=3.0))
    x = cleaned(layout, dense)[:, 0]
    assert len(np.unique(x)) > 2
    assert np.isfinite(x).all()
    same = cleaned(layout_of(Scaled("age", "min_max"), Scaled("price", "robust")), dense[100:])
    assert (same == 0.0).all()


def test_buckets_hold_equal_shares_and_missing_ones_are_another() -> None:
    layout, dense = layout_of(Bucketed("price", 4), Bucketed("age", 3)), numbers()
    dense[:100, 0] = np.nan
    ids = np.full((ROWS, layout.id_width), 77, np.int64)
    ids[0] = 0
    _, found = prepared(Inputs(dense, ids), cleaned_scale(layout, fitted(layout, dense)))
    assert (found[:, 0] == ids[:, 0]).all(), "it has no bucket"
    assert (found[0] == 0).all(), "an absent id stays absent"
    by_place = [mix(np.int64(77), np.int64(bucket)) for bucket in range(5)]
    counts = [int((found[1:, 1] == id_).sum()) for id_ in by_place]
    assert counts[4] == 99
    assert np.array(counts[:4]) == pytest.approx((ROWS - 100) / 4, abs=0.011 * ROWS)
    upper = dense[found[:, 1] == by_place[3], 0].min()
    assert upper >= dense[found[:, 1] == by_place[2], 0].max()
    assert (found[:, 1:] == found[:, [1]]).all(), "each column of a bag takes the bucket"


def test_a_fill_does_not_hide_from_the_bucket_that_a_number_is_missing() -> None:
    layout, dense = layout_of(Bucketed("price", 2), Imputed("price", "mean")), numbers()
    dense[0, 0] = np.nan
    scale = cleaned_scale(layout, fitted(layout, dense))
    ids = np.ones((ROWS, layout.id_width), np.int64)
    x, found = prepared(Inputs(dense, ids), scale)
    assert x[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert found[0, 1] == mix(np.int64(1), np.int64(2))


def model_of(*cleaning: Cleaning) -> Model:
    return DeepFM(4, (8,)).bind(layout_of(*cleaning))


def work(begin: int, rows: int, model: Model, partition: int = 0) -> Examples:
    some = examples(model.layout, rows, seed=begin + partition)
    dense = numbers(begin + 7 * partition, rows)
    offset_range = OffsetRange(partition, upto(begin), upto(begin + rows))
    return replace(some, offset_range=offset_range, inputs=Inputs(dense, some.inputs.ids))


def learned(learner: Learner, parts: Sequence[Examples]) -> list[bytes]:
    """Learn, a step each; the checksums of all versions. A follower has each of them, too."""
    follower, found = ModelWeights(learner.model), []
    follower.apply(learner.snapshot(0))
    differentiator = CompiledDifferentiator(learner.model, follower)
    for part in parts:
        assert learner.offer(differentiator.gradient(part), 0.0).accepted
        delta = learner.step(0, 1.0)
        assert delta is not None
        follower.apply(delta)
        mine, own = follower.score(part.inputs), learner.weights.score(part.inputs)
        assert mine.tobytes() == own.tobytes()
        assert np.isfinite(mine).all()
        found.append(follower.checksum().encode())
    return found


def new(model: Model) -> Learner:
    return Learner(model, FTRL(), LearnerSettings())


def test_copies_of_a_version_and_a_resumed_learner_agree_to_the_last_bit() -> None:
    model = model_of(*ALL)
    parts = [work(begin, 64, model) for begin in range(0, 640, 64)]
    whole = learned(new(model), parts)
    first, second = new(model), new(model)
    begun = learned(first, parts[:5])
    stored = Files(b"".join(checkpoints.take(first).pieces()))
    checkpoints.restore(second, stored)
    assert second.weights.moments.tobytes() == first.weights.moments.tobytes()
    assert begun + learned(second, parts[5:]) == whole
    assert len(set(whole)) == len(whole)
    other = checkpoints.restore(new(model_of(Clipped("price"))), stored).changed
    assert other is not None and other.other == ("price", "age"), "cleaned in other ways"


def test_gradients_are_of_the_ids_with_their_buckets_by_all_that_came() -> None:
    model = model_of(*ALL)
    learner = new(model)
    learned(learner, [work(0, 64, model)])
    before, part = learner.weights.moments, work(64, 64, model)
    found = CompiledDifferentiator(model, learner.weights).gradient(part)
    merged = merge(before, found.moments)
    _, ids = prepared(part.inputs, cleaned_scale(model.layout, merged))
    assert set(found.keys.tolist()) == set(ids.ravel().tolist()) - {0}
    assert found.probes is not None
    assert set(found.probes.inputs.ids.ravel().tolist()) <= set(ids.ravel().tolist())
    assert not set(part.inputs.ids[:, 1].tolist()) & set(found.keys.tolist()) - {0}


def test_the_scale_of_a_version_leaves_its_statistics_as_they_are() -> None:
    layout = layout_of(*ALL)
    moments = fitted(layout, numbers())
    kept = moments.copy()
    cleaned_scale(layout, moments)
    np.testing.assert_array_equal(moments, kept)


def test_a_step_that_is_undone_takes_its_statistics_along() -> None:
    model = model_of(*ALL)
    learner = new(model)
    learned(learner, [work(0, 64, model)])
    before = learner.weights.checksum()
    gradient = CompiledDifferentiator(model, learner.weights).gradient(work(64, 64, model))
    change, _ = learner.trained.update(total([gradient]))
    assert learner.weights.checksum() != before
    learner.trained.undo(change)
    assert learner.weights.checksum() == before


def test_the_fingerprint_of_weights_tells_how_inputs_are_cleaned() -> None:
    plain, clipped = (
        LogisticRegression().bind(layout_of()),
        LogisticRegression().bind(layout_of(Clipped("price"))),
    )
    assert weights_fingerprint(plain) == plain.fingerprint == clipped.fingerprint
    assert weights_fingerprint(clipped) != weights_fingerprint(plain)


def test_the_drift_of_cleaned_inputs_is_that_of_their_moments() -> None:
    layout, drift = layout_of(*ALL), InputDrift(NAMES)
    moments = no_statistics(layout, 2)
    for seed in range(60):
        dense = numbers(seed, 500)
        dense[:, 1] += 3.0 * (seed > 50)
        found = statistics_of(layout, dense, moments)
        moments = merge(moments, found)
        drift.add(found)
    greatest = drift.status()["input_drift"]
    assert isinstance(greatest, list)
    assert greatest[0]["input"] == "age" and greatest[0]["index"] > 0.25
    assert greatest[1]["index"] < 0.1
