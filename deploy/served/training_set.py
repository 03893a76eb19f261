"""The training set of what was served: a row for each item, joined with its label."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import DeadReasons
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.entity_rows import TIME
from freshrank.deploy.history.table_files import write_batches
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.served.partition_join import PartitionJoin
from freshrank.deploy.served.reading import Progress, joined_partitions
from freshrank.deploy.served.row_columns import OWNER, RowColumns
from freshrank.deploy.served.served_items import ServedItems
from freshrank.deploy.served.topics import ServedLog, broker_of, served_log
from freshrank.feature_actors.labels.forgettings import AHEAD_MS

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class TrainingTally:
    """What was read of a log, and what of it gives no rows."""

    rows: int = 0
    positives: int = 0
    open: int = 0
    """Rows that may still become positive."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Impressions that give no rows, by the reason."""
    events_deleted: int = 0
    """Items that were shown before the oldest event that the topic holds."""
    forgotten: int = 0
    """Items that were shown to entities that were forgotten afterwards."""
    bad_events: DeadReasons = field(default_factory=DeadReasons)
    unjoined: Counter[str] = field(default_factory=Counter)
    """Events that should label an item and label none, by the reason."""
    tombstones: dict[int, int] = field(default_factory=dict)
    """By the hash of an entity: the log's time in ms of its last tombstone."""

    def add(self, join: PartitionJoin, items: ServedItems) -> None:
        """Count what came of a partition."""
        found, label_events = join.counters, join.joiner.unjoined
        told = Counter(
            {
                "with inputs of a layout that the state does not know": (found.dead_other_layout),
                "in the partition of another entity": found.dead_impression_misplaced,
                "logged too late": found.dead_shown_late,
            }
        )
        undecodable = join.rejected[join.impressions] - told.total()
        self.left_out += told + Counter(
            {
                "that cannot be read": undecodable,
                "while the online store did not answer": found.impressions_outage,
                "of a repeated request": found.impressions_repeated,
                "of a version before, without scores": items.without_scores,
            }
        )
        self.unjoined += Counter(
            {
                "just before an item of theirs was shown": label_events.label_early,
                "after `within`": label_events.label_late,
                "on what was not shown": label_events.label_not_shown,
            }
        )
        self.events_deleted += items.events_deleted
        self.bad_events.add(join.bad_events)
        self.tombstones |= join.forgotten

    def remarks(self) -> Iterator[str]:
        """What the user should know of the rows."""
        if self.left_out:
            yield f"{self.left_out.total():,} impressions are left out: {_told(self.left_out)}"
        if self.events_deleted:
            yield (
                f"{self.events_deleted:,} items are left out that were shown before the oldest "
                "event that the topic holds: events that label them may have been deleted"
            )
        if self.forgotten:
            yield f"{self.forgotten:,} items are left out of entities that were forgotten since"
        for line in self.bad_events.lines():
            yield f"events are left out that cannot be used: {line}"
        if self.unjoined:
            total = self.unjoined.total()
            yield f"{total:,} events that make items positive label none: {_told(self.unjoined)}"

    def count(self, arrow: Any, rows: pa.RecordBatch) -> None:
        """Count rows that are given."""
        label = rows.column("label")
        self.rows += rows.num_rows
        self.positives += arrow.compute.sum(label).as_py() or 0
        self.open += label.null_count


def write_training_set(log: ServedLog, path: Path, progress: Progress) -> TrainingTally:
    """Write the rows to the file `path`, whole or not at all; memory is bounded.

    Raises Unavailable, ConfigError and OSError.
    """
    arrow = import_pyarrow(str(path))
    columns = RowColumns(arrow, log.pipeline)
    # A tombstone may come after rows that it deletes: so they are written once all is read.
    with tempfile.TemporaryFile(dir=path.parent) as parts:
        with arrow.ipc.new_stream(parts, columns.schema) as stream:
            tally = asyncio.run(_read(log, columns, stream.write_batch, progress))
        parts.seek(0)
        with arrow.ipc.open_stream(parts) as written:
            write_batches(_without_owner(columns.schema), _kept(arrow, written, tally), path)
    return tally


