"""What the user asked for: a pipeline, its settings, and how long to run it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pydantic import SecretStr

from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.serve.access.api_keys import create_key
from freshrank.serve.access.certificate import trusting

if TYPE_CHECKING:  # neither is needed before Ray has been started
    from freshrank.deploy.console.system_metrics import Requests
    from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

# The reference copy of the weights is frozen after this share of the run, or after this many
# seconds if that is less: the live model has learned something by then, and most of the run is
# left to compare the two.
_FREEZE_SHARE = 0.2
_FREEZE_AFTER_S = 60.0


class Traffic(Protocol):
    """Generated events and score requests for a running system."""

    first_score: asyncio.Event
    """Set when the endpoint has answered a score request for the first time."""

    async def run(self) -> None:
        """Generate until cancelled. Raises Unavailable when the broker accepts no more events."""
        ...

    def requests(self) -> Requests:
        """Count the score requests so far, and the latencies of the latest."""
        ...


MakeTraffic: TypeAlias = Callable[["KafkaSink", str, KeepAliveClient], Traffic]
"""Takes a sink that has not been started, the topic of the events and a client of the endpoint."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the user asked for: a pipeline, its settings, how long, and where the summary goes."""

    file: PipelineFile
    settings: Settings
    address: str | None = None
    """Of a Ray cluster; None: start Ray on this machine, for this run alone."""
    seconds: float | None = None
    """How long to run once the endpoint is up; None: until the user stops it."""
    json_file: Path | None = None
    """The summary is written to it."""
    traffic: MakeTraffic | None = None
    """Makes the traffic of a demo; None: the events come from outside."""
    reread: Callable[[], tuple[PipelineFile, Settings]] | None = None
    """Reads the pipeline's file and the settings again, for an update; None: they stay."""

    @property
    def freeze_after_s(self) -> float:
        """Seconds from the moment that the endpoint is up until the reference copy is frozen."""
        if self.seconds is None:
            return _FREEZE_AFTER_S
        return min(self.seconds * _FREEZE_SHARE, _FREEZE_AFTER_S)

    @property
    def beside_rest(self) -> str:
        """Where else the endpoint answers, for a line about its address."""
        serve = self.settings.serve
        return "" if serve.grpc_port is None else f" (gRPC: {serve.host}:{serve.grpc_port})"

    def completed(self) -> RunRequest:
        """Choose a free port where any will do (port 0), and an API key for this run itself."""
        serve = self.settings.serve
        chosen: dict[str, object] = {}
        if serve.port == 0:  # HAProxy has to be given a number
            chosen["port"] = free_port()
        if serve.grpc_port == 0:  # the same for all replicas
            chosen["grpc_port"] = free_port()
        if serve.api_key is None:
            chosen["api_key"] = SecretStr(create_key())
        changed = serve.model_copy(update=chosen)
        return replace(self, settings=self.settings.model_copy(update={"serve": changed}))

    def read_again(self) -> tuple[PipelineFile, Settings]:
        """The pipeline's file and the settings as they are now. Raises ConfigError."""
        return (self.file, self.settings) if self.reread is None else self.reread()

    def client(self) -> KeepAliveClient:
        """Make a client of the endpoint, which is not connected yet."""
        serve = self.settings.serve
        key = None if serve.api_key is None else serve.api_key.get_secret_value()
        certificate = serve.tls_certificate_file
        # Read for each connection: it may have been renewed.
        tls = None if certificate is None else partial(trusting, certificate)
        return KeepAliveClient(serve.host, serve.port, key=key, tls=tls)


@dataclass(frozen=True, slots=True)
class CliOverrides:
    """Settings that have a command-line option, which overrides all else; None: not given."""

    kafka: str | None = None
    redis: str | None = None
    port: int | None = None
    insecure: bool = False
    kafka_port: int | None = None

    def settings(self, config: Path | None = None) -> Settings:
        """Read the settings: defaults < file < environment < these. Raises ConfigError."""
        options = {
            "FRESHRANK_KAFKA__BOOTSTRAP": self.kafka,
            "FRESHRANK_KAFKA__PORT": self.kafka_port,
            "FRESHRANK_REDIS__URL": self.redis,
            "FRESHRANK_SERVE__PORT": self.port,
            "FRESHRANK_SERVE__INSECURE": "true" if self.insecure else None,
        }
        given = {name: str(value) for name, value in options.items() if value is not None}
        settings = load_settings(config, {**os.environ, **given})
        settings.kafka.check_started_here()
        return settings
