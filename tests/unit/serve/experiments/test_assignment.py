"""Users in arms: uniform, independent of other experiments, and the same wherever asked."""

import numpy as np
import pytest

from freshrank.serve.experiments.assignment import NOBODY, Experiments, position
from freshrank.serve.experiments.definitions import Arm, Experiment
from freshrank.serve.experiments.exploration import EpsilonGreedy


class Source:
    name = "newest"


USERS = [f"u{number}" for number in range(20_000)]


def halves(name: str) -> Experiment:
    return Experiment(name, [Arm("control", 0.5), Arm("fresh", 0.5)])


def chi_square(counts: np.ndarray) -> float:
    """Of counts that should all be the same."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_users_are_spread_evenly() -> None:
    places = np.array([position("sources", user) for user in USERS])
    counts, _ = np.histogram(places, 50, (0.0, 1.0))
    # 49 degrees of freedom: 85.4 is exceeded once in a thousand hashes.
    assert chi_square(counts) < 85.4


def test_experiments_are_independent() -> None:
    one = [int(position("sources", user) * 5) for user in USERS]
    other = [int(position("sources2", user) * 5) for user in USERS]
    counts = np.zeros((5, 5))
    np.add.at(counts, (one, other), 1)
    # 24 degrees of freedom, once in a thousand.
    assert chi_square(counts) < 51.2


def test_shares_are_kept_and_what_is_left_is_in_no_arm() -> None:
    experiment = Experiment("small", [Arm("control", 0.1), Arm("fresh", 0.2)])
    experiments = Experiments([experiment])
    found = [experiments.of(user, retrieves=True).arms.get("small") for user in USERS]
    shares = {arm: found.count(arm) / len(USERS) for arm in ("control", "fresh", None)}
    assert shares == pytest.approx({"control": 0.1, "fresh": 0.2, None: 0.7}, abs=0.01)


def test_the_arm_of_a_user_is_the_same_in_every_process() -> None:
    again = Experiments([halves("sources")])
    first = Experiments([halves("sources")])
    assert [first.of(user, retrieves=True) for user in USERS[:100]] == [
        again.of(user, retrieves=True) for user in USERS[:100]
    ]
    # Written down: another hash would move the users of experiments that go on.
    assert first.of("u1", retrieves=True).arms == {"sources": "fresh"}
    assert first.of("u2", retrieves=True).arms == {"sources": "control"}


def test_shares_whose_sum_is_not_exactly_one_leave_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thirds = Experiment("thirds", [Arm(name, 1 / 10) for name in "abcdefghij"])
    monkeypatch.setattr(
        "freshrank.serve.experiments.assignment.position", lambda *_: 1.0 - 2.0**-53
    )
    assert sum(arm.share for arm in thirds.arms) < 1
    assert Experiments([thirds]).of("u1", retrieves=True).arms == {"thirds": "j"}


def test_an_experiment_on_sources_is_about_requests_that_retrieve() -> None:
    everyone = Experiment(
        "sources", [Arm("fresh", 1.0, candidates=[Source()], explore=EpsilonGreedy(0.1))]
    )
    experiments = Experiments([everyone, halves("other")])
    assigned = experiments.of("u1", retrieves=True)
    assert assigned.sources == ("newest",)
    assert assigned.exploration == EpsilonGreedy(0.1)
    assert set(assigned.arms) == {"sources", "other"}
    assert set(experiments.of("u1", retrieves=False).arms) == {"other"}
    assert Experiments([everyone]).of("u1", retrieves=False) is NOBODY
