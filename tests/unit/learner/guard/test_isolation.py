"""What is held back of an isolated partition, refused, and learned once it is well again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from learning import gradient

from freshrank.actors.messages import Floats, Gradient
from freshrank.learner.guard.forgetting import forget_in
from freshrank.learner.guard.held_back import HeldBack
from freshrank.learner.guard.isolation import IsolatedPartitions, Verdict
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.models.losses import LogLoss

BATCH, TOLERANCE = 50, 0.3
PARTITION = 2
# The probability that a score gives to what happened: the log loss is .22, .65 or 2.3.
SCORES = {".": 0.8, "-": 0.52, "!": 0.1}


def examples_of(number: int, kind: str) -> Gradient:
    """The `number`-th gradient of a partition."""
    found = gradient(BATCH * number, BATCH * (number + 1), partition=PARTITION)
    return replace(found, scores=scored(found.labels, kind))


def scored(labels: Floats, kind: str) -> Floats:
    return np.where(labels > 0.5, SCORES[kind], 1.0 - SCORES[kind]).astype(np.float32)


@pytest.fixture
def detector() -> LossDriftDetector:
    """Its normal loss is that of `.`."""
    found = LossDriftDetector(LogLoss(), TOLERANCE)
    labels = np.tile(np.array([1, 0], np.float32), 2_000)
    found.add(labels, scored(labels, "."))
    return found


def isolated() -> IsolatedPartitions:
    found = IsolatedPartitions(LogLoss(), TOLERANCE)
    found.add([PARTITION])
    return found


def numbers(held: list[HeldBack]) -> list[int]:
    """Which gradients of the partition these are."""
    return [one.gradient.offset_range.begin["events"] // BATCH for one in held]


def told(
    partitions: IsolatedPartitions, kinds: str, detector: LossDriftDetector
) -> tuple[list[int], list[int]]:
    """Give gradients of these kinds; which are refused, and which are to be learned."""
    refused, well = [], []
    for number, kind in enumerate(kinds):
        one = examples_of(number, kind)
        if not partitions.holds(one):
            well.append(number)
            continue
        partitions.hold(one)
        verdict = partitions.judge(PARTITION, detector)
        refused += numbers(verdict.refused)
        well += numbers(verdict.well)
    return refused, well


@pytest.mark.parametrize("worse", [0, 1, 4, 9, 10, 11, 14, 19, 20, 27])
def test_all_that_came_before_it_was_well_is_refused_and_nothing_else(
    worse: int, detector: LossDriftDetector
) -> None:
    partitions = isolated()
    refused, well = told(partitions, "!" * worse + "." * 30, detector)
    assert refused == list(range(worse))
    assert well == list(range(worse, worse + 30))
    assert not str(partitions)
    assert not partitions.held


def test_it_stays_isolated_while_it_is_worse_and_no_more_than_two_windows_wait(
    detector: LossDriftDetector,
) -> None:
    partitions = isolated()
    told(partitions, "!" * 10, detector)
    most, refused = 0, 10
    for number in range(10, 90):
        partitions.hold(examples_of(number, "-"))  # nearer to normal than to what it was
        refused += len(partitions.judge(PARTITION, detector).refused)
        most = max(most, len(partitions.held))
        assert refused + len(partitions.held) == number + 1
    assert most <= 2 * 10
    assert str(partitions).endswith("partitions 2")


def test_each_refused_example_says_why(detector: LossDriftDetector) -> None:
    partitions = isolated()
    verdicts: list[Verdict] = []
    for number in range(10):
        partitions.hold(examples_of(number, "!" if number < 2 else "."))
        verdicts.append(partitions.judge(PARTITION, detector))
    assert [(len(one.refused), len(one.well)) for one in verdicts[:-1]] == [(0, 0)] * 9
    while partitions.held:
        partitions.hold(examples_of(number := number + 1, "."))
        verdicts.append(partitions.judge(PARTITION, detector))
    assert {one.suspicion for found in verdicts for one in found.refused} == {
        "its partition is isolated"
    }
    assert {one.suspicion for found in verdicts for one in found.well} == {""}


@pytest.mark.parametrize("stop", range(1, 25))
def test_resumed_anywhere_it_decides_the_same(stop: int, detector: LossDriftDetector) -> None:
    kinds = "!" * 14 + "." * 20
    straight = told(isolated(), kinds, detector)
    first = isolated()
    refused, well = told(first, kinds[:stop], detector)
    meta, arrays = json.loads(json.dumps(first.meta())), first.arrays()
    resumed = IsolatedPartitions(LogLoss(), TOLERANCE)
    resumed.restore(meta, arrays, ("events",))
    for number, kind in enumerate(kinds[stop:], stop):
        one = examples_of(number, kind)
        if not resumed.holds(one):
            well.append(number)
            continue
        resumed.hold(one)
        verdict = resumed.judge(PARTITION, detector)
        refused += numbers(verdict.refused)
        well += numbers(verdict.well)
    assert (refused, well) == straight


def test_what_waits_brings_back_no_row_of_an_id_that_is_forgotten(
    detector: LossDriftDetector,
) -> None:
    partitions = isolated()
    for number in range(10):
        partitions.hold(examples_of(number, "."))
    (forgotten, *_) = partitions.held[0].gradient.keys
    forget_in([], partitions.held, np.array([forgotten]))
    assert forgotten not in partitions.arrays()["isolated_2_keys"]
    verdict = partitions.judge(PARTITION, detector)
    assert len(verdict.well) == 10
    assert all(forgotten not in one.gradient.keys for one in verdict.well)


def test_a_checkpoint_of_before_held_nothing_back(detector: LossDriftDetector) -> None:
    resumed = IsolatedPartitions(LogLoss(), TOLERANCE)
    resumed.restore({"2": [100.0, 230.0, 50.0, 50.0, 100.0]}, {}, ())
    assert str(resumed).endswith("partitions 2")
    assert not resumed.held
    refused, well = told(resumed, "." * 30, detector)
    assert sorted(refused + well) == list(range(30))
    assert not str(resumed)
