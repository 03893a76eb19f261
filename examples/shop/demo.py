"""`freshrank demo`: the bundled pipeline under generated shopping traffic."""

from __future__ import annotations

from importlib.resources import files

from freshrank.deploy.commands.options import Json, Kafka, Port, Redis, Seconds


def demo(
    seconds: Seconds = None,
    json_file: Json = None,
    kafka: Kafka = "embedded",
    redis: Redis = "embedded",
    port: Port = 8000,
) -> None:
    """Run the bundled pipeline on generated shopping traffic, everything on this machine.

    Tastes drift while it runs; watch the live model stay ahead of its frozen copy.

        freshrank demo

        freshrank demo --seconds 120 --json demo.json

        freshrank demo --kafka apache
    """
    # Imported when it runs, so that `freshrank --help` answers at once.
    from freshrank.deploy.commands.run_request import CliOverrides, RunRequest  # noqa: PLC0415
    from freshrank.deploy.commands.start import start  # noqa: PLC0415
    from freshrank.deploy.pipelines.pipeline_file import PipelineFile  # noqa: PLC0415
    from freshrank.examples.shop.demo_traffic import DemoTraffic  # noqa: PLC0415

    text = files("freshrank.examples").joinpath("recommend.py").read_text(encoding="utf-8")
    start(
        RunRequest(
            file=PipelineFile("examples/recommend.py", text),
            settings=CliOverrides(kafka, redis, port).settings(),
            seconds=seconds,
            json_file=json_file,
            traffic=DemoTraffic,
        )
    )
