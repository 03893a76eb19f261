"""`freshrank bench`: list the benches, or run one, show its figures and write them to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from freshrank.deploy.commands.options import Json

if TYPE_CHECKING:  # what a bench needs is imported when one is run: --help answers at once
    from freshrank.benchmarks.registry import Bench

# Characters of a line of what goes to a file.
_WIDTH = 180


def bench(
    name: Annotated[str, typer.Argument(help="Which bench; `list` names them.")],
    json_file: Json = None,
    kafka: Annotated[
        Optional[str],  # noqa: UP045 - Typer evaluates annotations at run time
        typer.Option(help="`host:port` of a running broker (default: start Apache Kafka here)."),
    ] = None,
    redis: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="`redis://host:port/db` (default: start a Redis here)."),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The real data set, for the benches that need one."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often each figure is measured.", min=1)] = 3,
) -> None:
    """Measure, and compare with what should be reached.

    freshrank bench list

    freshrank bench ingest --json ingest.json

    freshrank bench jd --data bo_action.parquet
    """
    from freshrank.benchmarks import registry  # noqa: PLC0415
    from freshrank.deploy.servers.external import check_summary  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:  # a file, which has no width: tables are whole in it
        console = Console(width=_WIDTH)
    if name == "list":
        console.print(_table(registry.BENCHES))
        return
    check_summary(json_file)
    options = registry.BenchOptions(kafka, redis, data, rounds)
    report = registry.run_bench(name, options, console)
    report.print(console)
    if json_file is not None:
        report.write(json_file)
        console.print(f"written to {json_file}")


def _table(benches: Mapping[str, Bench]) -> Table:
    table = Table("bench", "what it measures", box=None)
    for name, found in benches.items():
        table.add_row(name, found.summary)
    return table
