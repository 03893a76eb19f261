"""The items of one partition that were shown, as tables of rows once their labels are final."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import Impression, decode_impression
from freshrank.actors.records import RecordBatch
from freshrank.deploy.served.partition_join import PartitionJoin
from freshrank.deploy.served.row_columns import RowColumns, ShownList
from freshrank.feature_actors.labels.examples import LabelledRows, place_of

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are written at once.
PART_ROWS = 16_384


class ServedItems:
    """Takes what the join of a partition gives (`JoinedRows`), and writes rows in parts.

    Parameters
    ----------
    join
        Of the partition.
    columns
        Make tables of lists.
    write
        Takes each part.
    """

    def __init__(
        self, join: PartitionJoin, columns: RowColumns, write: Callable[[pa.RecordBatch], None]
    ) -> None:
        self._join, self._columns, self._write = join, columns, write
        self._noted: dict[int, Impression] = {}
        """By offset: of the batch that is taken."""
        self._open: dict[int, ShownList] = {}
        """By offset: lists whose labels are not final."""
        self._ready: list[ShownList] = []
        self._ready_items = 0
        self.without_scores = 0
        """Impressions of versions before, which do not carry their scores."""
        self.events_deleted = 0
        """Items that were shown before the oldest event that the topic holds."""

    def note(self, batch: RecordBatch) -> None:
        """See `JoinedRows`."""
        for offset, value in zip(batch.offsets.tolist(), batch.values, strict=True):
            try:
                impression = None if value is None else decode_impression(value)
            except BadRecord:  # the impression's source rejects and counts it
                continue
            if impression is not None and impression.scores:
                self._noted[offset] = impression
            elif impression is not None and impression.join_keys:
                self.without_scores += 1

    def take(self, rows: LabelledRows) -> None:
        """See `JoinedRows`."""
        offsets, ranks = place_of(rows.order)
        times = rows.event_times_ms.tolist()
        positive = (rows.labels > 0.5).tolist()
        # An item is negative as it is shown, and comes once more when it is positive.
        for at, offset in enumerate(offsets.tolist()):
            if not positive[at] and offset in self._noted:
                self._open[offset] = ShownList(offset, self._noted.pop(offset), times[at])
        for at, rank in enumerate(ranks.tolist()):
            if positive[at] and (shown := self._open.get(int(offsets[at]))) is not None:
                shown.positive_ms[rank] = times[at]

    def reached(self, final_ms: int) -> None:
        """See `JoinedRows`."""
        self._noted.clear()  # what is left of the batch was rejected
        while self._open:
            offset, shown = next(iter(self._open.items()))
            if shown.shown_ms >= final_ms:
                return
            del self._open[offset]
            shown.final = True
            self._give(shown)

    def finish(self) -> None:
        """Write what is left; labels that may still become positive are open."""
        for shown in self._open.values():
            self._give(shown)
        self._open.clear()
        self._flush()

    def _give(self, shown: ShownList) -> None:
        items = len(shown.impression.scores) // 4
        if shown.shown_ms < self._join.labels_since_ms:
            self.events_deleted += items
            return
        self._ready.append(shown)
        self._ready_items += items
        if self._ready_items >= PART_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._ready:
            self._write(self._columns.batch(self._ready))
        self._ready, self._ready_items = [], 0
