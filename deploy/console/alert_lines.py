"""The alerts of a running system as lines for the console, each alert once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from freshrank.actors.protocols import JsonValue, Status

# Number of shown alerts that are remembered after no status contains them any more: an alert comes
# back when its part did not answer for a while, and is not shown again.
_REMEMBERED = 1_000


class _PostedAlert(msgspec.Struct, frozen=True, order=True):
    """An alert as a status contains it."""

    at_ms: int
    part: str
    kind: str
    message: str


class AlertLines:
    """Finds the new alerts among those that the parts post in their statuses."""

    def __init__(self) -> None:
        # In the order in which they were shown.
        self._shown: dict[_PostedAlert, None] = {}

    def new(self, statuses: Mapping[str, Status]) -> list[str]:
        """Return a line for each alert that has not been returned yet, the oldest first.

        >>> alert = {"part": "shard-0", "kind": "not_saved", "message": "no space", "at_ms": 1}
        >>> statuses = {"shard-0": {"alerts": {"newest": [alert]}}}
        >>> lines = AlertLines()
        >>> lines.new(statuses), lines.new(statuses)
        (['alert of shard-0: not saved: no space'], [])
        """
        posted = {alert for status in statuses.values() for alert in _newest(status)}
        new = sorted(posted - self._shown.keys())
        self._shown |= dict.fromkeys(new)
        for alert in [alert for alert in self._shown if alert not in posted][:-_REMEMBERED]:
            del self._shown[alert]
        return [
            f"alert of {alert.part}: {alert.kind.replace('_', ' ')}: {alert.message}"
            for alert in new
        ]


def _newest(status: Status) -> list[_PostedAlert]:
    alerts = status.get("alerts")
    newest: JsonValue = alerts.get("newest") if isinstance(alerts, Mapping) else None
    return [] if newest is None else msgspec.convert(newest, list[_PostedAlert])
