"""The files that a pipeline's shards and learner write, before any event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.learner import checkpoints
from freshrank.learner.settings import LearnerSettings


def make_files(folder: Path, pipeline: Pipeline, partitions: Sequence[int] = (0,)) -> None:
    """Write a snapshot of each partition of each entity, and a checkpoint."""
    snapshots(folder / SHARDS, pipeline.spec(ShardSettings()), partitions)
    for plan in pipeline.candidate_plans:
        spec = features_only(plan, ShardSettings())
        snapshots(folder / ENTITIES / plan.entity.name, spec, partitions)
    taken = checkpoints.take(assembly.learner(pipeline, LearnerSettings()))
    FileSnapshots(folder / LEARNER).save(checkpoints.NAME, taken.pieces())


def snapshots(folder: Path, spec: PartitionSpec, partitions: Sequence[int]) -> None:
    """Write a snapshot of each of some partitions."""
    for partition in partitions:
        snapshot = PartitionState(spec, partition).snapshot()
        snapshot.copy_rows(None)
        FileSnapshots(folder).save(f"partition-{partition}", snapshot.pieces())
