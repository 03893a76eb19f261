"""From what was typed to what is run: files read, settings merged, Ray's environment set."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from freshrank.deploy import ray_environment
from freshrank.deploy.pipeline_file import PipelineFile
from freshrank.deploy.processes import check_port, free_port
from freshrank.deploy.settings import Settings

# The frozen copy is taken after this share of the run, or after so many seconds if that is less:
# the live model has learned something by then, and most of the run is left to compare over.
_FREEZE_SHARE = 0.2
_FREEZE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for."""

    file: PipelineFile
    settings: Settings
    address: str | None = None
    """Of a Ray cluster; None: one of this run's own, on this machine."""
    seconds: float | None = None
    """To run once all is up; None: until it is stopped."""
    json_file: Path | None = None
    """Takes the summary."""
    demo: bool = False
    """Whether generated shoppers make the traffic."""

    @property
    def freeze_after_s(self) -> float:
        """When the frozen copy is taken, from the moment that all is up."""
        if self.seconds is None:
            return _FREEZE_AFTER_S
        return min(self.seconds * _FREEZE_SHARE, _FREEZE_AFTER_S)


@dataclass(frozen=True, slots=True)
class Typed:
    """Settings that have an option of their own, which wins over all else; None: not typed."""

    kafka: str | None = None
    redis: str | None = None
    port: int | None = None

    def environment(self) -> dict[str, str]:
        """The environment's variables, and these in their words."""
        typed = {
            "FRESHRANK_KAFKA__BOOTSTRAP": self.kafka,
            "FRESHRANK_REDIS__URL": self.redis,
            "FRESHRANK_SERVE__PORT": self.port,
        }
        given = {name: str(value) for name, value in typed.items() if value is not None}
        return {**os.environ, **given}


def demo_run(typed: Typed) -> Run:
    """The bundled pipeline under generated traffic."""
    settings = Settings.load(None, typed.environment())
    example = files("freshrank.examples").joinpath("recommend.py")
    file = PipelineFile("examples/recommend.py", example.read_text(encoding="utf-8"))
    return Run(file, settings, demo=True)


def user_run(file: Path, config: Path | None, address: str | None, typed: Typed) -> Run:
    """A pipeline of the user's own."""
    settings = Settings.load(config, typed.environment())
    return Run(PipelineFile.read(file), settings, address)


def on_a_port(run: Run) -> Run:
    """Settle which port it is where any will do: HAProxy has to be told one."""
    serve = run.settings.serve
    if serve.port != 0:
        return run
    settled = serve.model_copy(update={"port": free_port()})
    return replace(run, settings=run.settings.model_copy(update={"serve": settled}))


def start(run: Run) -> None:
    """Run it; comes back when all of it is stopped."""
    # What may be wrong here is told before what takes seconds is loaded.
    if run.address is None:
        check_port(run.settings.serve.host, run.settings.serve.port)
    pipeline = run.file.load()
    if not run.demo:
        Console().print(pipeline.describe(), markup=False, highlight=False, soft_wrap=True)
    ray_environment.prepare(run.address)
    # Ray reads its environment when it is imported: not before this line.
    from freshrank.deploy.live import run_live  # noqa: PLC0415

    run_live(run)
