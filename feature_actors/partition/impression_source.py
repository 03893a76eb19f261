"""The impressions of a partition: decoded, and joined with the events that label them."""

from __future__ import annotations

from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.partition.labelling import (
    ShownItems,
    decode_impressions,
    join_impressions,
)
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement


class ImpressionSource:
    """The topic of what was served: its decoder, and the join that its records go into.

    What follows from the records does not depend on where batches end.
    """

    def __init__(
        self, encoder: InputEncoder, joiner: Joiner, counters: Counters, placement: Placement
    ) -> None:
        self._encoder = encoder
        self._joiner = joiner
        self._counters = counters
        self._placement = placement

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; gives the examples they complete."""
        decoded, undecodable = decode_impressions(self._encoder, batch)
        decoded, misplaced = self._without_misplaced(batch, decoded)
        # Their features say nothing of the user: a model must not learn that zeros are usual.
        shown = [items for items in decoded if not items.outage]
        outages = len(decoded) - len(shown)
        rows, late = join_impressions(self._joiner, shown, batch)
        rejected = undecodable + misplaced + late
        outcome.dead.extend(sorted(rejected, key=lambda record: record.offset))
        self._counters.impressions += len(batch.values) - len(rejected) - outages
        self._counters.impressions_outage += outages
        return [] if rows is None else [rows]

    def _without_misplaced(
        self, batch: RecordBatch, shown: list[ShownItems]
    ) -> tuple[list[ShownItems], list[RejectedRecord]]:
        """The impressions whose entities belong to this partition, and the records of the others.

        Their events are in another partition: their items would all become negative examples.
        """
        faults = {at.place: at for at in self._placement.faults([one.name for one in shown])}
        rejected = [
            batch.rejected(shown[at].place, fault.reason, RejectKind.IMPRESSION_MISPLACED)
            for at, fault in faults.items()
        ]
        return [one for at, one in enumerate(shown) if at not in faults], rejected
