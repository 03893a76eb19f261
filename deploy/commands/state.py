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

# As in `cli`, what a command needs is imported when it runs.

state_app = typer.Typer(
    no_args_is_help=True,
    help="""Look at what a pipeline wrote down, and check it; running or stopped, nothing changes.

Each partition has a snapshot (features, duplicates seen, examples, place in the topics), the
learner a checkpoint (weights, optimiser, what they contain). The newest three of each are kept:
a start takes up the newest that is whole.
""",
)

Place = Annotated[
    Path, typer.Argument(help="A file, or a folder (of a pipeline: `.freshrank/<pipeline>`).")
]
Json = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option("--json", help="Write all of it to this file too."),
]

# Characters: where the output is no terminal, a line holds all of a row.
_WIDTH = 180


@state_app.command()
def inspect(path: Place, json_file: Json = None) -> None:
    """Show what each file holds, how old it is, and whether it is whole.

    The exit code is that of `freshrank state verify`: 1 when a newest file is not whole, or is
    none of ours; 2 when there is nothing to show.

        freshrank state inspect .freshrank/shop

        freshrank state inspect .freshrank/shop/learner --json state.json
    """
    files = _look(path, json_file)
    _show(files)
    _end(files)


@state_app.command()
def verify(path: Place, json_file: Json = None) -> None:
    """Check every file; the exit code tells whether a start would lose something.

    0: the newest file of each partition and of the learner is whole (older ones that are not
    are named). 1: one of them is not, and a start would fall back to an older one, reading the
    topics again from there. 2: there is nothing to check.

        freshrank state verify .freshrank/shop && echo fine
    """
    files = _look(path, json_file)
    bad = [one for one in files if one.problem is not None]
    for one in bad:
        typer.echo(f"{one.path}: {one.problem}", err=True)
    typer.echo(f"{len(files) - len(bad)} of {len(files)} files are whole")
    _end(files)


def _end(files: list[StateFile]) -> None:
    """Exit with 1 when a start would not take up one of the newest."""
    if any(one.newest and one.problem is not None for one in files):
        raise typer.Exit(1)


def _look(path: Path, json_file: Path | None) -> list[StateFile]:
    from freshrank.deploy.state.inspect import look  # noqa: PLC0415

    files = look(path, time.time())
    if json_file is not None:
        json_file.write_text(json.dumps([one.plain() for one in files], indent=2) + "\n")
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
    for one in files:
        figures = (one.rows, one.examples, one.pending, one.bytes)
        table.add_row(
            escape(one.path.name),
            _at(one),
            "-" if one.format is None else str(one.format),
            one.fingerprint or "-",
            *("-" if figure is None else f"{figure:,}" for figure in figures),
            f"{one.age_s:,.0f} s",
            "[green]ok[/]" if one.problem is None else f"[red]{escape(one.problem)}[/]",
        )
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    console.print(table)


def _at(file: StateFile) -> str:
    """How far it is."""
    if file.version is not None:
        return f"version {file.version} of {len(file.applied or {})} partitions"
    if isinstance(file.offsets, Mapping):
        return ", ".join(f"{topic} {offset:,}" for topic, offset in file.offsets.items())
    if file.offsets is not None:
        return "offset " + " and ".join(f"{one:,}" for one in file.offsets)
    return "-"
