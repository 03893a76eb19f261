"""`freshrank experiment`: what came of the experiments of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freshrank.deploy.commands.options import Config, Json, Kafka

if TYPE_CHECKING:
    from rich.console import Console

    from freshrank.deploy.experiments.reading import ReportRequest
    from freshrank.deploy.experiments.report import PipelineReport
    from freshrank.deploy.pipelines.pipeline import Pipeline

# What a command needs is imported when it runs, as in `cli`.

experiment_app = typer.Typer(
    no_args_is_help=True,
    help="Experiments, `Pipeline(experiments=[...])`: what was shown, and what came of it.",
)

_REPORT_HELP = """\
Report what each arm of each experiment showed and got, by the logs of impressions and of events.

A click counts if and only if the learner learns it (`label=Joined(...)`). Nothing is changed, also
beside a run. Topics are read from their oldest records to their ends of now.

    freshrank experiment report shop.py --kafka broker:9092

    freshrank experiment report shop.py --kafka apache

    freshrank experiment report shop.py --config shop.toml --expected-effect 0.005 --json a.json

How to read it. `rate` is clicks of shown items; its interval and those of off-policy estimates are
for one look at a time that was fixed before. `difference` is to the first arm; its interval, and
`p`, hold whenever and as often as you look, so that you may end an experiment as soon as the
interval leaves 0 out. Users, not items, are what is independent: all intervals allow for it.

Of an arm that explores, `ips`, `snips` and `dr` estimate how many clicks a list would have got
without exploration, beside what it got (`logged`). `effective` is how many lists tell that: with
few, trust none of them, or look at fewer `--positions`.
"""


@experiment_app.callback()
def _experiment() -> None:
    """Keep `report` a command of its own while it is the only one."""


@experiment_app.command(help=_REPORT_HELP)
def report(
    file: Annotated[Path, typer.Argument(help="A Python file with one Pipeline in it.")],
    *,
    expected_effect: Annotated[
        float,
        typer.Option(
            help="The difference of rates that you expect, fixed before you look: intervals of "
            "differences are narrowest for it.",
            min=1e-6,
            max=1.0,
        ),
    ] = 0.01,
    positions: Annotated[
        int,
        typer.Option(help="How many first items of each list are estimated.", min=1, max=100),
    ] = 10,
    config: Config = None,
    kafka: Kafka = None,
    json_file: Json = None,
) -> None:
    """Report on experiments; its help is `_REPORT_HELP`."""
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415
    from freshrank.deploy.experiments.reading import ReportRequest  # noqa: PLC0415
    from freshrank.deploy.served import topics  # noqa: PLC0415
    from freshrank.deploy.servers.external import check_summary  # noqa: PLC0415

    check_summary(json_file)
    settings, console = CliOverrides(kafka=kafka).settings(config), Console(stderr=True)
    pipeline = _pipeline_of(file)
    with topics.broker_of(pipeline, settings, console.print) as broker:
        log = topics.served_log(pipeline, settings, broker)
        found = _read(ReportRequest(log, expected_effect, positions), console)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    _show(found)


def _pipeline_of(file: Path) -> Pipeline:
    """The pipeline of a file. Raises ConfigError where it has no experiments."""
    from freshrank.actors.errors import ConfigError  # noqa: PLC0415
    from freshrank.deploy.pipelines.pipeline_file import PipelineFile  # noqa: PLC0415

    pipeline = PipelineFile.read(file).load()
    if not pipeline.experiments:
        raise ConfigError(
            f"Pipeline({pipeline.name!r}).experiments",
            "there is none",
            "Declare one: experiments=[Experiment(...)].",
        )
    return pipeline


def _read(request: ReportRequest, console: Console) -> PipelineReport:
    import asyncio  # noqa: PLC0415

    from freshrank.deploy.commands.history.progress import read_of  # noqa: PLC0415
    from freshrank.deploy.experiments.reading import read_report  # noqa: PLC0415

    with console.status("reading") as status:
        return asyncio.run(read_report(request, read_of(status, request.log.partitions)))


def _show(report: PipelineReport) -> None:
    from rich.console import Console  # noqa: PLC0415

    from freshrank.deploy.commands.experiments.tables import tables_of  # noqa: PLC0415

    console = Console()
    console = console if console.is_terminal else Console(width=160)
    for part in tables_of(report):
        console.print(part)
