"""The features that were true at any time of a recorded history, by the engine that serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.actors.messages import Ints
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import HistoryTally
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.entity_history import AskedRows, EntityHistory
from freshrank.deploy.history.entity_rows import (
    TIME,
    EntityRows,
    columns_of_ids,
    key_columns,
    read_rows,
)
from freshrank.deploy.history.feature_columns import columns_of, names_of
from freshrank.deploy.history.reader import History, HistoryReader
from freshrank.deploy.history.records import Records
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.views.plan import FeaturePlan

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoricalFeatures:
    """Reads the features of a pipeline from a history, in a single pass over it.

    The memory that it takes is that of the entities' state, of a few thousand records of each file,
    and of the rows that are asked for.
    """

    pipeline: Pipeline
    history: History
    settings: Settings
    """Those of the shards bound the state."""
    records: Records | None = None
    """Reads files that are given without their topic; the pipeline may declare it."""
    advanced: Callable[[HistoryTally, int], None] = lambda tally, time_ms: None
    """Called now and then with what was read, and the time that was reached."""

    def of_rows(
        self, entity_rows: object, columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, HistoryTally]:
        """The rows with the features of their entities (see `get_historical_features`)."""
        arrow = import_pyarrow("entity_rows")
        rows = read_rows(self.pipeline, entity_rows, SystemClock().now_ms())
        order = np.argsort(rows.times_ms, kind="stable")
        asked = {name: self._asked(rows, name, order) for name in rows.names}
        wanted = self._wanted(asked, columns, lambda entity: self._fix(rows, entity))
        tally = HistoryTally()
        if columns is None:
            tally.left_out = list(self._left_out(rows))
        engines = self._play(asked, int(rows.times_ms.max(initial=0)), tally)
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        table = rows.table
        for engine in engines:
            engine.finish()
            found = zip(
                names_of(engine.plan), columns_of(arrow, engine.plan, engine.found), strict=True
            )
            for name, column in found:
                if name in wanted:
                    title = _title(name, engine.plan, table.column_names)
                    table = table.append_column(title, column.take(arrow.array(back)))
        return table, tally

    def of_all(
        self, at_ms: int, entity: str | None = None, columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, HistoryTally]:
        """A row for each entity with events until `at_ms`: its key, the time, and its features.

        `entity` is the name of an entity; by default of that which requests name. Raises
        ConfigError.
        """
        arrow = import_pyarrow("features")
        keys = key_columns(self.pipeline)
        name = next(iter(keys)) if entity is None else entity
        if name not in keys:
            raise _unknown("--entity", f"there is no entity {name!r}", name, list(keys))
        none = AskedRows(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        wanted = self._wanted({name: none}, columns, "Ask for the entity {!r} (--entity).".format)
        tally = HistoryTally()
        (engine,) = self._play({name: none}, at_ms, tally)
        names = engine.entities()
        times = arrow.array([at_ms] * len(names), type=arrow.int64())
        table = arrow.table(
            {
                **columns_of_ids(keys[name], names),
                TIME: times.cast(arrow.timestamp("ms", tz="UTC")),
            }
        )
        read = columns_of(arrow, engine.plan, engine.read(names, at_ms))
        for one, column in zip(names_of(engine.plan), read, strict=True):
            if one in wanted:
                table = table.append_column(_title(one, engine.plan, table.column_names), column)
        return table, tally

    def _asked(self, rows: EntityRows, entity: str, order: Ints) -> AskedRows:
        plan = self.pipeline.plans[entity]
        field = plan.row_plans[0].source.fields[plan.entity.key]
        return AskedRows(entity_ids(field, rows.names[entity])[order], rows.times_ms[order])

    def _left_out(self, rows: EntityRows) -> Iterator[str]:
        """Which compound entities have no features here though rows have a part of their key.

        Rows that lack the whole key of an entity are not about it.
        """
        for entity, missing in rows.lacking.items():
            if len(missing) < len(self.pipeline.plans[entity].entity.parts):
                features = ", ".join(names_of(self.pipeline.plans[entity]))
                yield f"without the features of {entity!r} ({features}): {self._fix(rows, entity)}"

    def _fix(self, rows: EntityRows, entity: str) -> str:
        """What rows need for the features of an entity."""
        taken = self.pipeline.encoder.table_fields
        needed = [
            f"{name!r} (serving takes it from the row of {taken[name].table.topic!r})"
            if name in taken
            else repr(name)
            for name in rows.lacking[entity]
        ]
        return f"Add to the rows the column {' and '.join(needed)}."

    def _wanted(
        self,
        asked: Mapping[str, AskedRows],
        columns: Sequence[str] | None,
        fix: Callable[[str], str],
    ) -> set[str]:
        """The names of the features to give.

        Raises ConfigError for an unknown feature; for a feature of an entity that is not asked for,
        with `fix`.
        """
        known = [one for entity in asked for one in names_of(self.pipeline.plans[entity])]
        others = {
            name: entity
            for entity, plan in self.pipeline.plans.items()
            if entity not in asked
            for name in names_of(plan)
        }
        for name in columns or ():
            if name not in known and name in others:
                problem = f"{name!r} is a feature of {others[name]!r}, which is not asked for"
                raise ConfigError("columns", problem, fix(others[name]))
            if name not in known:
                raise _unknown("columns", f"there is no feature {name!r}", name, known)
        return set(known if columns is None else columns)

    def _play(
        self, asked: Mapping[str, AskedRows], until_ms: int, tally: HistoryTally
    ) -> list[EntityHistory]:
        """Take all that arrived until a time, that time included; gives the entities' states."""
        settings = self._bounds()
        engines = [
            EntityHistory(self.pipeline.plans[name], settings, one) for name, one in asked.items()
        ]
        reader = HistoryReader(self.pipeline, self.history, self.records)
        for arrivals in reader.arrivals(asked, tally):
            known = [one.until(until_ms) for one in arrivals]
            for engine in engines:
                engine.take([one for one in known if len(one)])
            reached_ms = max(int(one.times_ms[-1]) for one in arrivals)
            self.advanced(tally, min(reached_ms, until_ms))
            if reached_ms > until_ms:
                break
        tally.late = sum(engine.late for engine in engines)
        tally.check()
        return engines

    def _bounds(self) -> ShardSettings:
        """The bounds of all partitions together, as those of a single partition."""
        shards, partitions = self.settings.shards, self.settings.kafka.partitions
        return shards.model_copy(
            update={
                "max_entities_per_partition": shards.max_entities_per_partition * partitions,
                "max_event_ids_per_partition": shards.max_event_ids_per_partition * partitions,
            }
        )


