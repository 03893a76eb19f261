"""TODO-DOC."""

from __future__ import annotations

from importlib.resources import files

from freshrank.deploy.commands.run_options import CliOverrides, Run
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile


def demo_run(typed: CliOverrides) -> Run:
    """The bundled pipeline under generated traffic."""
    settings = Settings.load(None, typed.environment())
    example = files("freshrank.examples").joinpath("recommend.py")
    file = PipelineFile("examples/recommend.py", example.read_text(encoding="utf-8"))
    return Run(file, settings, demo=True)
