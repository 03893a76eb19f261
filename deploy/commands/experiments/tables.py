"""A report on experiments, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from freshrank.deploy.experiments.intervals import Estimate
from freshrank.deploy.experiments.report import ArmReport, ExperimentReport, PipelineReport

_NONE = "-"


def tables_of(report: PipelineReport) -> Iterator[RenderableType]:
    """Lines and tables, in the order in which they are read."""
    yield Text(
        f"{report.pipeline}: {report.impressions:,} impressions, and {report.rejected:,} that "
        f"cannot be used; {report.waiting:,} shown items may be clicked still, until newer records "
        f"of their partitions come. Intervals of {report.confidence:.0%}."
    )
    for experiment in report.experiments:
        yield Text()
        yield _arms(experiment)
        if any(arm.off_policy is not None for arm in experiment.arms):
            yield Text()
            yield _off_policy(experiment)
        for arm in experiment.arms:
            if arm.too_few:
                yield Text(f"{arm.arm!r} is not compared: {arm.too_few}")
        for warning in experiment.warnings:
            yield Text(f"warning: {warning}", style="yellow")


def _arms(experiment: ExperimentReport) -> Table:
    title = f"{experiment.experiment} (shares as declared: p = {experiment.shares_p_value:.2g})"
    columns = ("users", "lists", "items", "clicks", "rate", "design effect", "difference", "p")
    table = _table(title, columns)
    for arm in experiment.arms:
        compared = arm.compared
        table.add_row(
            f"{arm.arm} ({arm.share:.0%})",
            *(f"{count:,}" for count in (arm.users, arm.lists, arm.items, arm.clicks)),
            _percent(arm.rate),
            _NONE if arm.design_effect is None else f"{arm.design_effect:.2f}",
            _difference(arm, experiment),
            _NONE if compared is None else f"{compared.p_value:.2g}",
        )
    return table


def _difference(arm: ArmReport, experiment: ExperimentReport) -> str:
    if arm.compared is not None:
        return _percent(arm.compared.difference, sign=True)
    return _NONE if arm is experiment.arms[0] else "too few, see below"


def _off_policy(experiment: ExperimentReport) -> Table:
    positions = max(arm.off_policy.positions for arm in experiment.arms if arm.off_policy)
    title = f"{experiment.experiment}, without exploration: clicks of a list's first {positions}"
    table = _table(title, ("lists", "effective", "logged", "ips", "snips", "dr"))
    for arm in experiment.arms:
        found = arm.off_policy
        if found is not None:
            table.add_row(
                arm.arm,
                f"{found.lists:,}",
                f"{found.effective_lists:,.0f}",
                *(_number(one) for one in (found.logged, found.ips, found.snips, found.dr)),
            )
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("arm")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _percent(estimate: Estimate | None, *, sign: bool = False) -> str:
    """As a share of a hundred.

    >>> _percent(Estimate(0.1, 0.05, 0.15)), _percent(Estimate(0.01, -0.02, 0.04), sign=True)
    ('10.00 % (5.00 to 15.00)', '+1.00 % (-2.00 to +4.00)')
    """
    if estimate is None:
        return _NONE
    plus = "+" if sign else ""
    value, low, high = (f"{100 * one:{plus}.2f}" for one in estimate)
    return f"{value} % ({low} to {high})"


def _number(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NONE
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"
