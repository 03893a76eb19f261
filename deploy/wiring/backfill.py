"""The state of a system that has read a history in place of its topics, and goes on with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from freshrank.actors.errors import SnapshotError
from freshrank.actors.kernels.partitioner import partitions_of_texts
from freshrank.actors.messages import Ints
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import Arrivals
from freshrank.deploy.history.partition_batches import batch_for
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import COPIES, ENTITIES, LEARNER, REKEYING, SHARDS
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import snapshot_name
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.reading.copy_files import made_for, packed, progress_name
from freshrank.feature_actors.reading.record_copies import CopyProgress
from freshrank.feature_actors.streams.stream import Stream
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator

# In place of real seconds, in which steps of the learner become due: a history has none, so that
# only the number of examples makes one due.
_NO_TIME_S = 0.0


TopicOffsets: TypeAlias = Mapping[str, Sequence[int]]
"""By topic: the next offset of each partition."""


@dataclass(frozen=True, slots=True)
class Target:
    """The topics that the state is to go on with."""

    partitions: Mapping[str, int]
    """By entity: of each topic that its rows are made of."""
    state: str = ""
    """The origin of the state (`PartitionSpec.state`)."""


class Backfill:
    """The state of all partitions, and the learner, by the engine of a run.

    Examples of `Labelled` are learned where they come, in steps of the size that a run takes when
    it catches up. With `Joined` nothing is learned: a history has no impressions.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, target: Target) -> None:
        self._pipeline = pipeline
        self._target = target
        self.learner = assembly.learner(pipeline, settings.learner, CompiledDifferentiator)
        shards, state = settings.shards, target.state
        own, *others = pipeline.plans
        specs = {own: pipeline.spec(shards, state)}
        for name in others:
            specs[name] = replace(features_only(pipeline.plans[name], shards), state=state)
        self._entities = {
            name: _Entity(spec, target.partitions[name]) for name, spec in specs.items()
        }

    @property
    def entities(self) -> int:
        """How many entities have a row."""
        states = [state for entity in self._entities.values() for state in entity.states]
        return sum(max(map(len, state.row_tables)) for state in states)

    @property
    def learned(self) -> int:
        """How many examples were learned."""
        return self.learner.trained.examples

    def numbered(self, entity: str, keys: Sequence[str]) -> Ints:
        """int64[n]: the partitions of records with these keys of an entity."""
        placed_by = self._pipeline.plans[entity].row_plans[0].source.placed_by
        return partitions_of_texts(keys, self._target.partitions[entity], placed_by)

    def take(self, arrivals: Arrivals) -> None:
        """Apply what has arrived, and learn from it."""
        for entity in self._entities.values():
            entity.take(arrivals)
        own = next(iter(self._entities.values()))
        now_ms = max(int(one.times_ms[-1]) for one in arrivals)
        for state in own.states:
            _learn(self.learner, state, now_ms)

    def move_to(self, offsets: TopicOffsets, ends: TopicOffsets, now_ms: int) -> None:
        """Go on at `offsets` of the topics that others write, and at the `ends` of copies.

        Tables are read from their beginning: their topics hold all rows.
        """
        self._learn_pending(now_ms)
        for entity in self._entities.values():
            tables = {rows.source.log_topic for rows in entity.spec.plan.latest}
            copies = {one.log_topic for one in entity.rekeyed}
            begin = {
                topic: (ends if topic in copies else offsets)[topic]
                for topic in entity.spec.topics
                if topic not in tables
            }
            for state in entity.states:
                moved = {topic: begin[topic][state.partition] for topic in begin}
                state.move_to(moved | dict.fromkeys(tables, 0))
        own = next(iter(self._entities.values()))
        self.learner.applied = {state.partition: state.offsets for state in own.states}
        self.learner.accepted.offsets = dict(self.learner.applied)

    def save(self, folder: Path, offsets: TopicOffsets) -> None:
        """Write all files below `folder`. Raises SnapshotError.

        `offsets` are those of `move_to`: the copies of re-keyed topics begin there.
        """
        self._write(folder)
        own, *others = self._entities
        self._save_progress(own, folder / REKEYING, offsets)
        for name in others:
            self._save_progress(name, folder / ENTITIES / name / COPIES, offsets)

    def keep(self, folder: Path, now_ms: int) -> None:
        """Write below `folder` what `go_on` needs. Raises SnapshotError.

        Examples that wait for a step are learned: a system that does not go on from here has to
        learn them, too, to end with the same weights.
        """
        self._learn_pending(now_ms)
        self._write(folder)

    def go_on(self, folder: Path) -> None:
        """Become what `keep` has written. Raises SnapshotError, DefinitionChanged."""
        for name, entity in self._entities.items():
            store = FileSnapshots(self._snapshots(folder, name))
            count = len(entity.states)
            for number in range(count):
                kept = next(iter(store.candidates(snapshot_name(number))), None)
                if kept is None:
                    raise SnapshotError(f"{folder} has no {snapshot_name(number)} of {name}")
                restored = PartitionState.restore(entity.spec, number, kept.read(), count)
                entity.states[number] = restored
        checkpoints.restore(self.learner, FileSnapshots(folder / LEARNER))

    def _learn_pending(self, now_ms: int) -> None:
        while self.learner.due_in_s(float("inf")) == 0.0:
            self.learner.step(now_ms, _NO_TIME_S)

    def _snapshots(self, folder: Path, name: str) -> Path:
        own = next(iter(self._entities))
        return folder / SHARDS if name == own else folder / ENTITIES / name

    def _write(self, folder: Path) -> None:
        """Write the state of all partitions, and the learner's."""
        for name, entity in self._entities.items():
            store = FileSnapshots(self._snapshots(folder, name))
            for state in entity.states:
                snapshot = state.snapshot()
                snapshot.copy_rows(None)
                store.save(snapshot_name(state.partition), snapshot.pieces())
        taken = checkpoints.take(self.learner)
        FileSnapshots(folder / LEARNER).save(checkpoints.NAME, taken.pieces())

    def _save_progress(self, name: str, copies: Path, offsets: TopicOffsets) -> None:
        entity = self._entities[name]
        if not entity.rekeyed:
            return
        progress, count = FileSnapshots(copies), len(entity.states)
        for stream in [one for one in entity.rekeyed if one.owner is None]:
            for partition, offset in enumerate(offsets[stream.topic]):
                at = replace(CopyProgress.nothing(count), next_offset=offset)
                pieces = packed(made_for(stream, self._target.state), partition, at)
                progress.save(progress_name(stream, partition), pieces)


