"""Commands that installed packages add to the command line.

A package names a function with Typer's annotations in the entry-point group
``freshrank.commands``::

    [project.entry-points."freshrank.commands"]
    demo = "freshrank.examples.shop.demo:demo"

Freshrank's own demo and benches come in this way too, so that `deploy` imports neither.
"""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from freshrank.actors.errors import ConfigError

GROUP = "freshrank.commands"


class CommandGroup(TyperGroup):
    """The built-in commands of an app, and those of plugins.

    Plugins are imported only when the help is shown, or a command is asked for that is not
    built in. A built-in command wins over a plugin of its name.
    """

    # `Any`: Typer moved the classes of its context and its commands from one package to another.

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, those of plugins first."""
        self._add_plugins()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command by its name; None when there is none."""
        if cmd_name not in self.commands:
            self._add_plugins()
        return super().get_command(ctx, cmd_name)

    def _add_plugins(self) -> None:
        plugins = importlib.metadata.entry_points(group=GROUP)
        added = {plugin.name: load(plugin) for plugin in plugins}
        self.commands = {**added, **self.commands}


def load(plugin: EntryPoint) -> Any:
    """Make a command of the function that `plugin` names.

    When that fails, the help of the command says why, and running it raises ConfigError.
    """
    try:
        function = plugin.load()
        return _command(plugin.name, function)
    except Exception as error:  # noqa: BLE001 - a foreign module may raise anything
        return _broken(plugin, f"{type(error).__name__}: {error}")


def _broken(plugin: EntryPoint, reason: str) -> Any:
    package = plugin.dist.name if plugin.dist else "the package that has it"

    def fail() -> NoReturn:
        raise ConfigError(
            f"command {plugin.name!r}",
            f"{plugin.value} cannot be loaded: {reason}",
            f"Install {package} again, or remove it.",
        )

    fail.__doc__ = f"(cannot be loaded: {reason})"
    return _command(plugin.name, fail)


def _command(name: str, function: Any) -> Any:
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.command(name)(function)
    return typer.main.get_command(app)
