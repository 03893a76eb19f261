"""The definitions that a state is made of, as its files tell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.deploy.pipelines.made_for import candidates_made_for
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.definitions.undeclared import marked
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.state.inspect import Header, newest_headers
from freshrank.deploy.state.record_files import definitions_record
from freshrank.deploy.state.record_files.definitions_record import Written
from freshrank.feature_actors.partition.carry_over.table_change import KeptTable, tables_of
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.learner import checkpoints


@dataclass(frozen=True, slots=True)
class KeptDefinitions:
    """What the rows and the weights of a state mean."""

    tables: Mapping[str, KeptTable]
    """By `RowPlan.name`."""
    inputs: KeptLayout | None
    """Of the model; None: it has learned nothing."""
    written: Written

    @property
    def empty(self) -> bool:
        """Whether there is nothing yet that they could be carried over of."""
        return not self.tables and self.inputs is None

    @classmethod
    def of(cls, pipeline: Pipeline) -> KeptDefinitions:
        """Those of a pipeline."""
        plans = [rows for plan in pipeline.plans.values() for rows in plan.row_plans]
        return cls(
            {plan.name: KeptTable.of(plan) for plan in plans},
            KeptLayout.of(pipeline.encoder.layout),
            definitions_record.written(pipeline),
        )

    @classmethod
    def read(cls, folder: Path, pipeline: Pipeline) -> KeptDefinitions:
        """Those of the state in `folder`, from which `pipeline` would go on.

        Where an earlier version wrote files, which do not say what they are made of, they count as
        made of the definitions of now: a start refuses those of others. Raises ConfigError where
        the record is damaged.
        """
        now = cls.of(pipeline)
        record = definitions_record.RECORD.read(folder) or {}
        return cls(dict(_tables(folder, pipeline, now)), _inputs(folder, pipeline, now), record)


def say_what_they_are_made_of(folder: Path) -> bool:
    """Whether all files of the state in `folder` do: those of earlier versions do not."""
    below = [folder / name for name in (SHARDS, ENTITIES)]
    rows = [one for path in below for one in newest_headers(SNAPSHOT_KIND, path)]
    learned = newest_headers(checkpoints.NAME, folder / LEARNER)
    return all("tables" in one.meta for one in rows) and all(
        "inputs" in one.meta for one in learned
    )


def _tables(
    folder: Path, pipeline: Pipeline, now: KeptDefinitions
) -> Iterator[tuple[str, KeptTable]]:
    """By name: the tables of each entity of which there are files."""
    made_for = {plan.entity.name: candidates_made_for(plan) for plan in pipeline.candidate_plans}
    own = pipeline.plan.entity.name
    entities = {path.name: path for path in _folders(folder / ENTITIES) if not marked(path)}
    entities[own] = folder / SHARDS
    for entity, files in entities.items():
        current = pipeline.made_for if entity == own else made_for.get(entity)
        header = _oldest(newest_headers(SNAPSHOT_KIND, files), current)
        if header is not None:
            tables = tables_of(header.meta) if "tables" in header.meta else now.tables
            # Shards may keep rows of other entities beside those of their own.
            yield from ((name, one) for name, one in tables.items() if _entity(name) == entity)


def _inputs(folder: Path, pipeline: Pipeline, now: KeptDefinitions) -> KeptLayout | None:
    """Of the learner's newest checkpoint."""
    current = checkpoints.made_for(pipeline.bound_model, pipeline.optimizer)
    header = _oldest(newest_headers(checkpoints.NAME, folder / LEARNER), current)
    if header is None:
        return None
    if "inputs" in header.meta:
        return msgspec.convert(header.meta["inputs"], KeptLayout)
    return now.inputs


def _oldest(headers: Iterator[Header], current: MadeFor | None) -> Header | None:
    """One that is not of the definitions of now, if there is one: a start carries over from it."""
    found = list(headers)
    others = [one for one in found if one.made_for.fingerprint != (current and current.fingerprint)]
    return next(iter([*others, *found]), None)


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []


def _entity(table: str) -> str:
    return table.partition("/")[0]
