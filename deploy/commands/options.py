"""Command-line options that several commands share, as annotations for Typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional, TypeAlias

import typer

# `Optional[X]`, not `X | None`: Typer evaluates annotations at run time.

Seconds: TypeAlias = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--seconds", help="Stop after this many seconds (default: at Ctrl-C).", min=1),
]
Json: TypeAlias = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--json", help="Also write the summary to this file."),
]
Config: TypeAlias = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--config", help="Settings in TOML; FRESHRANK_* variables override the file."),
]
Kafka: TypeAlias = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--kafka", help="`embedded` (in memory), `apache` (started here, kept) or `host:port`."
    ),
]
KafkaPort: TypeAlias = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--kafka-port",
        help="TCP port of `--kafka apache`; 0: that of its last start, or any.",
        min=0,
        max=65_535,
    ),
]
Redis: TypeAlias = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--redis", help="`embedded` (started here) or `redis://host:port/db`."),
]
Port: TypeAlias = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--port", help="TCP port of the REST endpoint and its page; 0: any.", min=0, max=65_535
    ),
]
Insecure: TypeAlias = Annotated[
    bool,
    typer.Option("--insecure", help="Ask for no API key, even where others reach the endpoint."),
]
