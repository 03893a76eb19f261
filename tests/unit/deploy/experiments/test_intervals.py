"""Intervals hold the truth as often as they say, by simulation of users who differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from freshrank.actors.messages import Doubles
from freshrank.deploy.experiments.intervals import (
    Z,
    at_any_time,
    ratio,
    shares_at_any_time,
    value_at_any_time,
    wilson,
)
from freshrank.deploy.experiments.report import ArmComparison, ExperimentReport, report_on
from freshrank.deploy.experiments.tally import CLUSTERS, ExperimentTally
from freshrank.serve.experiments.definitions import Arm, Experiment

EXPERIMENT = Experiment("e", [Arm("control", 0.5), Arm("fresh", 0.5)])
# Users differ: their rates are of this distribution, whose mean is 0.1.
A, B = 0.5, 4.5


class Traffic:
    """Users of one arm, each with a rate of its own, who come back again and again."""

    def __init__(self, random: np.random.Generator, users: int, rate: float = A / (A + B)) -> None:
        self._random = random
        self._rates = random.beta(A, A / rate - A, users)
        self._busy = random.gamma(1.0, 2.0, users)
        self._clusters = random.integers(0, CLUSTERS, users)

    def shown(self, arrived: int) -> tuple[Doubles, Doubles]:
        """Items and clicks by cluster, of one more visit of the first users."""
        items = self._random.poisson(self._busy[:arrived])
        clicks = self._random.binomial(items, self._rates[:arrived])
        clusters = self._clusters[:arrived]
        return (
            np.bincount(clusters, items, CLUSTERS).astype(np.float64),
            np.bincount(clusters, clicks, CLUSTERS).astype(np.float64),
        )


def tally_of(arms: Sequence[tuple[Doubles, Doubles]]) -> ExperimentTally:
    tally = ExperimentTally(EXPERIMENT, 10)
    for arm, (items, clicks) in zip(tally.arms.values(), arms, strict=True):
        arm.items += items
        arm.clicks += clicks
        arm.users = 1_000
    return tally


def report(arms: Sequence[tuple[Doubles, Doubles]]) -> ExperimentReport:
    return report_on(tally_of(arms), expected_effect=0.01)


def test_the_interval_of_a_rate_holds_it_though_users_differ() -> None:
    random = np.random.default_rng(1)
    truth, tries, held, naive = A / (A + B), 400, 0, 0
    for _ in range(tries):
        traffic = Traffic(random, 600)
        visits = [traffic.shown(600) for _ in range(5)]
        both = tuple(np.sum(one, axis=0) for one in zip(*visits, strict=True))
        items, clicks = both
        arm = report([(items, clicks), (items, clicks)]).arms[0]
        assert arm.rate is not None
        assert arm.design_effect is not None
        assert arm.design_effect > 1
        held += arm.rate.low <= truth <= arm.rate.high
        alone = wilson(arm.rate.value, float(items.sum()))
        naive += alone.low <= truth <= alone.high
    # Four standard deviations of the share of 400 tries.
    assert held / tries == pytest.approx(0.95, abs=0.044)
    assert naive / tries < 0.85, "items of one user are no independent trials"


def test_wilsons_interval_of_independent_trials() -> None:
    random = np.random.default_rng(2)
    rates = random.binomial(60, 0.05, 5_000) / 60
    held = [wilson(rate, 60) for rate in rates.tolist()]
    share = np.mean([one.low <= 0.05 <= one.high for one in held])
    assert 0.93 < share < 0.99
    assert wilson(0.0, 10).low == pytest.approx(0.0)
    assert 0 < wilson(1.0, 10).low < wilson(1.0, 10).high <= 1.0


def looks(
    random: np.random.Generator, rates: tuple[float, float]
) -> list[tuple[ArmComparison, float]]:
    """What is said of a growing experiment at thirty looks, and the standard error at each."""
    users, found = 1_500, []
    arms = [Traffic(random, users, rate) for rate in rates]
    sums = [(np.zeros(CLUSTERS), np.zeros(CLUSTERS)) for _ in arms]
    for look in range(30):
        variance = 0.0
        for traffic, so_far in zip(arms, sums, strict=True):
            more = traffic.shown(min(users, 100 * (look + 1)))
            for total, added in zip(so_far, more, strict=True):
                np.add(total, added, out=total)
            items, clicks = so_far
            of_arm = ratio(clicks, items)
            assert of_arm is not None
            variance += of_arm.variance
        compared = report(sums).arms[1].compared
        if compared is not None:
            found.append((compared, variance**0.5))
    return found


def test_looking_again_and_again_finds_no_difference_where_there_is_none() -> None:
    random = np.random.default_rng(3)
    tries, always, fixed = 120, 0, 0
    for _ in range(tries):
        seen = looks(random, (0.1, 0.1))
        assert len(seen) >= 25
        always += any(not one.difference.low <= 0 <= one.difference.high for one, _ in seen)
        fixed += any(abs(one.difference.value) > Z * error for one, error in seen)
    assert always / tries <= 0.05
    assert fixed / tries > 0.12, "who looks often and tests as if once is misled"


def test_a_difference_is_found_and_held() -> None:
    random = np.random.default_rng(4)
    found = [looks(random, (0.1, 0.13))[-1][0] for _ in range(20)]
    assert all(one.difference.low <= 0.03 <= one.difference.high for one in found)
    assert sum(one.difference.low > 0 for one in found) > 12
    assert all((one.difference.low > 0) == (one.p_value < 0.05) for one in found)


def test_few_clicks_or_users_are_compared_with_nothing() -> None:
    items, clicks = np.zeros(CLUSTERS), np.zeros(CLUSTERS)
    nothing = report([(items, clicks), (items, clicks)])
    assert [arm.rate for arm in nothing.arms] == [None, None]
    items[:20], clicks[:20] = 1_000, 100
    few = report([(items, clicks), (items, clicks)]).arms[1]
    assert few.rate is not None
    assert few.compared is None
    assert few.too_few == (
        "'control' has users in 20 groups, 30 are needed; "
        "'fresh' has users in 20 groups, 30 are needed"
    )
    items[:], clicks[:] = 1_000, 0
    enough = np.zeros(CLUSTERS)
    enough[:40] = 1
    one = report([(items, enough), (items, clicks)]).arms
    assert one[1].compared is None
    assert (one[0].too_few, one[1].too_few) == ("", "'fresh' has 0 clicks, 30 are needed")
    all_of_them = report([(items, items), (items, enough)]).arms[1]
    assert all_of_them.compared is None
    assert all_of_them.too_few == "all items of 'control' were clicked, so that nothing varies"
    assert report([(items, enough), (items, enough)]).arms[1].too_few == ""


def test_several_arms_share_the_error() -> None:
    items, clicks = np.full(CLUSTERS, 10.0), np.ones(CLUSTERS)
    clicks[::2] = 2
    two = report([(items, clicks), (items, clicks)]).arms[1].compared
    three = ExperimentTally(Experiment("e", [Arm(name, 0.3) for name in "abc"]), 10)
    for arm in three.arms.values():
        arm.items += items
        arm.clicks += clicks
    other = report_on(three, 0.01).arms[2].compared
    assert two is not None
    assert other is not None
    assert other.difference.high > two.difference.high
    assert other.p_value == two.p_value


def test_the_interval_at_any_time_is_where_its_test_does_not_reject() -> None:
    for variance in (1e-6, 1e-5, 1e-3):
        found = at_any_time(0.002, variance, 0.01, 0.05)
        edge = found.high - found.value
        assert value_at_any_time(edge, variance, 0.01) == pytest.approx(0.05)
        assert edge > Z * variance**0.5


def test_looking_again_and_again_at_shares_that_hold_finds_nothing() -> None:
    random = np.random.default_rng(5)
    tries, false, found = 300, 0, 0
    for _ in range(tries):
        arms = random.random(4_000) < 0.5
        for share, right in ((0.5, True), (0.43, False)):
            taken = arms if right else random.random(4_000) < share
            ever = min(
                shares_at_any_time([int(taken[:n].sum()), int(n - taken[:n].sum())], [0.5, 0.5])
                for n in range(100, 4_001, 100)
            )
            if right:
                false += ever < 0.05
            else:
                found += ever < 0.01
    assert false / tries <= 0.05
    assert found / tries > 0.95


def test_shares_of_some_users_only() -> None:
    assert shares_at_any_time([100, 300], [0.1, 0.3]) == 1.0
    assert shares_at_any_time([2_000, 2_000], [0.1, 0.3]) < 1e-9


def test_a_ratio_of_clusters() -> None:
    assert ratio(np.zeros(3), np.zeros(3)) is None
    found = ratio(np.array([1.0, 0.0, 2.0]), np.array([2.0, 0.0, 4.0]))
    assert found is not None
    assert (found.value, found.variance, found.clusters) == (0.5, 0.0, 2)
