"""`freshrank update`: ask a run to replace its replicas, and wait for what becomes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import typer

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.folder_lock import holder, process_here
from freshrank.deploy.state.record_files.update_record import RECORD, UpdateOutcome

# Seconds between two looks whether the run has finished.
_POLL_S = 0.1
# Seconds for an update: each replica in turn loads the code, the weights and the catalogue.
LONGEST_S = 1_800.0


def run_update(
    file: Path, settings: Settings, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Ask the run of the pipeline in `file`, and print the outcome; exits with 1 or 2 if refused.

    Raises ConfigError where the file is wrong or no such run is found, and Unavailable when the run
    ends meanwhile, or says nothing for `LONGEST_S` seconds.
    """
    pipeline = PipelineFile.read(file).load()
    folder = settings.state_folder(pipeline.name)
    process = _process(folder)
    # What begins after this has read the file and the settings as they are now.
    asked_s = time.monotonic()
    os.kill(process, signal.SIGUSR1)
    typer.echo(f"process {process} is asked to update the replicas of {pipeline.name!r}")
    outcome = _outcome(folder, asked_s, sleep)
    if outcome.refusal is None:
        typer.echo(f"the replicas are updated: all of them answer by {outcome.file}")
        return
    typer.echo(f"The update is refused, what runs goes on: {outcome.refusal.reason}", err=True)
    raise typer.Exit(2 if outcome.refusal.mistake else 1)


def _process(folder: Path) -> int:
    """The process of the run whose state is in `folder`. Raises ConfigError."""
    try:
        held = holder(folder)
    except OSError as error:
        raise ConfigError(
            str(folder), f"it cannot be read: {error.strerror}", "Ask as the user of the run."
        ) from error
    if held is None:
        raise ConfigError(
            str(folder),
            "no run keeps its state there",
            "A run is found by its pipeline's name and the setting `state` (--config, "
            "FRESHRANK_STATE), from the folder in which it was started.",
        )
    process = process_here(folder, held)
    if process is None:
        raise ConfigError(
            str(folder),
            f"the run that keeps its state there is {held}, and here is no such process of yours",
            "Ask on its host, in its container if it has one, as its user.",
        )
    return process


def _outcome(folder: Path, asked_s: float, sleep: Callable[[float], object]) -> UpdateOutcome:
    """Wait for the end of an update that began after `asked_s`. Raises Unavailable."""
    while True:
        running = holder(folder) is not None
        outcome: UpdateOutcome | None = RECORD.read(folder)
        if outcome is not None and outcome.began_s >= asked_s:
            return outcome
        if not running:
            raise Unavailable("the run", "it has ended before its replicas were updated")
        if time.monotonic() - asked_s > LONGEST_S:
            waited = f"nothing is known of the update after {LONGEST_S:,.0f} s"
            raise Unavailable("the run", f"{waited}: its console says how far it is")
        sleep(_POLL_S)
