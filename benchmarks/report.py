"""The result of a bench: figures and the values to reach, as JSON and as a table."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from rich.console import Console
from rich.table import Table

Better: TypeAlias = Literal["higher", "lower"]

PACKAGES = (
    "aiokafka",
    "msgspec",
    "numba",
    "numpy",
    "ray",
    "redis",
    "starlette",
    "torch",
    "uvicorn",
)
"""The packages whose version can change a figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure, and the value to reach (None: reported, not judged).

    >>> Figure("p50_ms_c1", 0.8, "ms", "lower", 1.0).met
    True
    >>> Figure("events_per_s", 90_000, "1/s", "higher", 100_000).met
    False
    """

    name: str
    value: float
    unit: str
    better: Better
    reach: float | None = None
    detail: bool = False
    """Whether the bench itself has shown it, in a table of its own; the document has it, too."""

    @property
    def met(self) -> bool | None:
        """Whether `value` reaches `reach`; None without a reach. NaN reaches nothing."""
        if self.reach is None:
            return None
        if math.isnan(self.value):
            return False
        return self.value >= self.reach if self.better == "higher" else self.value <= self.reach

    def plain(self) -> dict[str, str | float | bool | None]:
        """Return the figure as the JSON document holds it: null for a value that is not finite."""
        return {
            "name": self.name,
            "value": self.value if math.isfinite(self.value) else None,
            "unit": self.unit,
            "better": self.better,
            "reach": self.reach,
            "met": self.met,
        }


def must_be_zero(name: str, count: int) -> Figure:
    """Return the figure of something that must not happen.

    >>> must_be_zero("lost_events", 2).met
    False
    """
    return Figure(name, count, "count", "lower", 0.0)


def count_of(name: str, count: int) -> Figure:
    """Return the figure of an amount that the others rest on; it is not judged."""
    return Figure(name, count, "count", "higher")


def latency_figures(
    name: str, latencies_ms: Sequence[float], reach_ms: float | None = None
) -> list[Figure]:
    """Return the median and the 99th percentile of latencies, of which the latter is judged.

    >>> [(each.name, each.value, each.reach) for each in latency_figures("read", [1.0] * 3, 2.0)]
    [('read_p50_ms', 1.0, None), ('read_p99_ms', 1.0, 2.0)]
    """
    return [
        Figure(f"{name}_p50_ms", quantile(latencies_ms, 0.50), "ms", "lower"),
        Figure(f"{name}_p99_ms", quantile(latencies_ms, 0.99), "ms", "lower", reach_ms),
    ]


@dataclass(frozen=True, slots=True)
class Report:
    """A run of a bench, with the machine and the versions that it ran on."""

    bench: str
    commit: str
    started: str
    """UTC, ISO 8601."""
    machine: Mapping[str, str | int | float]
    versions: Mapping[str, str]
    figures: Sequence[Figure]

    def to_json(self) -> bytes:
        """Return the JSON document, indented."""
        document = {
            "bench": self.bench,
            "commit": self.commit,
            "started": self.started,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "figures": [figure.plain() for figure in self.figures],
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2)

    def write(self, path: Path) -> None:
        """Write the JSON document to `path`, creating its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_json() + b"\n")

    def print(self, console: Console) -> None:
        """Print the figures as a table, without the details."""
        table = Table(title=f"bench {self.bench} · {self.commit}", title_justify="left")
        table.add_column("figure", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("unit", no_wrap=True)
        table.add_column("reach", justify="right", no_wrap=True)
        table.add_column("met", no_wrap=True)
        for figure in (one for one in self.figures if not one.detail):
            sign = "≥" if figure.better == "higher" else "≤"
            reach = "" if figure.reach is None else f"{sign} {readable(figure.reach)}"
            verdict = {True: "[green]yes[/]", False: "[bold red]no[/]", None: ""}[figure.met]
            table.add_row(figure.name, readable(figure.value), figure.unit, reach, verdict)
        console.print(table)


def new_report(bench: str, started: datetime, figures: Sequence[Figure]) -> Report:
    """Return the report of `figures` with the present machine, commit and versions."""
    return Report(bench, commit(), started.isoformat(), machine(), versions(), figures)


def now() -> datetime:
    """Return the present time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def median(rounds: Iterable[float]) -> float:
    """Return the median over the rounds (the mean of the middle two for an even number).

    >>> median([3.0, 1.0, 2.0])
    2.0
    """
    return statistics.median(rounds)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the `share` quantile of `values` by the nearest rank; NaN for no values.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([1.0, 2.0, 3.0, 4.0], 0.99)
    (2.0, 4.0)
    """
    if not values:
        return math.nan
    rank = math.ceil(share * len(values))
    return sorted(values)[max(rank, 1) - 1]


def readable(value: float) -> str:
    """Format a figure with the digits that matter.

    >>> readable(123456.7), readable(0.12345), readable(12.3), readable(0)
    ('123,457', '0.1235', '12.30', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"


def commit() -> str:
    """Return the commit of the source tree (`-dirty` with edits), or "unknown" without git."""
    source = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()


def machine() -> dict[str, str | int | float]:
    """Return the processor, the cores that this process may use, the memory and the system."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_gib, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
