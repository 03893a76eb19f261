"""The policy of pauses: the topics of a partition whose reading has to wait."""

from __future__ import annotations

from freshrank.feature_actors.partition.partition import PartitionState

# Bounds of a partition before reading waits. Rows of 500 bytes are usual.
MAX_PENDING_ITEMS = 200_000
"""Shown items whose label is not known."""
MAX_LABEL_EVENTS = 1_000_000
"""Events that could label items whose impressions have not been read (32 bytes each)."""


def waiting_topics(state: PartitionState, impressions_lag: int) -> frozenset[str]:
    """The topics of `state` that must not be read for now.

    Each wait ends by itself: examples leave as the learner makes them durable; pending items as the
    events go on, which is why these never wait while the items are too many; label events as the
    impressions that are still unread (`impressions_lag` of them) are read. Streams that no label
    refers to give no examples, and wait for nothing but a stop.
    """
    spec = state.spec
    events, shown = spec.topics[0], spec.impressions_topic
    waiting = {topic for topic in spec.topics if state.stopped(topic)}
    full = state.example_queue.examples >= spec.settings.outbox_max_examples
    # Examples that are read again have to be kept, and cannot be pushed before the replay ends.
    if full and not state.replaying:
        waiting |= {events} if shown is None else {events, shown}
    elif state.joiner is not None and shown is not None:
        # A topic waits for the other only while that may be read: else both would wait for ever.
        if state.joiner.pending >= MAX_PENDING_ITEMS and not state.stopped(events):
            waiting.add(shown)
        elif state.joiner.labels >= MAX_LABEL_EVENTS and not state.stopped(shown):
            waiting |= {events} if impressions_lag > 0 else set()
    return frozenset(waiting)
