"""What the commands that read a history show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.status import Status

from freshrank.deploy.history.arrivals import HistoryTally


def shown(status: Status) -> Callable[[HistoryTally, int], None]:
    """Show how much was read, and the time in ms that was reached."""

    def show(tally: HistoryTally, time_ms: int) -> None:
        reached = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(" ", "seconds")
        status.update(f"{tally.records:,} records, up to {reached}")

    return show


def read_of(status: Status, partitions: int) -> Callable[[int, int, int], None]:
    """Show how much was read of each of so many partitions of a log."""

    def show(partition: int, read: int, of: int) -> None:
        place = f"partition {partition + 1} of {partitions}"
        status.update(f"{place}: {read:,} of {of:,} records")

    return show


def say(console: Console, remarks: Iterable[str], result: str) -> None:
    """Say what the user should know of what was read, and the result."""
    for remark in remarks:
        console.print(f"warning: {remark}", markup=False, highlight=False, soft_wrap=True)
    console.print(result, markup=False, highlight=False, soft_wrap=True)
