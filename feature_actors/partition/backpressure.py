"""Which topics of a partition have to wait: a policy, which does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.feature_actors.partition.partition import PartitionState


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a partition may hold before it waits. Rows of 500 bytes are usual."""

    outbox_examples: int = 200_000
    """Examples that the learner has not made durable."""
    pending_items: int = 200_000
    """Shown items whose label is not known."""
    label_events: int = 1_000_000
    """Events that could label items whose impressions have not been read (32 bytes each)."""


def waiting_topics(state: PartitionState, limits: Limits, impressions_lag: int) -> frozenset[str]:
    """The topics of `state` that are not to be read for now.

    It resolves by itself: examples leave as the learner makes them durable; pending items as the
    events go on, which is why these never wait while the items are too many; label events as the
    impressions that are still unread (`impressions_lag` of them) are read. Streams that no label
    refers to give no examples, and wait for nothing but a stop.
    """
    spec = state.spec
    events, shown = spec.stream.topic, spec.impressions_topic
    waiting = {topic for topic in spec.topics if state.stopped(topic)}
    # What is read again up to the learner's offsets has to be kept, and cannot be pushed before.
    if not state.replaying and state.example_queue.examples >= limits.outbox_examples:
        waiting |= {events} if shown is None else {events, shown}
    elif state.joiner is not None and shown is not None:
        # One waits for the other only while that may be read: else both would wait for ever.
        if state.joiner.pending >= limits.pending_items and not state.stopped(events):
            waiting.add(shown)
        elif state.joiner.labels >= limits.label_events and not state.stopped(shown):
            waiting |= {events} if impressions_lag > 0 else set()
    return frozenset(waiting)
