"""What a partition computes and keeps: a pipeline's definitions, compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan


@dataclass(frozen=True, slots=True)
class TableBounds:
    """How much each table of a partition keeps."""

    entities: int
    """Beyond it, the entities without events for longest are dropped."""
    event_ids: int
    """Beyond it, the oldest ids are forgotten before `Stream.dedup_within` has passed."""


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """The definitions of a pipeline, as a partition needs them."""

    plan: FeaturePlan
    """Its tables are filled from one stream each; label and context refer to the first."""
    encoder: InputEncoder
    label: Joined | Labelled | None
    """None: features only, nothing is learned."""
    impressions_topic: str | None
    """With `Joined`: where replicas log what they served."""
    fingerprint: str
    """Of all definitions: snapshots made for others are refused."""
    row_key: Callable[[TablePlan, str], bytes]
    """The online store's key of an entity's row of a table."""
    bounds: TableBounds

    @property
    def stream(self) -> Stream:
        """The stream that label and context refer to."""
        return self.plan.tables[0].source

    @property
    def topics(self) -> tuple[str, ...]:
        """The source topics: those of the streams, then that of the impressions."""
        streams = tuple(table.source.topic for table in self.plan.tables)
        return streams if self.impressions_topic is None else (*streams, self.impressions_topic)
