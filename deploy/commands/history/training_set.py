"""`freshrank training-set`: what was served, joined with its labels, as a file of rows."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from freshrank.deploy.commands.history.progress import read_of, say
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.table_files import check_target
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.served import topics
from freshrank.deploy.served.training_set import write_training_set


def run_training_set(file: Path, out: Path, settings: Settings) -> None:
    """Run the command. Raises ConfigError for a file or a log that cannot be used."""
    check_target(out)
    pipeline, console = PipelineFile.read(file).load(), Console(stderr=True)
    began = time.monotonic()
    with topics.broker_of(pipeline, settings, console.print) as broker:
        log = topics.served_log(pipeline, settings, broker)
        with console.status("reading") as status:
            tally = write_training_set(log, out, read_of(status, log.partitions))
    negatives = tally.rows - tally.positives - tally.open
    say(
        console,
        tally.remarks(),
        f"{out}: {tally.rows:,} rows ({tally.positives:,} positive, {negatives:,} negative, "
        f"{tally.open:,} open) in {time.monotonic() - began:.1f} s",
    )
