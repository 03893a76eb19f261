"""`freshrank bench`: list the benches, or run one and show and write what it gave."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from freshrank.benchmarks import registry
from freshrank.benchmarks.registry import BenchOptions
from freshrank.deploy.servers.external import check_summary


def run_bench(name: str, options: BenchOptions, json_file: Path | None) -> None:
    """Run the bench `name` (``list`` names all). Raises ConfigError for one that there is not."""
    console = Console()
    if name == "list":
        table = Table("bench", "what it measures", box=None)
        for bench, found in registry.BENCHES.items():
            table.add_row(bench, found.summary)
        console.print(table)
        return
    check_summary(json_file)
    report = registry.run_bench(name, options, console)
    report.print(console)
    if json_file is not None:
        report.write(json_file)
        console.print(f"written to {json_file}")
