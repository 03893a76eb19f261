"""The command line: options and help of the built-in commands, and how errors are shown."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

from freshrank.actors.errors import ConfigError, FreshrankError
from freshrank.deploy.commands.experiments.command import experiment_app
from freshrank.deploy.commands.history.commands import add_history_commands
from freshrank.deploy.commands.keys import keys_app
from freshrank.deploy.commands.options import (
    Config,
    Insecure,
    Json,
    Kafka,
    KafkaPort,
    Port,
    Redis,
    Seconds,
)
from freshrank.deploy.commands.plugins import CommandGroup
from freshrank.deploy.commands.state import state_app

if TYPE_CHECKING:
    from freshrank.deploy.config.settings import Settings

# What a command needs is imported when it runs: --help and version answer at once, and `replay`
# works where Ray is not installed.

app = typer.Typer(
    name="freshrank",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback goes into a file, as plain text
    rich_markup_mode="markdown",
    help="""Fresh features, fresh weights: from a Kafka topic to a REST score in Python.

Try `freshrank demo` first: it starts everything on this machine.
Then copy `examples/recommend.py` and `freshrank run` your own.
""",
)

app.add_typer(state_app, name="state")
app.add_typer(keys_app, name="keys")
app.add_typer(experiment_app, name="experiment")
add_history_commands(app)


_RUN_HELP = """\
Run a pipeline of your own until Ctrl-C; a second start goes on where the first stopped.

Without a broker of yours: by default one in memory is started, which loses all records when it
stops; with `--kafka apache` a real one, which keeps its topics in the state folder.

    freshrank run shop.py --kafka broker:9092 --redis redis://cache:6379/0

    freshrank run shop.py --kafka apache --port 8001

    freshrank run shop.py --config shop.toml

where `shop.toml` may say

    [kafka]

    bootstrap = "broker:9092"

    [redis]

    url = "redis://cache:6379/0"

    [serve]

    port = 8001

`freshrank update shop.py` lets it read the file and the settings again, and replaces the replicas
by new ones without a request that fails (docs/operating.md).

An option overrides a variable (`FRESHRANK_KAFKA__BOOTSTRAP`), and that overrides the file.
"""


@app.command(help=_RUN_HELP)
def run(  # noqa: PLR0913 - typer makes an option of each
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    *,
    config: Config = None,
    address: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Ray cluster (`auto`, `host:6379`, `ray://…`); default: this machine."),
    ] = None,
    kafka: Kafka = None,
    kafka_port: KafkaPort = None,
    redis: Redis = None,
    port: Port = None,
    insecure: Insecure = False,
    seconds: Seconds = None,
    json_file: Json = None,
) -> None:
    """Run a pipeline until Ctrl-C; its help is `_RUN_HELP`."""
    from freshrank.deploy.commands.running.run_request import CliOverrides, RunRequest  # noqa: PLC0415
    from freshrank.deploy.commands.running.start import start  # noqa: PLC0415
    from freshrank.deploy.pipelines.pipeline_file import PipelineFile  # noqa: PLC0415

    overrides = CliOverrides(kafka, redis, port, insecure, kafka_port)

    def read() -> tuple[PipelineFile, Settings]:
        return PipelineFile.read(file), overrides.settings(config)

    pipeline_file, settings = read()
    start(
        RunRequest(
            file=pipeline_file,
            settings=settings,
            address=address,
            seconds=seconds,
            json_file=json_file,
            reread=read,
        )
    )


@app.command()
def update(
    file: Annotated[Path, typer.Argument(help="The pipeline's file, as the run was given it.")],
    config: Config = None,
) -> None:
    """Update the replicas of a run by its changed file and settings; no request fails meanwhile.

    freshrank update shop.py

    freshrank update shop.py --config shop.toml

    The run is found by its state folder, which the pipeline's name and the setting `state` give:
    ask where it runs, from the same folder and with the same settings. It reads its own file,
    options and environment, the file of `--config` included, and replaces one replica after the
    other, once a new one is up; this waits for the end of that.

    Exit status: 0, all replicas answer by what was read. 2, the file or the settings are wrong, or
    shards or the learner would have to change, too: what differs is printed, and only a new start
    takes it (`freshrank plan`). 1, the new replicas did not start, or the run has ended. What runs
    goes on whenever an update is refused.
    """
    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415
    from freshrank.deploy.commands.update import run_update  # noqa: PLC0415

    run_update(file, CliOverrides().settings(config))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A pipeline file that can read its own history.")],
    data: Annotated[Path, typer.Argument(help="The recorded events.")],
    speed_up: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Seconds of history per second (default: no limit).", min=0.001),
    ] = None,
    config: Config = None,
    json_file: Json = None,
) -> None:
    """Play recorded history through a pipeline in event time, and print how well it learned.

    freshrank replay examples/jd.py bo_action.parquet

    freshrank replay examples/jd.py bo_action.parquet --speed-up 86400

    Of the settings, those of the learner and of the shards count. A step has 64 events, unless
    learner.batch_examples is set.
    """
    from freshrank.deploy.commands.history.replay import run_replay  # noqa: PLC0415
    from freshrank.deploy.config.loader import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    run_replay(file, data, settings=settings, speed_up=speed_up, json_file=json_file)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    config: Config = None,
    kafka: Kafka = None,
    *,
    insecure: Insecure = False,
) -> None:
    """Say what a start would keep of the state, add, fill, renew and drop, part by part, and why.

    freshrank plan shop.py --kafka broker:9092

    Nothing is started or changed, and no broker is asked. Where a start would be refused, the exit
    status is that of the start. While a run holds the folder, it is about a start after its end.
    """
    from freshrank.deploy.commands.plan import run_plan  # noqa: PLC0415
    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415

    run_plan(file, CliOverrides(kafka=kafka, insecure=insecure).settings(config))


def _print_versions(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def _root(
    *,
    version_asked: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="As `freshrank version`.",
        ),
    ] = False,
) -> None:
    pass


@app.command()
def version() -> None:
    """Print the versions of Freshrank and of the libraries that its speed depends on."""
    typer.echo(f"freshrank {importlib.metadata.version('freshrank')}")
    for name in ("ray", "numpy", "numba", "aiokafka", "redis", "msgspec"):
        typer.echo(f"  {name} {importlib.metadata.version(name)}")


def main() -> None:
    """Run the command line. An error is one line without a traceback, and an exit status.

    2: a mistake that the user can mend; the line names the place and the fix. 1: something failed
    while running; the line names a file with the traceback, if there is one.
    """
    # Before NumPy is imported. A batch's matrices are too small for several threads: those wait for
    # each other, actively. A DeepFM's learner took four times the processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except ConfigError as error:
        _show(str(error))
        sys.exit(2)
    except FreshrankError as error:
        _show_first_line(str(error))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the outermost edge: it is shown and written to a file
        shown = "".join(traceback.format_exception_only(error)).strip()
        _show_first_line(
            f"unexpected {shown}\n{''.join(traceback.format_exception(error))}",
            "a mistake of ours, please report it",
        )
        sys.exit(1)


def _show(problem: str) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(problem, markup=False, highlight=False)


def _show_first_line(problem: str, remark: str = "in full") -> None:
    """Show the first line of a problem; the rest, such as a traceback, goes into a file."""
    first, _, rest = problem.partition("\n")
    if rest.strip():
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", prefix="freshrank-", suffix=".log",
            delete=False,
        ) as file:  # fmt: skip
            file.write(f"{' '.join(sys.argv)}\n{problem}\n")
        first = f"{first} ({remark}: {file.name})"
    _show(first)


if __name__ == "__main__":
    main()
