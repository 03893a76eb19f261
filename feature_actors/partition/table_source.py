"""The records of a table: decoded, and put in place of the rows before them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.latest_rows import LatestRows
from freshrank.feature_actors.state.table_copy import RowMemory
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan

# Offsets between two checks of whether a table holds too many entities, and the share by which it
# may exceed its bound between two checks.
_MOST_OFFSETS = 16_384
_EXCESS = 0.05


class TableSource:
    """One table of a partition: its topic, its decoder, and the latest rows.

    The rows are a function of the records below an offset, wherever batches end: of two records of
    one key the later counts, and entities are dropped, where there are too many, at offsets that
    are multiples of a stride.

    Parameters
    ----------
    plan
        Of the rows; it names the table.
    counters
        Of the partition.
    placement
        The partition, whose entities alone may be in it.
    """

    def __init__(
        self, plan: LatestRowPlan, spec: PartitionSpec, counters: Counters, placement: Placement
    ) -> None:
        entities = spec.settings.max_entities_per_partition
        self.table = LatestRows(plan, entities)
        self.newest_event_ms = LONG_AGO_MS
        """The greatest timestamp of a record."""
        self._counters = counters
        self._placement = placement
        self._codec = TableCodec(plan.source)
        self._stride = max(1, min(_MOST_OFFSETS, int(_EXCESS * entities)))

    @property
    def nbytes(self) -> int:
        """Memory held by the rows."""
        return len(self.table) * self.table.plan.bytes_per_entity

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; they complete no examples."""
        records = self._codec.decode(batch)
        rejected = list(records.rejected)
        faults = list(self._placement.faults(records.names))
        if faults:
            wrong = np.array([fault.place for fault in faults])
            for place, fault in zip(records.places[wrong].tolist(), faults, strict=True):
                rejected.append(batch.rejected(place, fault.reason, fault.kind))
            records = records.take(np.delete(np.arange(len(records)), wrong))
        outcome.dead.extend(sorted(rejected, key=lambda record: record.offset))
        self._counters.dead_table_rows += len(rejected)
        looked, at = begin // self._stride, 0
        while at < len(records):
            looked = self._check_bound(looked, int(records.offsets[at]))
            stop = int(np.searchsorted(records.offsets, (looked + 1) * self._stride))
            self._apply(records.take(np.arange(at, stop)))
            at = stop
        self._check_bound(looked, end)
        return []

    def freeze(self, memory: RowMemory | None, under_way: Ints | None) -> dict[str, StateView]:
        """The state of now, for a snapshot, by the names of its parts.

        `memory` takes the rows; `under_way` int64[m] are slots whose rows were sent to the online
        store and are not confirmed.
        """
        name = self.table.plan.name
        return {
            f"tables/{name}": self.table.freeze(memory),
            f"unwritten/{name}": self.table.freeze_unwritten(under_way),
        }

    def move(self) -> None:
        """Go on with another log: its offsets say nothing of what was taken."""
        self.table.forget_offsets()

    def load(self, arrays: Mapping[str, Array], newest_event_ms: int) -> None:
        """Become the state that a snapshot's `arrays` hold."""
        name = self.table.plan.name
        self.table.load(part_of(arrays, f"tables/{name}"))
        self.table.load_unwritten(part_of(arrays, f"unwritten/{name}"))
        self.newest_event_ms = newest_event_ms

    def _check_bound(self, looked: int, offset: int) -> int:
        """Drop entities, where there are too many, if a multiple of the stride has been passed."""
        if offset // self._stride <= looked:
            return looked
        dropped = len(self.table.evict(self.newest_event_ms))
        self._counters.evicted += dropped
        self._counters.table_rows_dropped += dropped
        return offset // self._stride

    def _apply(self, records: TableRecords) -> None:
        """Put the rows of one or more records, and delete those that have tombstones."""
        self.newest_event_ms = max(self.newest_event_ms, int(records.stamps_ms.max()))
        gone = [name for name, row in zip(records.names, records.rows, strict=True) if row is None]
        if not gone:
            self._counters.table_rows += len(records)
            self.table.put(records.columns())
            return
        has_row = dict(zip(gone, self.table.known(gone).tolist(), strict=True))
        for name, row in zip(records.names, records.rows, strict=True):
            if row is not None:
                self._counters.table_rows += 1
                has_row[name] = True
            elif has_row[name]:
                self._counters.tombstones += 1
                has_row[name] = False
            else:
                self._counters.tombstones_unknown += 1
        stays = [
            row is not None and has_row[name]
            for name, row in zip(records.names, records.rows, strict=True)
        ]
        self.table.put(records.take(np.flatnonzero(stays)).columns())
        self.table.delete([name for name in dict.fromkeys(gone) if not has_row[name]])
