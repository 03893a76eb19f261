"""The types of the fields that a state was made of, in the state folder.

The ids of an integer and of a text differ, so state that was made of one means nothing for the
other. Definitions of features and inputs tell the types of their fields, and begin anew where one
has changed; those of entities, event ids and labels do not, and nor do files of earlier versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import LEARNED
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.feature_actors.encoding.context_entries import fields_of
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.row_plan import RowSource

_TEXT = "str"

RECORD = JsonRecord("fields.json", dict[str, dict[str, str]])
"""The types of all usable fields of a pipeline's streams and tables (see `types_of_fields`)."""


def check_fields(folder: Path, pipeline: Pipeline, *, tell_types: bool) -> None:
    """Raise ConfigError when a field of which all depends had another type than it has now.

    `tell_types`: files of the state tell the types of the fields that features and inputs use; else
    these must be the same, too. State of a version that did not record the types is accepted.
    """
    recorded: Mapping[str, Mapping[str, str]] = RECORD.read(folder) or {}
    now = types_of_fields(pipeline)
    used = _fields_of_all(pipeline) if tell_types else _fields_used(pipeline)
    for topic, names in used.items():
        for name in sorted(names):
            before = recorded.get(topic, {}).get(name)
            # Of numbers, an integer and a float mean the same; ids are never floats.
            if before is not None and (before == _TEXT) != (now[topic][name] == _TEXT):
                raise ConfigError(
                    str(folder),
                    f"the field {name!r} of {topic!r} is {now[topic][name]}, and was {before} when "
                    "this state was made: what was learned of it is about other values",
                    "Change it back, give the pipeline another name, set another `state` "
                    f"(FRESHRANK_STATE), or remove the folders {_kept_in(folder)} in it to learn "
                    "again from what the topics still hold.",
                )


def _kept_in(folder: Path) -> str:
    """Those of the state's folders that there are."""
    return ", ".join(name for name in LEARNED if (folder / name).exists())


def _fields_of_all(pipeline: Pipeline) -> Mapping[str, set[str]]:
    """By topic: the fields of entities, event ids and the label."""
    found = {table.topic: {table.key.key} for table in pipeline.tables}
    for stream in pipeline.streams:
        found[stream.topic] = {stream.id, stream.key.key}
    for plan in (pipeline.plan, *pipeline.candidate_plans):
        for rows in plan.tables:
            found.setdefault(rows.source.topic, set()).update(rows.source.key.parts)
    found[pipeline.stream.topic].update(pipeline.label.fields_read())
    return found


def _fields_used(pipeline: Pipeline) -> Mapping[str, set[str]]:
    """By topic: the fields that features, inputs and label are made of."""
    found: dict[str, set[str]] = {}
    plans = pipeline.plan, *pipeline.candidate_plans
    for table in (table for plan in plans for table in plan.tables):
        own = {table.source.id, *table.source.key.parts, *table.layout.fields_read()}
        found.setdefault(table.source.topic, set()).update(own)
    first = found[pipeline.stream.topic]
    context = fields_of(pipeline.context)
    first.update(given for given in context if isinstance(given, str))
    first.update(pipeline.label.fields_read())
    for source in pipeline.tables:
        found[source.topic] = {source.key.key}
    for given in context:
        if isinstance(given, TableField):
            found[given.table.topic].add(given.name)
    return found


def types_of_fields(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    """By topic and field: ``str``, ``int`` or ``float``. A bool is an int, as in the rows."""
    sources: list[RowSource] = [*pipeline.streams, *pipeline.tables]
    return {
        source.topic: {
            name: field.kind.value.__name__ for name, field in source.fields.with_elements.items()
        }
        for source in sources
    }