class _Entity:
    """The partitions of one entity's state."""

    def __init__(self, spec: PartitionSpec, partitions: int) -> None:
        self.spec = spec
        self.states = [PartitionState(spec, number, partitions) for number in range(partitions)]
        sources = [rows.source for rows in spec.plan.row_plans]
        self._sources = {source.topic: source for source in sources}
        self.rekeyed = [one for one in sources if isinstance(one, Stream) and one.rekeyed]
        """Streams whose records are copied for the entity."""

    def take(self, arrivals: Arrivals) -> None:
        """Apply records to the partitions that they belong to.

        Those of the first stream come first: their examples do not know what came later.
        """
        by_topic = {one.topic: one for one in arrivals}
        for topic, source in self._sources.items():
            arrived = by_topic.get(topic)
            if arrived is None:
                continue
            belong = arrived.ids[self.spec.plan.entity.name]
            for number in np.unique(belong).tolist():
                state = self.states[number]
                mine = np.flatnonzero(belong == number)
                chosen = arrived if len(mine) == len(belong) else arrived.take(mine)
                begin = state.offsets[source.log_topic]
                state.process(batch_for(source, chosen, begin, number))


def _learn(learner: Learner, state: PartitionState, now_ms: int) -> None:
    """Learn the examples of a partition; what is learned is kept no longer."""
    queue = state.example_queue
    while (examples := queue.peek()) is not None:
        learner.offer(examples, _NO_TIME_S)
        while learner.due_in_s(_NO_TIME_S) == 0.0:
            learner.step(now_ms, _NO_TIME_S)
        learner.durable = dict(learner.applied)
        queue.acknowledge(learner.progress(state.partition))
