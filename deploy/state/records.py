"""What a state folder records of that which its state was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state import state_id
from freshrank.deploy.state.record_files import definitions_record, fields_record, topics_record

RECORDS = (
    topics_record.RECORD,
    fields_record.RECORD,
    definitions_record.RECORD,
    state_id.RECORD,
)


def origin_recorded(folder: Path) -> str | None:
    """The origin of what the state in `folder` gives (`origin_of`); None where it records none.

    Raises ConfigError when a record is damaged.
    """
    state, topics = state_id.RECORD.read(folder), topics_record.RECORD.read(folder)
    return None if state is None or topics is None else state_id.origin_of(topics, state)


def write_records(
    folder: Path, topics: Mapping[str, TopicIdentity], pipeline: Pipeline, disk: Disk
) -> None:
    """Write the topics, and the types and definitions of a pipeline. Raises OSError."""
    topics_record.RECORD.write(folder, topics, disk)
    fields_record.RECORD.write(folder, fields_record.types_of_fields(pipeline), disk)
    definitions = definitions_record.definitions_of(pipeline)
    definitions_record.RECORD.write(folder, definitions, disk)
