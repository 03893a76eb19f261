"""`freshrank plan`: what a start would keep, add, fill and drop of a pipeline's state, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import typer

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.checks.stream_checks import time_notes
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.definitions.kept_definitions import KeptDefinitions
from freshrank.deploy.state.definitions.start_changes import counted, start_changes
from freshrank.deploy.state.definitions.undeclared import told
from freshrank.deploy.state.folder_lock import holder
from freshrank.deploy.state.folders import LEARNER
from freshrank.deploy.state.inspect import StateFile, inspect_state, newest_first
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring.start_checks import check_served, check_settings, check_state
from freshrank.learner import checkpoints


def run_plan(file: Path, settings: Settings) -> None:
    """Print the plan; exits with 2 where the state refuses a start. Raises as a start does.

    A run that holds the folder is told, and what a start does after its end.
    """
    pipeline = PipelineFile.read(file).load()
    check_settings(settings)
    check_served(pipeline, settings)
    for note in time_notes(pipeline.streams):
        typer.echo(note)
    folder = StateFolder(settings.state_folder(pipeline.name), settings.kafka.bootstrap)
    files = _Files(folder.path)
    for line in _present(files):
        typer.echo(line)
    try:
        check_state(folder, pipeline)
    except ConfigError as error:
        typer.echo(f"A start is refused: {error}")
        raise typer.Exit(2) from error
    held = _holder(folder.path)
    start = "A start"
    if held is not None:
        typer.echo(f"A run holds the folder ({held}): until it has ended a start is refused.")
        start = "After its end, a start"
    for line in _begins(folder, files, pipeline, start):
        typer.echo(line)


def _begins(folder: StateFolder, files: _Files, pipeline: Pipeline, start: str) -> Iterator[str]:
    """What differs, and where `start`, which is not refused, begins."""
    if not files.there:
        yield (
            f"{folder.path} holds no state: a start begins with the topics' oldest records. What "
            "was deleted before is in files only (freshrank backfill), and an alert tells of it."
        )
        return
    if folder.made_with() == EMBEDDED:
        yield f"{start} begins anew: the embedded broker of the state ends with its run and topics."
        return
    parts = start_changes(KeptDefinitions.read(folder.path, pipeline), pipeline)
    for part in parts:
        yield from part.lines()
    removed = folder.to_remove(pipeline)
    if removed:
        yield f"{start} removes what is declared no more: {told(removed)}."
    yield (
        f"{start} goes on from this state, if the topics are those that it was made of: "
        f"{counted(parts)}."
    )


def _holder(folder: Path) -> str | None:
    try:
        return holder(folder)
    except OSError:
        return None  # `check_state` names the folder, which cannot be used


class _Files:
    """What a start takes of the files of a state folder, and what it passes over."""

    def __init__(self, folder: Path) -> None:
        self.taken = dict[Path, StateFile]()
        """By folder and name of the files, the newest that is whole."""
        self._passed_over = dict[Path, list[StateFile]]()
        self.folder = folder
        self.learner = folder / LEARNER / checkpoints.NAME
        self.there = folder.is_dir() and bool(newest_first(folder))
        for one in inspect_state(folder, time.time()) if self.there else ():
            name = one.path.with_name(one.path.name.rsplit(".", 2)[0])
            if name not in self.taken:
                if one.problem is None:
                    self.taken[name] = one
                else:
                    self._passed_over.setdefault(name, []).append(one)

    def problems(self) -> list[str]:
        """Why files are passed over."""
        files = [one for each in self._passed_over.values() for one in each]
        return [f"{one.path} is passed over: {one.problem}" for one in files]

    @property
    def lost(self) -> list[Path]:
        """Folder and name of the files of which none is whole."""
        return [name for name in self._passed_over if name not in self.taken]


def _present(found: _Files) -> Iterator[str]:
    """The state in a line, if there is any, then the files that a start passes over."""
    if not found.there:
        return
    files = found.taken.values()
    rows = sum(one.rows or 0 for one in files if one.kind == "partition")
    ids = sum(one.rows or 0 for one in files if one.kind == "learner")
    partitions = sum(one.kind == "partition" for one in files)
    yield f"{found.folder}: {rows:,} rows in {partitions} partitions; a model of {ids:,} ids"
    for problem in found.problems():
        yield f"  {problem}"
    for name in found.lost:
        if name != found.learner:
            yield (
                f"  no snapshot of {name} can be read: a start makes its rows anew, from the "
                "oldest records that the topics keep"
            )
