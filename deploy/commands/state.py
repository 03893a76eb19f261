"""`freshrank state`: look at snapshots and checkpoints, and check them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from freshrank.deploy.state.inspect import StateFile

# What a command needs is imported when it runs, as in `cli`.

state_app = typer.Typer(
    no_args_is_help=True,
    help="""Show and check the state files of a pipeline, running or stopped; nothing is changed.

Each partition has a snapshot (features, ids of events, examples, offsets), the learner a checkpoint
(weights, optimiser, the offsets that they contain). The newest three of each are kept: a start
loads the newest that is whole.
""",
)

Place = Annotated[
    Path, typer.Argument(help="A file, or a folder (of a pipeline: `.freshrank/<pipeline>`).")
]
Json = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option("--json", help="Also write everything to this file."),
]

# Characters of a line where the output is no terminal: enough for a whole row.
_WIDTH = 180


@state_app.command()
def inspect(path: Place, json_file: Json = None) -> None:
    """Show what each file holds, how old it is, and whether it is whole.

    The exit code is that of `freshrank state verify`: 1 when a newest file is not whole, or is
    not a state file; 2 when there is nothing to show.

        freshrank state inspect .freshrank/shop

        freshrank state inspect .freshrank/shop/learner --json state.json
    """
    files = _read(path, json_file)
    _show(files)
    _exit_status(files)


@state_app.command()
def verify(path: Place, json_file: Json = None) -> None:
    """Check every file; the exit code says whether a start would lose something.

    0: the newest file of each partition and of the learner is whole (older files that are not
    are listed). 1: one of them is not, and a start would fall back to an older one, reading the
    topics again from there. 2: there is nothing to check.

        freshrank state verify .freshrank/shop && echo fine
    """
    files = _read(path, json_file)
    damaged = [file for file in files if file.problem is not None]
    for file in damaged:
        typer.echo(f"{file.path}: {file.problem}", err=True)
    typer.echo(f"{len(files) - len(damaged)} of {len(files)} files are whole")
    _exit_status(files)


def _exit_status(files: list[StateFile]) -> None:
    """Exit with 1 when a start could not load one of the newest files."""
    if any(file.newest and file.problem is not None for file in files):
        raise typer.Exit(1)


def _read(path: Path, json_file: Path | None) -> list[StateFile]:
    from freshrank.deploy.state.inspect import inspect_state  # noqa: PLC0415

    files = inspect_state(path, time.time())
    if json_file is not None:
        json_file.write_text(json.dumps([file.plain() for file in files], indent=2) + "\n")
    return files


def _show(files: list[StateFile]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in ("file", "at", "format", "definitions"):
        table.add_column(name)
    for name in ("rows", "examples", "pending", "bytes", "age"):
        table.add_column(name, justify="right")
    table.add_column("state", overflow="fold")
    for file in files:
        counts = (file.rows, file.examples, file.pending, file.bytes)
        table.add_row(
            escape(file.path.name),
            _position(file),
            "-" if file.format is None else str(file.format),
            file.fingerprint or "-",
            *("-" if count is None else f"{count:,}" for count in counts),
            f"{file.age_s:,.0f} s",
            "[green]ok[/]" if file.problem is None else f"[red]{escape(file.problem)}[/]",
        )
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    console.print(table)


def _position(file: StateFile) -> str:
    """Format the position of a file: its version or its offsets."""
    if file.version is not None:
        return f"version {file.version} of {len(file.applied or {})} partitions"
    if isinstance(file.offsets, Mapping):
        return ", ".join(f"{topic} {offset:,}" for topic, offset in file.offsets.items())
    if file.offsets is not None:
        return "offset " + " and ".join(f"{offset:,}" for offset in file.offsets)
    return "-"
