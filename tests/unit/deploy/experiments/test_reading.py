"""A report counts what was shown and clicked as the learner does, whatever the order of reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from shop_log import OneTopicFirst, ShopLog
from small_catalogue import PIPELINE

from freshrank import Arm, EpsilonGreedy, Experiment
from freshrank.actors.impressions import ExploredItems
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.experiments import tally
from freshrank.deploy.experiments.reading import ReportRequest, read_report
from freshrank.deploy.experiments.report import ArmReport, PipelineReport
from freshrank.deploy.served import partition_join
from freshrank.deploy.served.topics import ServedLog
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource

EXPERIMENT = Experiment("e", [Arm("control", 0.5), Arm("fresh", 0.5, explore=EpsilonGreedy(0.5))])
TRIED = replace(PIPELINE, experiments=[EXPERIMENT])
Log = partial(ShopLog, TRIED)


def report(log: ShopLog, source: Callable[[], MemorySource] | None = None) -> PipelineReport:
    made = source or partial(MemorySource, log.log)
    request = ReportRequest(ServedLog(TRIED, Settings(), 2, "", made), 0.01, 10)
    seen: list[tuple[int, int, int]] = []

    def progress(partition: int, read: int, of: int) -> None:
        seen.append((partition, read, of))

    found = asyncio.run(read_report(request, progress))
    assert all(0 <= read <= of for _, read, of in seen)
    return found


def arms(found: PipelineReport) -> dict[str, ArmReport]:
    (experiment,) = found.experiments
    return {arm.arm: arm for arm in experiment.arms}


def counts(found: PipelineReport) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (arm.users, arm.lists, arm.items, arm.clicks) for name, arm in arms(found).items()
    }


CONTROL, FRESH = {"e": "control"}, {"e": "fresh"}


def a_shop() -> ShopLog:
    log = Log()
    for number in range(12):
        user = f"u{number}"
        of = CONTROL if number % 2 else FRESH
        log.show(user, of, ["i1", "i2", "i3"])
        if number % 3 == 0:
            log.order(user, "i2")
        log.show(user, of, ["i4"])
        log.order("nobody", "i1")
    log.show("u1", {}, ["i5", "i6"])
    log.order("u1", "i5")
    return log


SOURCES: dict[str, Callable[[MemoryLog], MemorySource]] = {
    "as it comes": MemorySource,
    "impressions first": lambda log: OneTopicFirst(log, TRIED.impressions_topic),
    "events first": lambda log: OneTopicFirst(log, "clicks"),
}


@pytest.mark.parametrize("order", SOURCES)
def test_lists_and_clicks_are_counted_by_arm(order: str) -> None:
    log = a_shop()
    found = report(log, partial(SOURCES[order], log.log))
    assert counts(found) == {"control": (6, 12, 24, 2), "fresh": (6, 12, 24, 2)}
    assert found.impressions == 25
    assert found.rejected == 0
    assert found.pipeline == "shop"
    assert found.waiting > 0, "the last ones may be clicked still"
    assert found.experiments[0].warnings == []
    rate = arms(found)["control"].rate
    assert rate is not None
    assert rate.value == pytest.approx(2 / 24)


@pytest.mark.parametrize("order", ["as it comes", "events first"])
def test_what_waits_is_bounded_and_counts_are_the_same(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_join, "MAX_PENDING_ITEMS", 4)
    monkeypatch.setattr(partition_join, "MAX_LABEL_EVENTS", 3)
    log = a_shop()
    log.wait(1_000)
    log.order("u1", "i9")
    log.order("u2", "i9")
    found = report(log, partial(SOURCES[order], log.log))
    assert counts(found) == {"control": (6, 12, 24, 2), "fresh": (6, 12, 24, 2)}


def test_a_log_whose_events_have_ended_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_join, "MAX_PENDING_ITEMS", 4)
    log = Log()
    log.show("u1", CONTROL, ["i1"])
    log.order("u1", "i1")
    for _ in range(40):
        log.wait(100)
        log.show("u1", CONTROL, ["i2", "i3"])
    found = report(log)
    assert counts(found)["control"] == (1, 41, 81, 1)
    assert found.waiting <= 6


def test_an_empty_log_gives_an_empty_report() -> None:
    found = report(Log())
    assert counts(found) == {"control": (0, 0, 0, 0), "fresh": (0, 0, 0, 0)}
    assert arms(found)["fresh"].off_policy is None
    assert found.experiments[0].shares_p_value == 1.0


def test_what_is_not_learned_does_not_count() -> None:
    log = Log()
    log.show("u1", CONTROL, ["i1"], outage=True)
    log.show("u1", CONTROL, ["i1"], request_id="again", once=True)
    log.show("u1", CONTROL, ["i1"], request_id="again", once=True)
    log.show("u1", CONTROL, ["i2"], layout="other")
    log.show("u1", {"ended": "a"}, ["i3"])
    log.show("u1", {}, ["i4"], scores=b"\0")
    log.wait(90)
    log.order("u1", "i1")  # too late
    found = report(log)
    assert counts(found)["control"] == (1, 1, 1, 0)
    assert (found.impressions, found.rejected) == (2, 2)


def test_lists_that_explore_are_weighed_in_the_arm_that_explores() -> None:
    log = Log()
    explored = ExploredItems(
        np.array([0.75, 0.25], np.float32).tobytes(),
        np.array([True, True]).tobytes(),
        np.array([0.25, 0.25], np.float32).tobytes(),
    )
    for user, of in (("u1", FRESH), ("u2", CONTROL)):
        log.show(user, of, ["i1", "i2"], explored=explored)
        log.order(user, "i2")
    found = arms(report(log))
    assert found["control"].off_policy is None
    off = found["fresh"].off_policy
    assert off is not None
    assert (off.lists, off.logged.value) == (1, 1.0)
    assert off.ips.value == pytest.approx(1 / (0.75 * 0.25))


def test_draws_that_are_none_are_left_out() -> None:
    log = Log()
    log.show("u1", FRESH, ["i1"], explored=ExploredItems(b"", b"", b""))
    assert counts(report(log))["fresh"] == (0, 0, 0, 0)


def test_users_who_change_arms_and_arms_that_are_gone_are_told() -> None:
    log = Log()
    log.show("u1", CONTROL, ["i1"])
    log.show("u1", FRESH, ["i1"])
    log.show("u2", {"e": "gone"}, ["i1"])
    log.order("u1", "i1")
    (experiment,) = report(log).experiments
    assert [arm.lists for arm in experiment.arms] == [1, 0]
    moved, gone = experiment.warnings
    assert "1 lists are left out whose users were in another arm before" in moved
    assert "1 lists are left out of arms that are not declared any more" in gone


def test_users_in_arms_against_their_shares_are_told() -> None:
    log = Log()
    for number in range(60):
        log.show(f"u{number}", CONTROL, ["i1"])
    (experiment,) = report(log).experiments
    assert experiment.shares_p_value < 0.01
    assert "users are not in arms by their shares" in experiment.warnings[0]


def test_users_beyond_a_bound_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_USERS", 2)
    log = Log()
    for user in ("u1", "u2", "u3", "u1"):
        log.show(user, CONTROL, ["i1"])
    (experiment,) = report(log).experiments
    assert (experiment.arms[0].users, experiment.arms[0].lists) == (2, 3)
    assert "1 lists of the latest users" in experiment.warnings[0]


def test_records_that_retention_took_are_passed() -> None:
    log = a_shop()
    for partition in range(2):
        log.log.delete(TRIED.impressions_topic, partition, 3)
    found = report(log)
    assert found.impressions == 25 - 6
