"""`freshrank plan`: what a start would keep, add and drop of a pipeline's state, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state import definitions_record
from freshrank.deploy.state.definitions_record import PartDifference, definitions_of, differences
from freshrank.deploy.state.draft_state import check_finished
from freshrank.deploy.state.folder_lock import holder
from freshrank.deploy.state.inspect import StateFile, inspect_state, newest_first
from freshrank.deploy.state.pinned_weights import check_pinned
from freshrank.deploy.state.state_folder import StateFolder


def run_plan(file: Path, settings: Settings) -> None:
    """Print the plan; exits with 1 where a start would be refused. Raises ConfigError."""
    pipeline = PipelineFile.read(file).load()
    folder = StateFolder(settings.state_folder(pipeline.name), settings.kafka.bootstrap)
    _refused(lambda: check_finished(folder))
    begins = _begins(folder, pipeline)
    held = _holder(folder.path)
    if held is not None:
        typer.echo(f"A run holds the folder ({held}): no start is possible before it has ended.")
    _refused(lambda: _check(folder, pipeline))
    typer.echo(begins)


def _begins(folder: StateFolder, pipeline: Pipeline) -> str:
    """Tell what there is and what differs; returns where a start that is not refused begins."""
    if not folder.path.is_dir() or not newest_first(folder.path):
        return f"{folder.path} holds no state: a start begins with the topics' oldest records."
    for line in (*_present(folder.path), *_changes(folder.path, pipeline)):
        typer.echo(line)
    if folder.made_with() == EMBEDDED:
        return "A start begins anew: the embedded broker of the state ends with its run and topics."
    return "A start goes on from this state, if the topics are those that it was made of."


def _holder(folder: Path) -> str | None:
    try:
        return holder(folder)
    except OSError:
        return None  # `_check` names the folder, which cannot be used


def _check(folder: StateFolder, pipeline: Pipeline) -> None:
    """Raise ConfigError where a start is refused for what the folder holds."""
    if folder.path.is_dir():
        folder.check(pipeline)
    check_pinned(folder.path, pipeline)


def _refused(check: Callable[[], None]) -> None:
    """Tell why a start is refused, and exit, where `check` does so."""
    try:
        check()
    except ConfigError as error:
        typer.echo(f"A start is refused: {error}")
        raise typer.Exit(1) from error


def _present(folder: Path) -> Iterator[str]:
    """The state in a line, then the files that a start passes over."""
    taken, damaged = dict[tuple[Path, str], StateFile](), list[StateFile]()
    for one in inspect_state(folder, time.time()):
        name = (one.path.parent, one.path.name.rsplit(".", 2)[0])
        if name not in taken:
            if one.problem is None:
                taken[name] = one
            else:
                damaged.append(one)
    files = taken.values()
    rows = sum(one.rows or 0 for one in files if one.kind == "partition")
    ids = sum(one.rows or 0 for one in files if one.kind == "learner")
    partitions = sum(one.kind == "partition" for one in files)
    yield f"{folder}: {rows:,} rows in {partitions} partitions; a model of {ids:,} ids"
    for one in damaged:
        yield f"  {one.path} is passed over: {one.problem}"


def _changes(folder: Path, pipeline: Pipeline) -> Iterator[str]:
    """What differs, part by part."""
    before = definitions_record.RECORD.read(folder)
    if before is None:
        yield "  what it was made for was not recorded: an older version began it"
        return
    for part in differences(before, definitions_of(pipeline)):
        yield from _lines(part)


def _lines(part: PartDifference) -> Iterator[str]:
    yield f"  {part.part}: {part.same} as they were"
    for name, text in part.added.items():
        yield f"    + {name} = {text}"
    for name, text in part.dropped.items():
        yield f"    - {name} = {text}"
    for name, (was, now) in part.changed.items():
        yield f"    ~ {name} = {now}, was {was}"
