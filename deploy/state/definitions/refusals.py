"""Which changes of definitions a start is refused for, as files of the state cannot follow them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freshrank.actors.errors import ConfigError, DefinitionChanged
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.definitions.undeclared import marked
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.state.inspect import newest_headers
from freshrank.deploy.state.record_files import definitions_record
from freshrank.deploy.state.record_files.definitions_record import (
    apart,
    learned_otherwise,
    written,
)
from freshrank.feature_actors.partition.carry_over.table_change import (
    plans_of,
    table_changes,
    tables_of,
)
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.learner import checkpoints

# Impressions have the inputs that they were served with. The layouts of before go with the shards.
_OF_IMPRESSIONS = " (impressions with other inputs than those of now count as dead_other_layout)"

_EARLIER = (
    "an earlier version of Freshrank wrote {0}: definitions can change once this one has gone on "
    "from it with those of before"
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    what: str
    """What has changed, and cannot be carried over."""
    folders: tuple[str, ...]
    """The folders that were made so, and without which a start would go on."""


def check_definitions(folder: Path, pipeline: Pipeline) -> None:
    """Raise ConfigError, with all folders to remove, where files cannot be carried over."""
    refused = [*_of_learning(folder, pipeline), *_of_candidates(folder, pipeline)]
    if not refused:
        return
    names = list(dict.fromkeys(name for one in refused for name in one.folders))
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    again = "learn again from what the topics still hold" if LEARNER in names else "read them again"
    joined = _OF_IMPRESSIONS if LEARNER in names and pipeline.joined is not None else ""
    raise ConfigError(
        str(folder),
        f"the definitions of pipeline {pipeline.name!r} have changed since this state was made, in "
        f"what cannot be carried over: {'; '.join(one.what for one in refused)}",
        "Change them back, give the pipeline another name, set another `state` (FRESHRANK_STATE), "
        f"or remove the folder{'s' if len(names) > 1 else ''} {listed} in it to {again}{joined}.",
    )


def _of_learning(folder: Path, pipeline: Pipeline) -> Iterator[_Refusal]:
    """Changes of what the learner or its examples are made of: both folders fit one another."""
    both = SHARDS, LEARNER
    before = definitions_record.RECORD.read(folder) or {}
    otherwise = learned_otherwise(before, written(pipeline))
    spec = pipeline.spec(ShardSettings())
    label = _told(otherwise, "label") or ["the label"]
    yield from (_Refusal(what, both) for what in _of_rows(folder / SHARDS, spec, label))
    learner = checkpoints.readable(pipeline.bound_model, pipeline.optimizer)
    for header in newest_headers(checkpoints.NAME, folder / LEARNER):
        if not _carries_over(header.made_for, learner):
            told = _told(otherwise, "model", "optimizer")
            yield _Refusal("; ".join(told) or _of_inputs(header.made_for, learner[0]), both)
        elif not learner[0].basis and _inputs_differ(header.meta, pipeline):
            yield _Refusal(_of_inputs(header.made_for, learner[0]), both)


def _inputs_differ(meta: Mapping[str, Any], pipeline: Pipeline) -> bool:
    """Whether inputs of the same names are made of something else."""
    now = KeptLayout.of(pipeline.encoder.layout)
    return "inputs" in meta and msgspec.convert(meta["inputs"], KeptLayout) != now


def _of_inputs(was: MadeFor, now: MadeFor) -> str:
    """Why other inputs are refused."""
    if not now.basis:
        return (
            "the inputs of a model of which it is not known what its weights, or the state of its "
            "optimizer, belong to (`Rebindable`)"
        )
    return "the model or the optimizer" if was.basis else _EARLIER.format("the checkpoint")


def _of_candidates(folder: Path, pipeline: Pipeline) -> Iterator[_Refusal]:
    """Changes of what the features of entities are made of that candidates name."""
    for plan in pipeline.candidate_plans:
        name = f"{ENTITIES}/{plan.entity.name}"
        # Else the rows are read again.
        if not plan.rebuilds and not marked(folder / name):
            spec = features_only(plan, ShardSettings())
            key = [f"the key of {plan.entity.name!r}"]
            yield from (_Refusal(what, (name,)) for what in _of_rows(folder / name, spec, key))


def _of_rows(folder: Path, spec: PartitionSpec, rest: Sequence[str]) -> list[str]:
    """What snapshots cannot follow: their tables of rows tell, or else it is `rest`."""
    found, first = list[str](), spec.plan.row_plans[0].name
    for made_for, meta in newest_headers(SNAPSHOT_KIND, folder):
        if "tables" not in meta:
            if not made_for.carries_over(spec.made_for):
                found.append(_EARLIER.format(f"the snapshots in {folder.name}"))
            continue
        tables = tables_of(meta)
        try:
            table_changes(tables, plans_of(spec))
        except DefinitionChanged as error:
            found.append(str(error))
            continue
        if not made_for.carries_over(spec.made_for):
            was = next(iter(tables))
            moved = spec.label is not None and was != first
            found += [
                f"the first stream is {_stream(first)}, and was {_stream(was)}"
            ] * moved or rest
    return list(dict.fromkeys(found))


def _carries_over(made_for: MadeFor, readable: Sequence[MadeFor]) -> bool:
    return any(made_for.carries_over(now) for now in readable)


def _told(otherwise: Mapping[str, tuple[str, str]], *names: str) -> list[str]:
    return [apart(name, *otherwise[name]) for name in names if name in otherwise]


def _stream(table: str) -> str:
    entity, _, topic = table.partition("/")
    return f"topic {topic!r} keyed by {entity!r}"
