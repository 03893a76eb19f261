"""`freshrank demo`: the bundled pipeline under generated shopping traffic."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

import typer

from freshrank.deploy.commands.options import Json, Kafka, Port, Redis, Seconds


def demo(
    seconds: Seconds = None,
    json_file: Json = None,
    kafka: Kafka = "embedded",
    redis: Redis = "embedded",
    port: Port = 8000,
    catalogue: Annotated[
        bool,
        typer.Option(
            "--catalogue",
            help="Write a catalogue too, and show shoppers what /v1/recommend finds in it.",
        ),
    ] = False,
) -> None:
    """Run the bundled pipeline on generated shopping traffic, everything on this machine.

    Tastes drift while it runs; watch the live model stay ahead of its frozen copy.

        freshrank demo

        freshrank demo --seconds 120 --json demo.json

        freshrank demo --kafka apache

        freshrank demo --catalogue
    """
    # Imported when it runs, so that `freshrank --help` answers at once.
    from freshrank.deploy.commands.run_request import CliOverrides, RunRequest  # noqa: PLC0415
    from freshrank.deploy.commands.start import start  # noqa: PLC0415
    from freshrank.deploy.pipelines.pipeline_file import PipelineFile  # noqa: PLC0415
    from freshrank.examples.shop.demo_traffic import (  # noqa: PLC0415
        CatalogueDemoTraffic,
        DemoTraffic,
    )

    name = "catalogue.py" if catalogue else "recommend.py"
    text = files("freshrank.examples").joinpath(name).read_text(encoding="utf-8")
    start(
        RunRequest(
            file=PipelineFile(f"examples/{name}", text),
            settings=CliOverrides(kafka, redis, port).settings(),
            seconds=seconds,
            json_file=json_file,
            traffic=CatalogueDemoTraffic if catalogue else DemoTraffic,
        )
    )
