"""The definitions that a state was made with, each by its name, in the state folder.

Files of the state have fingerprints, which tell that something differs; this tells what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.streams.expressions.conditions import Expression

Definitions: TypeAlias = Mapping[str, Mapping[str, str]]
"""By part of the pipeline, then by name: a definition in one spelling."""

RECORD = JsonRecord("definitions.json", dict[str, dict[str, str]])
"""The `Definitions`."""


_DECLARED = "as declared"
"""The part with the features as files declare them, for people: several texts mean the same."""


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
    as_declared = dict[str, str]()
    for view in pipeline.features:
        title = f"features of {view.entity.name!r} from {view.source.topic!r}"
        part = found.setdefault(title, {})
        for name, feature in view.features.items():
            part[f"{view.__name__}.{name}"] = feature.canonical()
            as_declared[_of(title, f"{view.__name__}.{name}")] = _declaration(feature)
    for table in pipeline.tables:
        kinds = {name: field.kind.value.__name__ for name, field in table.fields.items()}
        found[f"table {table.topic!r}"] = kinds
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
    found[_DECLARED] = as_declared
    return found


def _of(part: str, name: str) -> str:
    """The name of a declaration in `_DECLARED`."""
    return f"{part}: {name}"


def _declaration(feature: Aggregate) -> str:
    """A feature as a pipeline's file declares it; what is left to a default is left out."""
    written = list[str]()
    for one in fields(cast(Any, feature)):  # every kind of feature is a dataclass
        value = getattr(feature, one.name)
        if one.init and value != one.default:
            text = str(value) if isinstance(value, Expression) else repr(value)
            written.append(text if one.name == "of" else f"{one.name}={text}")
    return f"{type(feature).__name__}({', '.join(written)})"


def differences(before: Definitions, now: Definitions) -> Iterator[PartDifference]:
    """Each part of both, in the order of `now`, then those that are no more.

    >>> was, now = {"a": "count", "b": "sum"}, {"b": "mean", "c": "max"}
    >>> next(differences({"features": was}, {"features": now}))
    PartDifference(part='features', same=0, added={'c': 'max'}, dropped={'a': 'count'}, \
changed={'b': ('sum', 'mean')})
    """

    def told(of: Definitions, part: str, name: str) -> str:
        return of.get(_DECLARED, {}).get(_of(part, name), of[part][name])

    for part in dict.fromkeys([*now, *before]):
        if part == _DECLARED:
            continue
        was, there = before.get(part, {}), now.get(part, {})
        both = [name for name in there if name in was]
        yield PartDifference(
            part,
            sum(was[name] == there[name] for name in both),
            {name: told(now, part, name) for name in there if name not in was},
            {name: told(before, part, name) for name in was if name not in there},
            {
                name: (told(before, part, name), told(now, part, name))
                for name in both
                if was[name] != there[name]
            },
        )
