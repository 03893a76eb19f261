"""Whether the topics are still those that the state was made of."""

from __future__ import annotations

from collections.abc import Mapping

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.records import RecordBatch, TopicIdentity
from freshrank.feature_actors.partition.partition import PartitionState

# Seconds between two questions for the identities of the topics.
WATCH_S = 2.0

_FIX = "its records are read no more; stop the run and see docs/state.md"


class LogWatch:
    """Notices a topic that was deleted, created again, or given other partitions while it is read.

    What has been noticed stays: a state that is partly of another log is of no use, and the next
    start decides (see `StateFolder.check_log`).

    >>> watch = LogWatch({"plays": TopicIdentity("a", 2)})
    >>> watch.compare({"plays": TopicIdentity("b", 2)})
    >>> watch.changed["plays"].split("; ")[0]
    'the topic was created again'
    """

    def __init__(
        self, identities: Mapping[str, TopicIdentity], alerts: AlertSink | None = None
    ) -> None:
        self.changed: dict[str, str] = {}
        """By topic: what has happened to it."""
        self._begun = identities
        self._alerts = alerts

    def compare(self, identities: Mapping[str, TopicIdentity]) -> None:
        """Compare the identities of now with those of the start."""
        for topic, before in self._begun.items():
            now = identities.get(topic)
            if now is None:
                self._note(topic, "the topic was deleted")
            elif now.id != before.id:
                self._note(topic, "the topic was created again")
            elif now.partitions != before.partitions:
                self._note(
                    topic,
                    f"it has {now.partitions} partitions and had {before.partitions}, "
                    "so that keys have moved to other partitions",
                )

    def check_order(self, batch: RecordBatch, state: PartitionState) -> None:
        """Notice a batch that begins before what has been read: offsets of a log never go back."""
        first, expected = int(batch.offsets[0]), state.offsets[batch.topic]
        if first < expected:
            self._note(
                batch.topic,
                f"partition {batch.partition} gave offset {first} after {expected - 1}: "
                "the topic was created again",
            )

    def _note(self, topic: str, what: str) -> None:
        if topic in self.changed:
            return
        self.changed[topic] = f"{what}; {_FIX}"
        if self._alerts is not None:
            message = f"topic {topic!r}: {self.changed[topic]}"
            self._alerts.emit(AlertKind.LOG_CHANGED, Severity.ERROR, message)
