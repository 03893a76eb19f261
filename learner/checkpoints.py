"""Checkpoints: a learner's whole state as one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.errors import DefinitionChanged, ProgressError, SnapshotError
from freshrank.actors.messages import SourceOffsets, Version
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import MadeFor, pack, unpack, unpack_for
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.learner import former_default
from freshrank.learner.core import Learner
from freshrank.learner.guard.quarantine import Quarantined, range_from_json, range_to_json
from freshrank.learner.models.base import Model, weights_fingerprint
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.target_scale import kept_moments

NAME = "learner"
"""Of the files, and the kind in their header."""


@dataclass(frozen=True)
class Checkpoint:
    """A consistent copy of a learner's state, which later steps do not change."""

    made_for: MadeFor
    meta: dict[str, JsonValue]
    arrays: dict[str, NDArray[Any]]
    applied: dict[int, SourceOffsets]

    def pieces(self) -> Iterator[Piece]:
        """The file's contents."""
        return pack(NAME, self.made_for, self.meta, self.arrays)


def made_for(model: Model, optimizer: Optimizer) -> MadeFor:
    """The model on its inputs and the optimiser."""
    text = f"{weights_fingerprint(model)} {optimizer!r}"
    return MadeFor(hashlib.sha256(text.encode()).hexdigest()[:16])


def readable(model: Model, optimizer: Optimizer) -> tuple[MadeFor, ...]:
    """What the checkpoints are made for that a learner with these goes on from."""
    former = former_default.former_of(optimizer)
    return tuple(made_for(model, one) for one in (optimizer, former) if one is not None)


def unpacked(
    payload: bytes | bytearray, model: Model, optimizer: Optimizer
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The (meta, arrays) of a checkpoint, with the state of the optimiser as `optimizer` keeps it.

    Raises DefinitionChanged when it was made for another model or optimiser, and SnapshotError.
    """
    former = former_default.former_of(optimizer)
    if former is not None and unpack(payload).made_for == made_for(model, former):
        meta, arrays = unpack_for(NAME, made_for(model, former), payload)
        return meta, former_default.converted(arrays, model)
    return unpack_for(NAME, made_for(model, optimizer), payload)


def take(learner: Learner) -> Checkpoint:
    """Copy the state.

    Raises ProgressError while gradients are pending: the guard has already judged them, and a
    learner restarted from such a copy would judge them again.
    """
    if learner.accepted.offsets != learner.applied:
        raise ProgressError("a checkpoint of a learner with pending gradients; step before")
    table = learner.weights.table
    return Checkpoint(
        made_for=made_for(learner.model, learner.optimizer),
        meta={
            "version": str(learner.version),
            "total_steps": learner.trained.total_steps,
            "learned": learner.trained.examples,
            "newest_event_ms": learner.newest_event_ms,
            "applied": {
                str(partition): dict(offsets) for partition, offsets in learner.applied.items()
            },
            "quarantined": [
                [*range_to_json(refused.offset_range), refused.reason]
                for refused in learner.quarantine.quarantined
            ],
            "watch": learner.rollback_log.meta(),
            "counted": learner.metrics.kept(),
        },
        arrays={
            "dense": learner.trained.dense_state.copy(),
            "moments": learner.weights.moments,
            "keys": table.keys.copy(),
            "rows": table.rows.copy(),
            "stamps": table.stamps.copy(),
            **learner.validation.arrays(),
            **learner.rollback_log.arrays(),
        },
        applied=dict(learner.applied),
    )


@dataclass(slots=True)
class Restored:
    """From which checkpoint a learner goes on, and which newer ones could not be read."""

    place: str | None = None
    """Where the checkpoint lies; None: there was none."""
    problems: list[str] = field(default_factory=list)


def restore(learner: Learner, store: SnapshotStore) -> Restored:
    """Put a fresh `learner` where the newest readable checkpoint left off, one epoch later.

    Raises DefinitionChanged when it was made for another model or optimiser, and SnapshotError
    when there are files and none can be read.
    """
    found = Restored()
    for kept in store.candidates(NAME):
        try:
            meta, arrays = unpacked(kept.read(), learner.model, learner.optimizer)
        except DefinitionChanged as error:
            raise DefinitionChanged(f"{kept.place}: {error}") from error
        except SnapshotError as error:
            found.problems.append(f"{kept.place} was passed over: {error}")
            continue
        _fill(learner, meta, arrays)
        found.place = kept.place
        return found
    if found.problems:
        raise SnapshotError(f"no checkpoint can be read: {'; '.join(found.problems)}")
    return found


def _fill(learner: Learner, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    learner.trained.dense_state[:] = arrays["dense"]
    arrays["moments"] = kept_moments(arrays.get("moments"), learner.model)
    learner.weights.moments = arrays["moments"]
    learner.weights.table.put(arrays["keys"], arrays["rows"], arrays["stamps"])
    learner.weights.version = Version(Version.parse(meta["version"]).epoch + 1, 0)
    learner.trained.total_steps = meta["total_steps"]
    # Those of before have no schedule; they count what was learned before a reset, too.
    learner.weights.examples = meta.get("learned", meta["counted"]["examples"])
    learner.newest_event_ms = meta["newest_event_ms"]
    applied = {
        int(partition): SourceOffsets.from_json(offsets, learner.topics)
        for partition, offsets in meta["applied"].items()
    }
    if learner.topics:  # shards forget the offsets of topics that are no longer read, too
        applied = {partition: one.only(learner.topics) for partition, one in applied.items()}
    learner.applied = applied
    learner.accepted.offsets = dict(learner.applied)
    learner.durable = dict(learner.applied)
    learner.quarantine.quarantined = [
        Quarantined(range_from_json(offset_range, learner.topics), reason)
        for *offset_range, reason in meta["quarantined"]
    ]
    learner.rollback_log.restore(meta["watch"], arrays, learner.topics)
    learner.metrics.restore(meta["counted"])
    learner.validation.restore(arrays)
