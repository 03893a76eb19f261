"""The definitions and settings of a partition's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freshrank.actors.messages import Ids
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.encoding.input_ids import plain_ids
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """The definitions of one entity's features, compiled, and the settings of the shards."""

    plan: FeaturePlan
    """Its tables are filled from one topic each; label and context refer to the first."""
    encoder: InputEncoder
    label: Joined | Labelled | None
    """None: features only, nothing is learned."""
    impressions_topic: str | None
    """With `Joined`: where replicas log what they served."""
    made_for: MadeFor
    """All definitions: snapshots that do not carry over to them are refused."""
    settings: ShardSettings
    first_claim: int = 0
    """The online store's number of partition 0: the partitions of each entity have their own."""
    beside: Sequence[TablePlan] = ()
    """With `Labelled`: of other entities that the first stream names, whose rows its examples have,
    too. They are of the events of this partition."""
    state: str = ""
    """Its origin: copies of re-keyed records that are made for another state do not count."""

    @property
    def negatives_kept(self) -> float:
        """The share of the negatives that is learned from."""
        return 1.0 if self.label is None else self.label.negatives_kept

    @property
    def stream(self) -> Stream:
        """The stream that label and context refer to."""
        return self.plan.tables[0].source

    def identity_ids(self, entities: Sequence[str]) -> Ids:
        """The ids that stand for `entities` in the model's inputs; none where nothing is learned.

        Those of crosses with another field are not among them: nothing lists the other sides.
        """
        if self.label is None or not entities:
            return ()
        key = self.stream.key.key
        ids = entity_ids(self.stream.fields[key], list(dict.fromkeys(entities)))
        return tuple(plain_ids(key, ids).tolist())

    @property
    def kept_topics(self) -> tuple[str, ...]:
        """The topics of streams that are no copies, and so keep events for as long as is set."""
        return tuple(one.source.topic for one in self.plan.tables if not one.source.rekeyed)

    @property
    def topics(self) -> tuple[str, ...]:
        """The source topics: those of the streams, then that of the impressions."""
        streams = tuple(plan.source.log_topic for plan in self.plan.row_plans)
        return streams if self.impressions_topic is None else (*streams, self.impressions_topic)
