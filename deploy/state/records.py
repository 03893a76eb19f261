"""What a state folder records of that which its state was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state import state_id
from freshrank.deploy.state.record_files import definitions_record, fields_record, topics_record
from freshrank.deploy.state.state_id import Origins

RECORDS = (
    topics_record.RECORD,
    fields_record.RECORD,
    definitions_record.RECORD,
    state_id.RECORD,
    state_id.ORIGIN,
    state_id.ROWS_ORIGIN,
)


def origin_recorded(folder: Path) -> str | None:
    """The origin of the state in `folder` (`origin_of`); None where it records none.

    That of a version that did not record it follows from its topics. Raises ConfigError when a
    record is damaged.
    """
    origin: str | None = state_id.ORIGIN.read(folder)
    if origin is not None:
        return origin
    state, topics = state_id.RECORD.read(folder), topics_record.RECORD.read(folder)
    return None if state is None or topics is None else state_id.origin_of(topics, state)


def write_records(
    folder: Path,
    topics: Mapping[str, TopicIdentity],
    pipeline: Pipeline,
    disk: Disk,
    *,
    anew: bool,
) -> Origins:
    """Write the topics, and the types and definitions of a pipeline; returns the state's origins.

    `anew`: the state begins anew. Raises OSError, and ConfigError when a record is damaged.
    """
    origin = None if anew else origin_recorded(folder)
    # Of topics that are not read at present, too: some of their records may be copied already.
    before = {} if anew else topics_record.RECORD.read(folder) or {}
    topics_record.RECORD.write(folder, {**before, **topics}, disk)
    fields_record.RECORD.write(folder, fields_record.types_of_fields(pipeline), disk)
    definitions_record.RECORD.write(folder, definitions_record.written(pipeline), disk)
    id_ = state_id.read_or_make(folder, disk, anew=anew)
    origin = origin or state_id.origin_of(topics, id_)
    state_id.ORIGIN.write(folder, origin, disk)
    rows = state_id.rows_made_for(origin, pipeline.plans.values())
    return Origins(origin, state_id.rows_origin(folder, rows, disk))
