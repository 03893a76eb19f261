"""`freshrank keys`: make, list and revoke the API keys of the endpoint."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from freshrank.actors.errors import ConfigError
from freshrank.deploy.commands.options import Config

if TYPE_CHECKING:
    from freshrank.serve.settings import ServeSettings

# What a command needs is imported when it runs, as in `cli`.

keys_app = typer.Typer(
    no_args_is_help=True,
    help="""Make, list and revoke the API keys that requests need beyond loopback.

A request names its key in the header `Authorization: Bearer <key>`. Only hashes of keys are kept,
in `serve.keys_file` (`.freshrank/keys.json`); running replicas notice a change within seconds.
""",
)

_SCOPES = ("score", "events", "metrics")


@keys_app.command()
def create(
    scope: Annotated[
        list[str],
        typer.Option(
            help="What the key allows: `score` (scores, features), `events` (writing events), "
            "`metrics` (metrics, statuses). May be given several times."
        ),
    ],
    name: Annotated[str, typer.Option(help="Who uses the key, for the list.")] = "",
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Requests a second that it may send; beyond it they get 429. Each replica lets "
            "an equal share through. As many as come unless it is given.",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Make a key and print it, once: it is kept nowhere.

    freshrank keys create --scope score --scope events --name web-shop --rate 500
    """
    from freshrank.serve.access.api_keys import (  # noqa: PLC0415
        Scope,
        create_key,
        key_record,
        read_keys,
        write_keys,
    )

    for one in scope:
        if one not in _SCOPES:
            raise ConfigError("--scope", f"{one!r} is no scope", f"Take {', '.join(_SCOPES)}.")
    path = _settings(config).keys_file
    text = create_key()
    now_ms = time.time_ns() // 1_000_000
    record = key_record(text, name, [Scope(one) for one in scope], now_ms, rate_per_s=rate)
    write_keys(path, [*read_keys(path), record])
    typer.echo(text)
    typer.echo(f"key {record.id}, scopes {', '.join(sorted(scope))}, in {path}", err=True)


@keys_app.command("list")
def list_keys(config: Config = None) -> None:
    """Show all keys: id, name, scopes, rate, and when each was made."""
    from freshrank.serve.access.api_keys import read_keys  # noqa: PLC0415

    table = Table("id", "name", "scopes", "rate", "created")
    for key in read_keys(_settings(config).keys_file):
        created = datetime.fromtimestamp(key.created_ms / 1_000, UTC)
        scopes = ", ".join(sorted(one.value for one in key.scopes))
        rate = "" if key.rate_per_s is None else f"{key.rate_per_s:g}/s"
        table.add_row(key.id, key.name, scopes, rate, f"{created:%Y-%m-%d %H:%M} UTC")
    Console().print(table)


@keys_app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `freshrank keys list` shows it.")],
    config: Config = None,
) -> None:
    """Remove a key: running replicas refuse it within seconds."""
    from freshrank.serve.access.api_keys import read_keys, write_keys  # noqa: PLC0415

    path: Path = _settings(config).keys_file
    keys = read_keys(path)
    kept = [key for key in keys if key.id != key_id]
    if len(kept) == len(keys):
        raise ConfigError(
            f"key {key_id!r}", f"there is none in {path}", "`freshrank keys list` shows them."
        )
    write_keys(path, kept)


def _settings(config: Path | None) -> ServeSettings:
    from freshrank.deploy.commands.running.run_request import CliOverrides  # noqa: PLC0415

    return CliOverrides().settings(config).serve
