"""`freshrank demo`: the bundled pipeline under generated shopping traffic."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import typer

from freshrank.deploy.commands.options import Json, Kafka, Port, Redis, Seconds

if TYPE_CHECKING:
    from freshrank.deploy.config.settings import Settings

MOST_ENTITIES = 50_000
"""In a partition, of shoppers and of items, in a demo with a catalogue."""


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
    from freshrank.deploy.commands.running.run_request import CliOverrides, RunRequest  # noqa: PLC0415
    from freshrank.deploy.commands.running.start import start  # noqa: PLC0415
    from freshrank.deploy.pipelines.pipeline_file import PipelineFile  # noqa: PLC0415
    from freshrank.examples.shop.demo_traffic import (  # noqa: PLC0415
        CatalogueDemoTraffic,
        DemoTraffic,
    )

    name = "catalogue.py" if catalogue else "recommend.py"
    text = files("freshrank.examples").joinpath(name).read_text(encoding="utf-8")
    settings = CliOverrides(kafka, redis, port).settings()
    if catalogue:
        settings = _with_room_for_items(settings)
    start(
        RunRequest(
            file=PipelineFile(f"examples/{name}", text),
            settings=settings,
            seconds=seconds,
            json_file=json_file,
            traffic=CatalogueDemoTraffic if catalogue else DemoTraffic,
        )
    )


def _with_room_for_items(settings: Settings) -> Settings:
    """The settings of a demo with a catalogue, whose rows have to fit into a laptop, too."""
    most = min(settings.shards.max_entities_per_partition, MOST_ENTITIES)
    shards = settings.shards.model_copy(update={"max_entities_per_partition": most})
    return settings.model_copy(update={"shards": shards})
