"""The metrics of a running system, as a table for a terminal and as a line for a log."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from freshrank.deploy.console.system_metrics import Compared, SystemMetrics

# Shown in place of a metric that is not known (yet).
ABSENT = "-"


def number(value: float | None, unit: str = "", digits: int = 0) -> str:
    """Format a metric with thousands separated; a dash where it is not known.

    >>> number(12345), number(0.98765, digits=3), number(6.4, "ms"), number(None, "ms")
    ('12,345', '0.988', '6 ms', '-')
    """
    if value is None:
        return ABSENT
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds.

    >>> clock(83.9)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def status_table(title: str, metrics: SystemMetrics) -> RenderableType:
    """Lay the present metrics out as a table, seven lines high."""
    table = Table.grid(padding=(0, 3))
    for style in ("bold", "", "", "", ""):
        table.add_column(style=style)
    table.add_row(
        "events",
        number(metrics.events_per_s, "/s"),
        f"{number(metrics.events)} in all",
        f"lag {number(metrics.lag)}",
        f"late {number(metrics.late)}, dead {number(metrics.rejected)}",
    )
    table.add_row(
        "features",
        "event to store",
        f"p50 {number(metrics.features.p50_ms, 'ms')}",
        f"p99 {number(metrics.features.p99_ms, 'ms')}",
    )
    table.add_row(
        "weights",
        "event to model",
        f"p50 {number(metrics.weights.p50_ms, 'ms')}",
        f"p99 {number(metrics.weights.p99_ms, 'ms')}",
        f"version {metrics.version or ABSENT}, {number(metrics.model_age_ms, 'ms')} old",
    )
    table.add_row(_title(metrics.measure), *_quality(metrics.quality, metrics.measure))
    table.add_row(
        _title(metrics.objective),
        *_quality(metrics.loss, metrics.objective),
        f"{number(metrics.examples)} examples learned, "
        f"{number(metrics.quality.examples)} since frozen",
    )
    table.add_row(
        "scores",
        number(metrics.requests_per_s, "/s"),
        f"p50 {number(metrics.scores.p50_ms, 'ms', 1)}",
        f"p99 {number(metrics.scores.p99_ms, 'ms', 1)}",
        f"{number(metrics.request_errors)} errors, {number(metrics.requests_refused)} refused",
    )
    return Group(Text(f"{title}   {clock(metrics.elapsed_s)}", style="bold cyan"), table)


def status_line(metrics: SystemMetrics) -> str:
    """Lay the present metrics out as one plain line, for a log."""
    return (
        f"{clock(metrics.elapsed_s)}  {number(metrics.events_per_s, 'events/s')}"
        f"  lag {number(metrics.lag)}"
        f"  features p50 {number(metrics.features.p50_ms, 'ms')}"
        f" p99 {number(metrics.features.p99_ms, 'ms')}"
        f"  weights p50 {number(metrics.weights.p50_ms, 'ms')}"
        f" p99 {number(metrics.weights.p99_ms, 'ms')}"
        f"  version {metrics.version or ABSENT} ({number(metrics.model_age_ms, 'ms')} old)"
        f"  {metrics.measure.replace('_', ' ')} live {number(metrics.quality.live, digits=3)}"
        f" frozen {number(metrics.quality.frozen, digits=3)}"
        f" of {metrics.quality.examples:,} examples"
    )


def summary_table(metrics: SystemMetrics) -> RenderableType:
    """Lay the metrics of the whole run out as a table."""
    table = Table(title="summary", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in metrics.summary().items():
        if isinstance(value, Mapping):
            shown = "\n".join(f"{key} {count:,}" for key, count in value.items()) or ABSENT
        elif isinstance(value, float):
            shown = number(value, digits=4 if abs(value) < 10 else 1)
        else:
            shown = ABSENT if value is None else str(value)
        table.add_row(name, shown)
    return table


def _title(measure: str) -> str:
    return "AUC" if measure == "auc" else measure.replace("_", " ")


# Of all others the lower is the better: losses and errors.
_BETTER_HIGHER = ("auc", "accuracy", "mean_reciprocal_rank")


def _quality(compared: Compared, measure: str) -> tuple[Text, Text, Text]:
    """Format both qualities, and by how much the live model is better: by a lower loss or error."""
    if compared.live is None or compared.frozen is None:
        ahead = Text("")
    else:
        gain = compared.live - compared.frozen
        gain = gain if measure in _BETTER_HIGHER else -gain
        ahead = Text(f"{gain:+.3f}", style="green" if gain > 0 else "red")
    return (
        Text(f"live {number(compared.live, digits=3)}"),
        Text(f"frozen {number(compared.frozen, digits=3)}"),
        ahead,
    )
