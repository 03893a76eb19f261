"""The figures of a running system, as a table for a terminal and as a line for a log."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from freshrank.deploy.console.system_metrics import Figures

# What is shown where there is no figure (yet).
ABSENT = "-"


def number(value: float | None, unit: str = "", digits: int = 0) -> str:
    """A figure with thousands separated, or a dash.

    >>> number(12345), number(0.98765, digits=3), number(6.4, "ms"), number(None, "ms")
    ('12,345', '0.988', '6 ms', '-')
    """
    if value is None:
        return ABSENT
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(83.9)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def status_table(title: str, figures: Figures) -> RenderableType:
    """What is going on now, six lines high."""
    table = Table.grid(padding=(0, 3))
    for style in ("bold", "", "", "", ""):
        table.add_column(style=style)
    table.add_row(
        "events",
        number(figures.events_per_s, "/s"),
        f"{number(figures.events)} in all",
        f"lag {number(figures.lag)}",
        f"late {number(figures.late)}, dead {number(figures.rejected)}",
    )
    table.add_row(
        "features",
        "event to store",
        f"p50 {number(figures.feature_p50_ms, 'ms')}",
        f"p99 {number(figures.feature_p99_ms, 'ms')}",
    )
    table.add_row(
        "weights",
        "event to model",
        f"p50 {number(figures.weights_p50_ms, 'ms')}",
        f"p99 {number(figures.weights_p99_ms, 'ms')}",
        f"version {figures.version or ABSENT}, {number(figures.model_age_ms, 'ms')} old",
    )
    table.add_row("AUC", *_quality(figures.auc_live, figures.auc_frozen, higher_is_better=True))
    table.add_row(
        figures.objective.replace("_", " "),
        *_quality(figures.loss_live, figures.loss_frozen, higher_is_better=False),
        f"{number(figures.examples)} examples learned",
    )
    table.add_row(
        "scores",
        number(figures.requests_per_s, "/s"),
        f"p50 {number(figures.score_p50_ms, 'ms', 1)}",
        f"p99 {number(figures.score_p99_ms, 'ms', 1)}",
        f"{number(figures.request_errors)} errors",
    )
    return Group(Text(f"{title}   {clock(figures.elapsed_s)}", style="bold cyan"), table)


def status_line(figures: Figures) -> str:
    """The same for a log: one plain line."""
    return (
        f"{clock(figures.elapsed_s)}  {number(figures.events_per_s, 'events/s')}"
        f"  lag {number(figures.lag)}"
        f"  features p50 {number(figures.feature_p50_ms, 'ms')}"
        f" p99 {number(figures.feature_p99_ms, 'ms')}"
        f"  weights p50 {number(figures.weights_p50_ms, 'ms')}"
        f" p99 {number(figures.weights_p99_ms, 'ms')}"
        f"  version {figures.version or ABSENT} ({number(figures.model_age_ms, 'ms')} old)"
        f"  auc live {number(figures.auc_live, digits=3)}"
        f" frozen {number(figures.auc_frozen, digits=3)}"
    )


def summary_table(figures: Figures) -> RenderableType:
    """What has come of it, at the end."""
    table = Table(title="summary", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures.summary().items():
        if isinstance(value, float):
            shown = number(value, digits=4 if abs(value) < 10 else 1)
        else:
            shown = ABSENT if value is None else str(value)
        table.add_row(name, shown)
    return table


def _quality(
    live: float | None, frozen: float | None, *, higher_is_better: bool
) -> tuple[Text, Text, Text]:
    """Live, frozen, and how far the one is ahead of the other."""
    if live is None or frozen is None:
        ahead = Text("")
    else:
        gain = live - frozen if higher_is_better else frozen - live
        ahead = Text(f"{gain:+.3f}", style="green" if gain > 0 else "red")
    return (
        Text(f"live {number(live, digits=3)}"),
        Text(f"frozen {number(frozen, digits=3)}"),
        ahead,
    )
