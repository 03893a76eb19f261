"""The alerts of a running system, each once, as lines for whoever started it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from freshrank.actors.protocols import JsonValue, Status

# So many of those that no part names any more are remembered: one that comes back, because its
# part did not answer for a while, is not shown again.
_REMEMBERED = 1_000


class _Told(msgspec.Struct, frozen=True, order=True):
    """As a status names it."""

    at_ms: int
    part: str
    kind: str
    message: str


class AlertLines:
    """Finds what is new in the alerts that the parts name in their statuses."""

    def __init__(self) -> None:
        # In the order in which they were shown.
        self._shown: dict[_Told, None] = {}

    def new(self, statuses: Mapping[str, Status]) -> list[str]:
        """A line for each alert that has not been given yet, the oldest first.

        >>> told = {"part": "shard-0", "kind": "not_saved", "message": "no space", "at_ms": 1}
        >>> statuses = {"shard-0": {"alerts": {"newest": [told]}}}
        >>> lines = AlertLines()
        >>> lines.new(statuses), lines.new(statuses)
        (['alert of shard-0: not saved: no space'], [])
        """
        named = {one for status in statuses.values() for one in _newest(status)}
        new = sorted(named - self._shown.keys())
        self._shown |= dict.fromkeys(new)
        for one in [one for one in self._shown if one not in named][:-_REMEMBERED]:
            del self._shown[one]
        return [f"alert of {one.part}: {one.kind.replace('_', ' ')}: {one.message}" for one in new]


def _newest(status: Status) -> list[_Told]:
    alerts = status.get("alerts")
    newest: JsonValue = alerts.get("newest") if isinstance(alerts, Mapping) else None
    return [] if newest is None else msgspec.convert(newest, list[_Told])