def get_training_set(
    pipeline: Pipeline, kafka: str | None = None, *, settings: Settings | None = None
) -> pa.Table:
    """Read what was served from the topics of a pipeline, each item joined with its label.

    Parameters
    ----------
    pipeline
        As it served: impressions of other inputs have those that are the same, where the state
        knows their layout; else they are left out, and counted.
    kafka
        The broker's address, or ``"apache"``; that of the settings unless given.
    settings
        Those of the run: the broker's login, and where the state lies.

    The join is that of the learner, so that an item is positive if and only if it is learned as
    that. Topics are read from their oldest records to their ends of now, also beside a run.

    Returns a table of Arrow with a row for each shown item: ``request_id``, the entity's key,
    ``item_key`` (`hash_text` of the label's `on`), ``time`` when it was shown, ``position`` in its
    list from 0 on, ``score``, ``version``, ``label`` (1, 0, null while it may still become 1),
    ``label_time``, ``weight`` as the learner counts it, ``propensity`` and ``arm.<experiment>``
    where they were logged, and the inputs of the model by their names: numbers as they were scored,
    of texts the ids that the model has of them. Raises ConfigError where there is no such log or no
    broker, and Unavailable. What gives no rows is logged, by the reason.
    """
    given = settings or Settings()
    if kafka is not None:
        given = given.model_copy(
            update={"kafka": given.kafka.model_copy(update={"bootstrap": kafka})}
        )
    # A notebook has a loop already, in which no other can run.
    with ThreadPoolExecutor(1) as pool:
        table, tally = pool.submit(_table, pipeline, given).result()
    for remark in tally.remarks():
        _log.warning(remark)
    return table


def _table(pipeline: Pipeline, settings: Settings) -> tuple[pa.Table, TrainingTally]:
    arrow = import_pyarrow("training set")
    parts = list[Any]()
    with broker_of(pipeline, settings, _log.info) as broker:
        log = served_log(pipeline, settings, broker)
        columns = RowColumns(arrow, pipeline)
        tally = asyncio.run(_read(log, columns, parts.append, lambda *_: None))
    rows = list(_kept(arrow, parts, tally))
    return arrow.Table.from_batches(rows, _without_owner(columns.schema)), tally


async def _read(
    log: ServedLog,
    columns: RowColumns,
    write: Callable[[pa.RecordBatch], None],
    progress: Progress,
) -> TrainingTally:
    tally, made = TrainingTally(), list[ServedItems]()

    def rows(join: PartitionJoin) -> ServedItems:
        made.append(ServedItems(join, columns, write))
        return made[-1]

    async for join in joined_partitions(log, rows, progress):
        items = made.pop()
        items.finish()
        tally.add(join, items)
    return tally


def _kept(
    arrow: Any, parts: Iterable[pa.RecordBatch], tally: TrainingTally
) -> Iterator[pa.RecordBatch]:
    """The rows without those of forgotten entities, which are counted."""
    hashes = np.array(sorted(tally.tombstones), dtype=np.int64)
    until_ms = np.array([tally.tombstones[one] + AHEAD_MS for one in hashes.tolist()])
    for part in parts:
        rows = part.drop_columns([OWNER])
        if len(hashes):
            owners = part.column(OWNER).to_numpy()
            shown_ms = part.column(TIME).cast(arrow.int64()).to_numpy()
            at = np.minimum(hashes.searchsorted(owners), len(hashes) - 1)
            gone = (hashes[at] == owners) & (shown_ms <= until_ms[at])
            tally.forgotten += int(gone.sum())
            rows = rows.filter(arrow.array(~gone))
        tally.count(arrow, rows)
        yield rows


def _without_owner(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index(OWNER))


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
