"""Whether reading gets on: partitions of which nothing is read, and topics that end too early."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.errors import ProgressError
from freshrank.feature_actors.partition.partition import PartitionState

# Seconds without a record read, while some wait, after which a partition counts as stalled. A busy
# machine may take seconds for a fetch.
STALLED_S = 10.0


class ProgressWatch:
    """Compares the offsets of now with those of before, where records wait.

    >>> watch = ProgressWatch()
    >>> watch.update({("plays", 3): 7}, {("plays", 3): 2}, (), now_s=100.0)
    >>> watch.stalled
    {}
    >>> watch.update({("plays", 3): 7}, {("plays", 3): 5}, (), now_s=112.0)
    >>> watch.stalled
    {'plays-3': '5 record(s) wait at offset 7, and none has been read for 12 s'}
    """

    def __init__(self, alerts: AlertSink | None = None) -> None:
        self.stalled: dict[str, str] = {}
        """By ``topic-partition``: what is the matter."""
        self._alerts = alerts
        self._last: dict[tuple[str, int], tuple[int, float]] = {}

    def update(
        self,
        offsets: Mapping[tuple[str, int], int],
        lag: Mapping[tuple[str, int], int],
        waiting: Collection[tuple[str, int]],
        now_s: float,
    ) -> None:
        """Take the next offset and the lag of each (topic, partition).

        Those in `waiting` are not read on purpose. A partition that becomes stalled is an alert.
        """
        before, self.stalled = self.stalled, {}
        for place, offset in offsets.items():
            seen, since_s = self._last.get(place, (offset, now_s))
            idle = lag.get(place, 0) == 0 or place in waiting
            if idle or offset != seen:
                seen, since_s = offset, now_s
            self._last[place] = seen, since_s
            if now_s - since_s >= STALLED_S:
                topic, partition = place
                self.stalled[f"{topic}-{partition}"] = (
                    f"{lag[place]} record(s) wait at offset {offset}, "
                    f"and none has been read for {now_s - since_s:.0f} s"
                )
        if self._alerts is not None:
            for name in self.stalled.keys() - before.keys():
                message = f"{name}: {self.stalled[name]}"
                self._alerts.emit(AlertKind.STALLED, Severity.ERROR, message)


def check_ends(states: Mapping[int, PartitionState], lag: Mapping[tuple[str, int], int]) -> None:
    """Raise ProgressError where a topic ends before what the learner has applied of it."""
    for partition, state in states.items():
        for topic, wanted in state.example_queue.replay_target.items():
            at = state.offsets[topic]
            if at < wanted and lag[topic, partition] == 0:
                raise ProgressError(
                    f"{topic}-{partition} ends at {at}, but the learner has applied up to "
                    f"{wanted}: the topic was created again, or that state is of another topic"
                )
