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
from freshrank.deploy.state.state_folder import LEARNER, StateFolder
from freshrank.learner import checkpoints


def run_plan(file: Path, settings: Settings) -> None:
    """Print the plan; exits with 1 where a start would be refused. Raises ConfigError."""
    pipeline = PipelineFile.read(file).load()
    folder = StateFolder(settings.state_folder(pipeline.name), settings.kafka.bootstrap)
    _refused(lambda: check_finished(folder))
    files = _Files(folder.path)
    begins = _begins(folder, files, pipeline)
    held = _holder(folder.path)
    if held is not None:
        typer.echo(f"A run holds the folder ({held}): no start is possible before it has ended.")
    _refused(lambda: _check(folder, files, pipeline))
    typer.echo(begins)


def _begins(folder: StateFolder, files: _Files, pipeline: Pipeline) -> str:
    """Tell what there is and what differs; returns where a start that is not refused begins."""
    if not files.there:
        return f"{folder.path} holds no state: a start begins with the topics' oldest records."
    for line in (*_present(files), *_changes(folder.path, pipeline)):
        typer.echo(line)
    if folder.made_with() == EMBEDDED:
        return "A start begins anew: the embedded broker of the state ends with its run and topics."
    return "A start goes on from this state, if the topics are those that it was made of."


def _holder(folder: Path) -> str | None:
    try:
        return holder(folder)
    except OSError:
        return None  # `_check` names the folder, which cannot be used


def _check(folder: StateFolder, files: _Files, pipeline: Pipeline) -> None:
    """Raise ConfigError where a start is refused for what the folder holds."""
    if folder.path.is_dir():
        folder.check(pipeline)
    if folder.made_with() != EMBEDDED:
        _check_learner(files)
    check_pinned(folder.path, pipeline)


def _check_learner(files: _Files) -> None:
    """Raise ConfigError where there are checkpoints of the learner, and none can be read."""
    if files.learner in files.lost:
        raise ConfigError(
            str(files.learner.parent),
            f"no checkpoint can be read: {'; '.join(files.problems(files.learner))}",
            "Put a copy of one there, or begin anew in another folder (`state`).",
        )


def _refused(check: Callable[[], None]) -> None:
    """Tell why a start is refused, and exit, where `check` does so."""
    try:
        check()
    except ConfigError as error:
        typer.echo(f"A start is refused: {error}")
        raise typer.Exit(1) from error


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

    def problems(self, name: Path | None = None) -> list[str]:
        """Why files are passed over, in the words of a start: those of a name, or all."""
        named = self._passed_over if name is None else [name]
        files = [one for each in named for one in self._passed_over.get(each, [])]
        return [f"{one.path} is passed over: {one.problem}" for one in files]

    @property
    def lost(self) -> list[Path]:
        """Folder and name of the files of which none is whole."""
        return [name for name in self._passed_over if name not in self.taken]


def _present(found: _Files) -> Iterator[str]:
    """The state in a line, then the files that a start passes over."""
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
