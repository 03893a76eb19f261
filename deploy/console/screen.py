"""What a person sees of a running system: progress, a live table, a summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from freshrank.deploy.console.status_table import status_line, status_table, summary_table
from freshrank.deploy.console.system_metrics import Figures

# Seconds between two lines where there is no terminal to redraw: a log should stay readable.
_LINE_EVERY_S = 5.0


class Screen:
    """One run on one console; plain lines where that is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live: Live | None = None
        self._last_line = -_LINE_EVERY_S

    def elapsed_s(self) -> float:
        """Since the command was given."""
        return time.monotonic() - self._began

    def say(self, line: str) -> None:
        """One line of progress."""
        self._print(line, "")

    def warn(self, line: str) -> None:
        """One line of what a person should look at."""
        self._print(line, "bold yellow")

    @contextlib.contextmanager
    def table(self) -> Iterator[None]:
        """While it is open, `show` draws."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield
        self._live = None

    def show(self, title: str, figures: Figures) -> None:
        """Draw the figures of now, or write a line when it is time."""
        if self._live is not None:
            self._live.update(status_table(title, figures), refresh=True)
        elif figures.elapsed_s - self._last_line >= _LINE_EVERY_S:
            self._last_line = figures.elapsed_s
            self._console.print(status_line(figures), markup=False, highlight=False, soft_wrap=True)

    def _print(self, line: str, style: str) -> None:
        # At once: between two prints the table would be drawn.
        told = Text.assemble((f"{self.elapsed_s():6.1f} s  ", "dim"), (line, style))
        self._console.print(told, soft_wrap=True)

    def summary(self, figures: Figures) -> None:
        """What has come of it."""
        self._console.print(summary_table(figures))
