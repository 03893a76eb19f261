"""The report on experiments: rates of arms, their differences, and off-policy estimates."""

from __future__ import annotations

import msgspec

from freshrank.deploy.experiments.intervals import (
    CONFIDENCE,
    Estimate,
    Ratio,
    at_any_time,
    ratio,
    shares_at_any_time,
    value_at_any_time,
    wilson,
)
from freshrank.deploy.experiments.off_policy import OffPolicy
from freshrank.deploy.experiments.tally import ArmTally, ExperimentTally

# Below these the normal distribution, which differences rely on, does not hold.
_FEWEST_CLICKS, _FEWEST_CLUSTERS = 30, 30
# Shares that are as improbable as this are a fault: users of one arm are lost somewhere.
_MISMATCH = 0.01


class ArmComparison(msgspec.Struct):
    """An arm beside the first one."""

    difference: Estimate
    """Of the rates: the interval holds at any time, for all arms together."""
    p_value: float
    """Of no difference: right whenever it is looked at, of this arm alone."""


class ArmReport(msgspec.Struct):
    """What came of an arm."""

    arm: str
    share: float
    users: int
    lists: int
    items: int
    """That were shown."""
    clicks: int
    """Items whose label is positive."""
    rate: Estimate | None
    """Clicks of items: Wilson's interval, at a time that was fixed before."""
    design_effect: float | None
    """How many times as many items of users that differ would be needed as of users who do not."""
    compared: ArmComparison | None
    """None: the first arm, or `too_few` says why."""
    off_policy: OffPolicy | None
    """None: its lists do not explore."""
    too_few: str = ""
    """What is too little for a comparison, in which arm, and how much of it is needed; "": it is
    enough, or there is nothing to compare with."""


class ExperimentReport(msgspec.Struct):
    """What came of an experiment."""

    experiment: str
    arms: list[ArmReport]
    shares_p_value: float
    """Of the users that arms have by the shares declared: right whenever it is looked at."""
    warnings: list[str]


class PipelineReport(msgspec.Struct):
    """What came of the experiments of a pipeline."""

    pipeline: str
    confidence: float
    impressions: int
    """That were read and can be used, of experiments or not."""
    rejected: int
    """That cannot be used: of another layout, misplaced, late."""
    waiting: int
    """Shown items that may be clicked still, until newer records of their partitions come; they
    count as not clicked."""
    experiments: list[ExperimentReport]


def report_on(tally: ExperimentTally, expected_effect: float) -> ExperimentReport:
    """The report on an experiment; `expected_effect` is a difference of rates (`at_any_time`)."""
    names = [arm.name for arm in tally.experiment.arms]
    rates = [_rate(tally.arms[name]) for name in names]
    error = (1 - CONFIDENCE) / (len(names) - 1)
    arms = [
        ArmReport(
            arm=arm.name,
            share=arm.share,
            users=tally.arms[arm.name].users,
            lists=tally.arms[arm.name].lists,
            items=int(tally.arms[arm.name].items.sum()),
            clicks=int(tally.arms[arm.name].clicks.sum()),
            rate=None if found is None else _wilson(found, tally.arms[arm.name]),
            design_effect=None if found is None else _design_effect(found, tally.arms[arm.name]),
            compared=_compared(tally, names[0], arm.name, expected_effect, error),
            off_policy=tally.arms[arm.name].off_policy.result(),
            too_few=_too_few(tally, names[0], arm.name),
        )
        for arm, found in zip(tally.experiment.arms, rates, strict=True)
    ]
    users, shares = [arm.users for arm in arms], [arm.share for arm in arms]
    p_value = shares_at_any_time(users, shares)
    return ExperimentReport(tally.experiment.name, arms, p_value, _warnings(tally, p_value))


def _rate(arm: ArmTally) -> Ratio | None:
    """Clicks of items: never surer than if all items were of different users."""
    found = ratio(arm.clicks, arm.items)
    if found is None:
        return None
    least = found.value * (1 - found.value) / float(arm.items.sum())
    return found._replace(variance=max(found.variance, least))


def _design_effect(rate: Ratio, arm: ArmTally) -> float:
    alone = rate.value * (1 - rate.value) / float(arm.items.sum())
    return rate.variance / alone if alone > 0 else 1.0


def _wilson(rate: Ratio, arm: ArmTally) -> Estimate:
    return wilson(rate.value, float(arm.items.sum()) / _design_effect(rate, arm))


def _compared(
    tally: ExperimentTally, first: str, name: str, expected_effect: float, error: float
) -> ArmComparison | None:
    control, other = _rate(tally.arms[first]), _rate(tally.arms[name])
    if name == first or control is None or other is None or _too_few(tally, first, name):
        return None
    difference, variance = other.value - control.value, control.variance + other.variance
    return ArmComparison(
        at_any_time(difference, variance, expected_effect, error),
        value_at_any_time(difference, variance, expected_effect),
    )


def _too_few(tally: ExperimentTally, first: str, name: str) -> str:
    """What is too little for a comparison of two arms; "": nothing, or they are one."""
    found = []
    for arm in [first, name] if name != first else []:
        rate, clicks = _rate(tally.arms[arm]), int(tally.arms[arm].clicks.sum())
        groups = 0 if rate is None else rate.clusters
        if groups < _FEWEST_CLUSTERS:
            # Where they are few, each has a group of its own.
            found.append(f"{arm!r} has users in {groups} groups, {_FEWEST_CLUSTERS} are needed")
        if clicks < _FEWEST_CLICKS:
            found.append(f"{arm!r} has {clicks} clicks, {_FEWEST_CLICKS} are needed")
        elif rate is not None and not rate.variance > 0:
            found.append(f"all items of {arm!r} were clicked, so that nothing varies")
    return "; ".join(found)


def _warnings(tally: ExperimentTally, p_value: float) -> list[str]:
    found = []
    if p_value < _MISMATCH:
        found.append(
            f"users are not in arms by their shares (p = {p_value:.2g}): some are lost in one arm, "
            "or the shares have been changed; do not trust the rates"
        )
    if tally.moved:
        found.append(
            f"{tally.moved:,} lists are left out whose users were in another arm before: "
            "the shares have been changed; give the experiment another name"
        )
    if tally.unknown:
        found.append(f"{tally.unknown:,} lists are left out of arms that are not declared any more")
    if tally.left_out:
        found.append(f"{tally.left_out:,} lists of the latest users are left out, to bound memory")
    return found
