"""The options of the commands that read a history: of files, and of what was served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, List, Optional  # noqa: UP035 - Typer evaluates annotations

import typer

from freshrank.deploy.commands.history.help_texts import (
    BACKFILL_HELP,
    FEATURES_HELP,
    TRAINING_SET_HELP,
)
from freshrank.deploy.commands.options import Config, Kafka, KafkaPort

# What a command needs is imported when it runs, as in `cli`.


def add_history_commands(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(help=FEATURES_HELP)(features)
    app.command(name="training-set", help=TRAINING_SET_HELP)(training_set)
    app.command(help=BACKFILL_HELP)(backfill)


def features(  # noqa: PLR0913 - typer makes an option of each
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    history: Annotated[List[str], typer.Argument(help="Files or folders: PATH or TOPIC=PATH.")],  # noqa: UP006
    *,
    out: Annotated[Path, typer.Option(help="Where to write: .parquet, .csv or .jsonl.")],
    rows: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The rows: Parquet, CSV or JSON lines."),
    ] = None,
    at: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="In place of rows: a time, for all entities that had a row then."),
    ] = None,
    entity: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --at: the kind of entity (default: the one that requests name)."),
    ] = None,
    columns: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The features to write, separated by commas (default: all)."),
    ] = None,
    config: Config = None,
) -> None:
    """Write features as of any time; its help is `FEATURES_HELP`."""
    from freshrank.deploy.commands.history.features import FeaturesRequest, run_features  # noqa: PLC0415
    from freshrank.deploy.config.loader import load_settings  # noqa: PLC0415

    wanted = None if columns is None else [one.strip() for one in columns.split(",")]
    request = FeaturesRequest(file, history, out, rows, at, entity, wanted)
    run_features(request, load_settings(config))


def backfill(
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    history: Annotated[List[str], typer.Argument(help="Files or folders: PATH or TOPIC=PATH.")],  # noqa: UP006
    *,
    begin: Annotated[
        str,
        typer.Option("--from", help="Where a run goes on: `history`, `end`, `beginning`, a time."),
    ] = "history",
    config: Config = None,
    kafka: Kafka = None,
    kafka_port: KafkaPort = None,
) -> None:
    """Fill a state folder from files; its help is `BACKFILL_HELP`."""
    from freshrank.deploy.commands.history.backfill import (  # noqa: PLC0415
        BackfillRequest,
        run_backfill,
    )
    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415

    settings = CliOverrides(kafka=kafka, kafka_port=kafka_port).settings(config)
    run_backfill(BackfillRequest(file, history, begin), settings)


def training_set(
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    *,
    out: Annotated[Path, typer.Option(help="Where to write: .parquet, .csv or .jsonl.")],
    config: Config = None,
    kafka: Kafka = None,
) -> None:
    """Write what was served with its labels; its help is `TRAINING_SET_HELP`."""
    from freshrank.deploy.commands.history.training_set import run_training_set  # noqa: PLC0415
    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415

    run_training_set(file, out, CliOverrides(kafka=kafka).settings(config))
