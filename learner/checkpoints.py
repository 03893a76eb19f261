"""Checkpoints: a learner's whole state as one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from numpy.typing import NDArray

from freshrank.actors.errors import DefinitionChanged, ProgressError, SnapshotError
from freshrank.actors.messages import InputLayout, SourceOffsets, Version
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import MadeFor, pack, unpack_for
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.learner import changed_inputs, former_default
from freshrank.learner.changed_inputs import ChangedInputs
from freshrank.learner.core import Learner
from freshrank.learner.guard.quarantine import (
    Quarantined,
    Refusal,
    range_from_json,
    range_to_json,
)
from freshrank.learner.models.base import Model, Rebindable, weights_fingerprint
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.state_columns import has_state_by_weight
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


_NO_INPUTS = InputLayout((), ())


def made_for(model: Model, optimizer: Optimizer) -> MadeFor:
    """The model on its inputs and the optimiser; the basis is that of the same on other inputs.

    There is none where it is not known what the weights or their state belong to: of a model that
    is not `Rebindable`, and of an optimiser that keeps no `has_state_by_weight`.
    """
    basis = ""
    if isinstance(model, Rebindable) and has_state_by_weight(optimizer):
        basis = _digits(model.rebound(_NO_INPUTS).fingerprint, optimizer)
    return MadeFor(_digits(weights_fingerprint(model), optimizer), basis)


def _digits(model: str, optimizer: Optimizer) -> str:
    return hashlib.sha256(f"{model} {optimizer!r}".encode()).hexdigest()[:16]


def readable(model: Model, optimizer: Optimizer) -> tuple[MadeFor, ...]:
    """What the checkpoints are made for that a learner with these goes on from."""
    return tuple(made_for(model, one) for one in _optimizers(optimizer))


def _optimizers(optimizer: Optimizer) -> list[Optimizer]:
    """Those whose state one with `optimizer` goes on from."""
    former = former_default.former_of(optimizer)
    return [optimizer] if former is None else [optimizer, former]


class Unpacked(NamedTuple):
    """A checkpoint as a learner with the model and the optimiser of now has it."""

    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    changed: ChangedInputs | None = None
    """None: it was made by a model on the same inputs."""


def unpacked(payload: bytes | bytearray, model: Model, optimizer: Optimizer) -> Unpacked:
    """Read a checkpoint; one of a model on other inputs is carried over to those of `model`.

    Raises DefinitionChanged when it was made for another model or optimiser, and SnapshotError.
    """
    (meta, arrays), made_by = _unpacked_for(payload, model, optimizer)
    now = KeptLayout.of(model.layout)
    # Files of before do not tell: their fingerprint has the inputs' names.
    before = msgspec.convert(meta["inputs"], KeptLayout) if "inputs" in meta else now
    if before == now:
        return Unpacked(meta, _stepped_by(optimizer, made_by, arrays, model))
    if not (isinstance(model, Rebindable) and has_state_by_weight(optimizer)):
        raise DefinitionChanged(f"made for other inputs: {ChangedInputs.of(before, now)}")
    arrays = _stepped_by(optimizer, made_by, arrays, model.rebound(before.layout))
    return Unpacked(*changed_inputs.carried_over(meta, arrays, model, optimizer))


def _stepped_by(
    optimizer: Optimizer, made_by: Optimizer, arrays: dict[str, NDArray[Any]], model: Model
) -> dict[str, NDArray[Any]]:
    """The arrays as `optimizer` has them, of a checkpoint of `model` that another may have made."""
    return arrays if made_by == optimizer else former_default.converted(arrays, model)


def _unpacked_for(
    payload: bytes | bytearray, model: Model, optimizer: Optimizer
) -> tuple[tuple[dict[str, Any], dict[str, NDArray[Any]]], Optimizer]:
    """The (meta, arrays) of a checkpoint, and the optimiser that it was made by."""
    problem: DefinitionChanged | None = None
    for one in _optimizers(optimizer):
        try:
            return unpack_for(NAME, made_for(model, one), payload), one
        except DefinitionChanged as error:
            problem = problem or error
    assert problem is not None  # there is one optimiser at least
    raise problem


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
            "inputs": msgspec.to_builtins(KeptLayout.of(learner.model.layout)),
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
    changed: ChangedInputs | None = None
    """How its inputs differ from those of now; None: they do not."""

    def status(self) -> dict[str, JsonValue]:
        """What of it a learner says about its start."""
        changed = None if self.changed is None else self.changed.to_json()
        return {"passed_over": [*self.problems], "changed_inputs": changed}


def restore(learner: Learner, store: SnapshotStore) -> Restored:
    """Put a fresh `learner` where the newest readable checkpoint left off, one epoch later.

    Where that is of other inputs, what belongs to those that stay goes on (`changed_inputs`), and
    what the guard held back is quarantined.

    Raises DefinitionChanged when it was made for another model or optimiser, and SnapshotError
    when there are files and none can be read.
    """
    found = Restored()
    for kept in store.candidates(NAME):
        try:
            meta, arrays, changed = unpacked(kept.read(), learner.model, learner.optimizer)
        except DefinitionChanged as error:
            raise DefinitionChanged(f"{kept.place}: {error}") from error
        except SnapshotError as error:
            found.problems.append(f"{kept.place} was passed over: {error}")
            continue
        _fill(learner, meta, arrays)
        if changed and changed.refused:
            learner.metrics.refused[Refusal.INPUTS] += changed.examples_refused
            learner.quarantine.refused({changed_inputs.REASON: changed.refused})
        found.place, found.changed = kept.place, changed
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
