"""The console of a run: lines of progress, a live table of metrics, a summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from freshrank.deploy.console.status_table import status_line, status_table, summary_table
from freshrank.deploy.console.system_metrics import SystemMetrics

# Seconds between two lines of metrics where there is no terminal: a log should stay readable. Of a
# run in which nothing happens it has fewer.
_LINE_EVERY_S, _IDLE_LINE_EVERY_S = 5.0, 60.0


class Screen:
    """The output of one run on one console; plain lines where that is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live: Live | None = None
        self._last_line = -_IDLE_LINE_EVERY_S
        self._last_counts: tuple[object, ...] = ()

    def elapsed_s(self) -> float:
        """Return the seconds since the command was given."""
        return time.monotonic() - self._began

    def log(self, line: str) -> None:
        """Print a line of progress."""
        self._print(line, "")

    def warn(self, line: str) -> None:
        """Print a line that a person should look at."""
        self._print(line, "bold yellow")

    @contextlib.contextmanager
    def table(self) -> Iterator[None]:
        """Open the live table, which `show` draws; it disappears when the block ends."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield
        self._live = None

    def show(self, title: str, metrics: SystemMetrics) -> None:
        """Draw the present metrics, or print a line of them when one is due."""
        if self._live is not None:
            self._live.update(status_table(title, metrics), refresh=True)
            return
        counts = metrics.events, metrics.lag, metrics.version, metrics.asked
        every_s = _IDLE_LINE_EVERY_S if counts == self._last_counts else _LINE_EVERY_S
        if metrics.elapsed_s - self._last_line >= every_s:
            self._last_line, self._last_counts = metrics.elapsed_s, counts
            self._console.print(status_line(metrics), markup=False, highlight=False, soft_wrap=True)

    def summary(self, metrics: SystemMetrics) -> None:
        """Print the metrics of the whole run."""
        self._console.print(summary_table(metrics))

    def _print(self, line: str, style: str) -> None:
        # In one call: between two, the table would be drawn.
        text = Text.assemble((f"{self.elapsed_s():6.1f} s  ", "dim"), (line, style))
        self._console.print(text, soft_wrap=True)
