"""From the records of what was served to shown items: decoded, in the columns of now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import Impression, ServedRows, decode_impression, served_rows
from freshrank.actors.inputs.cleaning import filled
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.messages import Floats, InputLayout, Inputs, Ints
from freshrank.actors.messages.kept_layout import KeptLayout, LayoutChange
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.examples import RANK_BITS


class _OtherLayout(BadRecord):
    """An impression was served with inputs of which this state does not know the columns."""


@dataclass(frozen=True, slots=True)
class ShownItems:
    """The ``n`` items of an impression."""

    place: int
    """Of its record in the batch."""
    entity: int
    name: str
    """Of the entity."""
    keys: Ints
    """int64[n]: the join keys."""
    at_ms: int
    """When they were served, by the replica's clock, in milliseconds since the Unix epoch."""
    order: Ints
    """int64[n]: their places in the log."""
    inputs: Inputs
    scores: Floats
    """float32[n]: the predictions that were served; NaN where they are not known."""
    outage: bool
    """Whether they were scored without a row that could not be read (`Impression.outage`)."""
    repeats: int
    """The id that repeated impressions share; 0 where none are expected (`Impression.once`)."""
    carried: bool
    """Whether they were served with the columns of a layout of before."""


class ImpressionDecoder:
    """Decodes impressions of the layout of `encoder`, and of layouts of before.

    Of one of before those inputs are kept that are the same; what it lacks is missing.

    Parameters
    ----------
    encoder
        Of now.
    former
        By fingerprint: the layouts of before. May grow.
    """

    def __init__(self, encoder: InputEncoder, former: Mapping[str, KeptLayout]) -> None:
        self._encoder = encoder
        self._former = former
        self._changes: dict[str, LayoutChange] = {}
        """By fingerprint, of layouts of which impressions have come."""

    def decode(self, batch: RecordBatch) -> tuple[list[ShownItems], list[RejectedRecord]]:
        """The impressions of a batch that can be used, in log order, the others with reasons."""
        found: list[ShownItems] = []
        rejected: list[RejectedRecord] = []
        records = zip(batch.values, batch.offsets.tolist(), strict=True)
        for place, (value, offset) in enumerate(records):
            try:
                found.append(self._shown_items(value, offset, place))
            except _OtherLayout as error:
                rejected.append(batch.rejected(place, error.reason, RejectKind.OTHER_LAYOUT))
            except BadRecord as error:
                rejected.append(batch.rejected(place, error.reason))
        return found, rejected

    def _shown_items(self, value: bytes | None, offset: int, place: int) -> ShownItems:
        if value is None:
            raise BadRecord("a tombstone (no value)")
        impression = decode_impression(value)
        keys, inputs, scores = self._rows(impression)
        if len(keys) >= 1 << RANK_BITS:
            raise BadRecord(f"{len(keys)} items shown at once")
        if not _are_numbers(inputs.dense, self._encoder.layout):
            raise BadRecord("inputs that are not finite")
        if impression.scores and not np.isfinite(scores).all():
            raise BadRecord("scores that are not finite")
        return ShownItems(
            place,
            hash_text(impression.entity),
            impression.entity,
            keys,
            impression.at_ms,
            (offset << RANK_BITS) + np.arange(len(keys), dtype=np.int64),
            inputs,
            scores,
            impression.outage,
            repeats=hash_text(impression.request_id) if impression.once else 0,
            carried=impression.layout != self._encoder.fingerprint,
        )

    def _rows(self, impression: Impression) -> ServedRows:
        """What was scored, in the columns of now."""
        layout = self._encoder.layout
        if impression.layout == self._encoder.fingerprint:
            return served_rows(impression, len(layout.dense), layout.id_width)
        change = self._change_from(impression.layout)
        found = served_rows(impression, *change.widths)
        return found._replace(inputs=change.inputs(found.inputs))

    def _change_from(self, fingerprint: str) -> LayoutChange:
        if fingerprint not in self._changes:
            before = self._former.get(fingerprint)
            if before is None:
                now = self._encoder.fingerprint
                raise _OtherLayout(f"rows of layout {fingerprint}, which is not {now}")
            self._changes[fingerprint] = LayoutChange(before, self._encoder.layout)
        return self._changes[fingerprint]


def _are_numbers(dense: Floats, layout: InputLayout) -> bool:
    """Whether all are finite, or NaN for a number that is missing and that the learner fills."""
    fit = np.isfinite(dense)
    if not fit.all():
        told = filled(layout.cleaning)
        fit |= np.isnan(dense) & np.array([name in told for name in layout.dense], np.bool_)
    return bool(fit.all())
