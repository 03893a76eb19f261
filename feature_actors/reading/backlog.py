"""How far a shard has come with its topics, and whether its broker answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freshrank.actors.protocols import JsonValue

# Seconds without an answer after which a broker counts as away, as it does for every other call.
AWAY_S = 10.0

Lag = Mapping[tuple[str, int], int]


@dataclass(slots=True)
class Backlog:
    """The records that were unread when a shard started, and how many of them it has read."""

    records: int = 0
    """Unread at the start; 0 once they are read."""
    read: int = 0
    """Read since the start."""

    def update(self, lag: int) -> None:
        """Note the present `lag`. At 0 all has been read: offsets may have gaps."""
        if lag == 0:
            self.records = 0

    def status(self) -> JsonValue:
        """Records read and unread at the start; None once it has caught up."""
        return {"done": self.read, "of": self.records} if self.read < self.records else None


def broker_error(fetch_age_s: float) -> dict[str, JsonValue]:
    """The entry of the health for a broker that does not answer; empty while it answers.

    >>> broker_error(0.02), broker_error(12.3)
    ({}, {'kafka': 'no fetch has been answered for 12 s'})
    """
    if fetch_age_s <= AWAY_S:
        return {}
    return {"kafka": f"no fetch has been answered for {fetch_age_s:.0f} s"}
