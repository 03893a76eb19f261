"""The start of a partition: from the newest snapshot that its learner can go on from."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.errors import DefinitionChanged, ProgressError, SnapshotError
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec


def snapshot_name(partition: int) -> str:
    """The name of a partition's snapshots in the store."""
    return f"partition-{partition}"


@dataclass(slots=True)
class Recovered:
    """A state to go on with, and the snapshots that were skipped, with reasons."""

    state: PartitionState
    problems: list[str] = field(default_factory=list)


def recover(
    spec: PartitionSpec,
    partition: int,
    snapshots: SnapshotStore,
    progress: Progress | None,
    partitions: int = 1,
) -> Recovered:
    """The newest snapshot that is whole and fits the learner's progress; else a new state.

    A new state reads its topics from the oldest record kept, and gives the learner only what it
    has not applied. `progress` is None where nothing is learned; `partitions` is the number of
    partitions of each topic. Raises DefinitionChanged when the newest snapshot cannot be carried
    over to the definitions of now; the rows of tables are read again then, which their topics hold.
    """
    problems: list[str] = []
    for kept in snapshots.candidates(snapshot_name(partition)):
        try:
            state = PartitionState.restore(spec, partition, kept.read(), partitions)
            if progress is not None:
                state.example_queue.resume(progress)
        except (DefinitionChanged, SnapshotError, ProgressError) as error:
            if isinstance(error, DefinitionChanged) and not spec.plan.rebuilds:
                raise DefinitionChanged(f"{kept.place}: {error}") from error
            problems.append(f"{kept.place} was passed over: {error}")
            continue
        return Recovered(state, problems)
    state = PartitionState(spec, partition, partitions)
    if progress is not None:
        state.example_queue.resume(progress)
    return Recovered(state, problems)
