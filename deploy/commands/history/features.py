"""`freshrank features`: rows with the features of their times, read from files of history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError
from freshrank.deploy.commands.history.progress import say, shown
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.entity_rows import as_of, key_columns
from freshrank.deploy.history.point_in_time import HistoricalFeatures
from freshrank.deploy.history.table_files import check_target, read_table, write_table
from freshrank.deploy.pipelines.pipeline_file import PipelineFile


@dataclass(frozen=True, slots=True)
class FeaturesRequest:
    """What the command is asked for."""

    file: Path
    """Of the pipeline."""
    history: Sequence[str]
    out: Path
    rows: Path | None
    at: str | None
    """In place of rows."""
    entity: str | None
    """With `at`."""
    columns: Sequence[str] | None


def run_features(request: FeaturesRequest, settings: Settings) -> None:
    """Run the command. Raises ConfigError for a file, rows or a history that cannot be used."""
    if (request.rows is None) == (request.at is None):
        raise ConfigError(
            "--rows, --at",
            "one of them says what is asked for",
            "Give a file of rows, or a time for all entities.",
        )
    if request.rows is not None and request.entity is not None:
        raise ConfigError("--entity", "rows name their entities", "Leave it out, or give --at.")
    check_target(request.out)
    console = Console(stderr=True)
    pipeline_file = PipelineFile.read(request.file)
    pipeline, module = pipeline_file.load(), pipeline_file.load_module()
    began = time.monotonic()
    with console.status("reading") as status:
        reader = HistoricalFeatures(
            pipeline,
            request.history,
            settings,
            getattr(module, "records", None),
            shown(status),
        )
        if request.rows is not None:
            columns = [part for parts in key_columns(pipeline).values() for part in parts]
            rows = read_table(request.rows, columns)
            table, tally = reader.of_rows(rows, request.columns)
        else:
            at_ms = as_of(request.at or "", SystemClock().now_ms(), "--at")
            table, tally = reader.of_all(at_ms, request.entity, request.columns)
        status.update(f"writing {request.out}")
        write_table(table, request.out)
    say(
        console,
        tally.remarks(),
        f"{request.out}: {table.num_rows:,} rows of {len(table.column_names)} columns, "
        f"from {tally.records:,} records in {time.monotonic() - began:.1f} s",
    )
