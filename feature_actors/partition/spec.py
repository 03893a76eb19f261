"""TODO-DOC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what is kept of each partition."""

    entities: int
    """Beyond it, those without events for longest are dropped."""
    event_ids: int
    """Beyond it, the oldest are forgotten before `Stream.dedup_within` has passed."""


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """What is computed of each partition: a pipeline's definitions, compiled."""

    stream: Stream
    plan: FeaturePlan
    encoder: InputEncoder
    label: Joined | Labelled | None
    """None: features only, nothing is learned."""
    topics: tuple[str, ...]
    """The behaviour topic; then, with `Joined`, that of the impressions."""
    fingerprint: str
    """Of all definitions: snapshots of others are refused."""
    row_key: Callable[[str], bytes]
    """The online store's key of an entity."""
    bounds: Bounds
