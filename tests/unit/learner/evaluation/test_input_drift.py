from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from freshrank.actors.messages import Floats
from freshrank.learner.evaluation.input_drift import InputDrift, stability_index
from freshrank.learner.parameters.input_moments import moments_of, no_moments


def given(drift: InputDrift, examples: int, **columns: float) -> dict[str, float]:
    """Add examples of normal inputs around the means `columns`; gives the index by input."""
    means, random = np.array(list(columns.values())), np.random.default_rng(5)
    for _ in range(examples // 100):
        x: Floats = random.normal(means, 1.0, (100, len(means))).astype(np.float32)
        drift.add(moments_of(x))
    found = cast(list[dict[str, Any]], drift.status()["input_drift"])
    return {one["input"]: one["index"] for one in found}


def test_what_stays_is_steady_and_what_moves_is_named_first() -> None:
    drift = InputDrift(["price", "views"])
    assert given(drift, 9_900, price=5.0, views=1.0) == {}, "too few to compare"
    steady = given(drift, 40_000, price=5.0, views=1.0)
    assert max(steady.values()) < 0.02
    moved = given(drift, 6_000, price=5.0, views=2.0)
    assert list(moved) == ["views", "price"]
    assert moved["price"] < 0.02
    assert moved["views"] > 0.25
    assert drift.status()["input_drift_greatest"] == moved["views"]
    later = given(drift, 250_000, price=5.0, views=2.0)
    assert later["views"] < 0.05, "by then it is what inputs are like"


def test_an_input_that_never_varied_may_begin_to() -> None:
    drift = InputDrift(["flag"])
    for value, examples in ((1.0, 20_000), (1.0, 20_000), (0.0, 2_000)):
        drift.add(moments_of(np.full((examples, 1), value, np.float32)))
        index = cast(float, drift.status()["input_drift_greatest"])
        assert index == 0.0 if value else 0.25 < index <= 100.0


def test_the_index_of_normal_inputs_is_that_of_their_histograms() -> None:
    """Against the definition: the sum over buckets of (p - q) ln(p / q)."""
    random = np.random.default_rng(5)
    recent, before = (random.normal(*of, 1_000_000) for of in ((0.4, 1.2), (0.0, 1.0)))
    edges = np.linspace(-4, 4, 60)
    p, q = (np.histogram(values, edges)[0] + 1.0 for values in (recent, before))
    p, q = p / p.sum(), q / q.sum()
    moments = [moments_of(values[:, None].astype(np.float32)) for values in (recent, before)]
    (found,) = stability_index(*moments)
    assert found == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=0.1)


def test_models_without_numbers_have_no_drift() -> None:
    drift = InputDrift([])
    drift.add(no_moments(0))
    assert drift.status() == {"input_drift": [], "input_drift_greatest": None}


def test_the_greatest_are_listed() -> None:
    names = [f"x{n:02}" for n in range(30)]
    drift = InputDrift(names)
    given(drift, 20_000, **dict.fromkeys(names, 0.0))
    found = given(drift, 4_000, **{name: n / 10 for n, name in enumerate(names)})
    assert len(found) == 20
    assert list(found)[:3] == names[:-4:-1]


def test_the_moments_of_labels_are_those_of_no_input() -> None:
    drift, with_labels = InputDrift(["price"]), InputDrift(["price"])
    random = np.random.default_rng(5)
    for mean in (0.0, 0.0, 4.0):
        x: Floats = random.normal(mean, 1.0, (10_000, 2)).astype(np.float32)
        drift.add(moments_of(x[:, :1]))
        with_labels.add(moments_of(x))
    assert with_labels.status() == drift.status()
