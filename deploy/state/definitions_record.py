"""The definitions that a state was made with, each by its name, in the state folder.

Files of the state have fingerprints, which tell that something differs; this tells what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.json_record import JsonRecord

Definitions: TypeAlias = Mapping[str, Mapping[str, str]]
"""By part of the pipeline, then by name: a definition in one spelling."""

RECORD = JsonRecord("definitions.json", dict[str, dict[str, str]])
"""The `Definitions`."""


@dataclass(frozen=True, slots=True)
class PartDifference:
    """A part of a pipeline, compared with what it was."""

    part: str
    same: int
    """How many definitions are as they were."""
    added: Mapping[str, str]
    dropped: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]
    """By name: what it was, and what it is."""


def definitions_of(pipeline: Pipeline) -> Definitions:
    """The definitions of a pipeline that its state depends on."""
    found: dict[str, dict[str, str]] = {}
    for view in pipeline.features:
        part = found.setdefault(f"features of {view.entity.name!r} from {view.source.topic!r}", {})
        for name, feature in view.features.items():
            part[f"{view.__name__}.{name}"] = feature.canonical()
    for table in pipeline.tables:
        fields = {name: field.kind.value.__name__ for name, field in table.fields.items()}
        found[f"table {table.topic!r}"] = fields
    layout = pipeline.encoder.layout
    found["inputs of the model"] = {
        **dict.fromkeys(layout.dense, "number"),
        **{field.name: f"{field.width} id(s)" for field in layout.fields},
    }
    if pipeline.cleaning:
        declared = [(f"{type(one).__name__}({one.name!r})", one) for one in pipeline.cleaning]
        found["cleaning"] = {name: repr(one) for name, one in declared}
    found["label"] = {"label": repr(pipeline.label)}
    found["model"] = {"model": repr(pipeline.model), "optimizer": repr(pipeline.optimizer)}
    placed = {stream.topic: stream.partitioner for stream in pipeline.streams}
    found["partitioners"] = {topic: str(partitioner) for topic, partitioner in placed.items()}
    return found


def differences(before: Definitions, now: Definitions) -> Iterator[PartDifference]:
    """Each part of both, in the order of `now`, then those that are no more.

    >>> was, now = {"a": "count", "b": "sum"}, {"b": "mean", "c": "max"}
    >>> next(differences({"features": was}, {"features": now}))
    PartDifference(part='features', same=0, added={'c': 'max'}, dropped={'a': 'count'}, \
changed={'b': ('sum', 'mean')})
    """
    for part in dict.fromkeys([*now, *before]):
        was, there = before.get(part, {}), now.get(part, {})
        both = [name for name in there if name in was]
        yield PartDifference(
            part,
            sum(was[name] == there[name] for name in both),
            {name: text for name, text in there.items() if name not in was},
            {name: text for name, text in was.items() if name not in there},
            {name: (was[name], there[name]) for name in both if was[name] != there[name]},
        )
