"""Whether the files of a state folder were made for the definitions of a pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.snapshots.file_format import MadeFor, read_header
from freshrank.deploy.pipelines.made_for import candidates_made_for
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.state.inspect import newest_first
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.learner import checkpoints

# What a run without its state does, by whether its label is joined with impressions: those hold the
# rows that were served, which are of the old features.
_AGAIN = {
    False: "learn again from what the topics still hold",
    True: "read the events again that the topics still hold, and learn from the impressions that "
    "are served from then on (older ones count as dead_other_layout where the features changed)",
}


class _Changed(NamedTuple):
    what: str
    """The definitions that have changed."""
    folders: tuple[str, ...]
    """The folders that they made, and without which a start would go on."""


def check_definitions(folder: Path, pipeline: Pipeline) -> None:
    """Raise ConfigError, with all folders to remove, where a start would load files of others."""
    changed = [*_of_learning(folder, pipeline), *_of_candidates(folder, pipeline)]
    if not changed:
        return
    names = list(dict.fromkeys(name for one in changed for name in one.folders))
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    again = _AGAIN[pipeline.joined is not None] if LEARNER in names else "read them again"
    raise ConfigError(
        str(folder),
        f"the definitions of pipeline {pipeline.name!r} ({'; '.join(one.what for one in changed)}) "
        "have changed since this state was made",
        "Change them back, give the pipeline another name, set another `state` (FRESHRANK_STATE), "
        f"or remove the folder{'s' if len(names) > 1 else ''} {listed} in it to {again}.",
    )


def _of_learning(folder: Path, pipeline: Pipeline) -> Iterator[_Changed]:
    """Changes of what the learner or its examples are made of: both folders fit one another."""
    learner = checkpoints.readable(pipeline.bound_model, pipeline.optimizer)
    for name, kind, readable, what in (
        (SHARDS, SNAPSHOT_KIND, (pipeline.made_for,), "features, inputs, label or partitioner"),
        (LEARNER, checkpoints.NAME, learner, "model or optimiser"),
    ):
        made = {
            one for files in newest_first(folder / name) for one in _newest_made_for(kind, files)
        }
        if _refused(made, readable):
            yield _Changed(what, (SHARDS, LEARNER))


def _of_candidates(folder: Path, pipeline: Pipeline) -> Iterator[_Changed]:
    """Changes of the features of entities that candidates name."""
    for plan in pipeline.candidate_plans:
        name = f"{ENTITIES}/{plan.entity.name}"
        made = {
            one
            for files in newest_first(folder / name)
            for one in _newest_made_for(SNAPSHOT_KIND, files)
        }
        if _refused(made, (candidates_made_for(plan),)) and not plan.rebuilds:
            yield _Changed(f"features of {plan.entity.name!r}", (name,))


def _refused(made: Iterable[MadeFor], readable: Sequence[MadeFor]) -> bool:
    """Whether one of these files carries over to none of these definitions."""
    return not all(any(one.carries_over(now) for now in readable) for one in made)


def _newest_made_for(kind: str, files: Sequence[Path]) -> Iterator[MadeFor]:
    """What the newest readable file of a kind was made for, if there is one."""
    for path in files:
        with contextlib.suppress(SnapshotError):  # a start skips it too, and logs that
            yield read_header(kind, path)[0]
            return