def get_historical_features(
    pipeline: Pipeline,
    entity_rows: object,
    history: History | str | Path,
    *,
    columns: Sequence[str] | str | None = None,
    settings: Settings | None = None,
) -> pa.Table:
    """Add to each row the features that serving would have read at its time.

    Parameters
    ----------
    pipeline
        Whose features.
    entity_rows
        A data frame, a table of Arrow, columns by name, or a list of dicts. A row has the key of
        one or more entities (``user_id``, ``item_id``), and its time: in a column ``time``, or
        named as the event time of the first stream. Other columns are carried along.
    history
        Paths of files and folders (Parquet, CSV, JSON lines; ``"clicks=data/2024"`` names the
        topic), and sequences of records ``(key, value, time in ms)`` or ``(..., topic)``. One path
        needs no list.
    columns
        The names of the features to add; all unless given.
    settings
        ``shards.max_entities_per_partition`` times ``kafka.partitions`` bounds the state.

    An event counts from when it arrived: at its time, or with the latest event before it in its
    file where that is later. A row knows the events that arrived at or before its time. The rows
    of a table's file were there from the beginning.

    Returns a table of Arrow, in the order of the rows, with the columns of
    ``GET /v1/features/{entity}/{id}``; ``.to_pandas()`` gives a data frame. Raises ConfigError,
    which names file and row, for what cannot be used; records that are no events are counted and
    logged.
    """
    # A text alone is a single path or column, and no list of its letters.
    sources = [history] if isinstance(history, str | Path) else history
    names = [columns] if isinstance(columns, str) else columns
    reader = HistoricalFeatures(pipeline, sources, settings or Settings())
    table, tally = reader.of_rows(entity_rows, names)
    for remark in tally.remarks():
        _log.warning(remark)
    return table


def _title(name: str, plan: FeaturePlan, taken: Sequence[str]) -> str:
    """The name of a column; with the entity's before it, where another column has the name."""
    return f"{plan.entity.name}.{name}" if name in taken else name


def _unknown(place: str, problem: str, name: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(place, problem, did_you_mean(name, known))
