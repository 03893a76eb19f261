"""From what was typed to what is run: files read, settings merged, Ray's environment set."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.processes import free_port

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
class CliOverrides:
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


def user_run(file: Path, config: Path | None, address: str | None, typed: CliOverrides) -> Run:
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
