"""A learner's state as one file: weights, optimiser state, what was applied, the version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.messages import Cut, Span, Version
from freshrank.actors.protocols import JsonValue, SnapshotStore
from freshrank.actors.snapshots import pack, unpack
from freshrank.learner.core import Learner
from freshrank.learner.incidents import Quarantined
from freshrank.learner.validation import ProgressiveValidation

NAME = "learner"
"""Of the files, and their kind."""


@dataclass(frozen=True)
class Checkpoint:
    """A consistent copy of a learner's state, independent of the learner from here on."""

    fingerprint: str
    meta: dict[str, JsonValue]
    arrays: dict[str, NDArray[Any]]
    applied: dict[int, Cut]

    def pack(self) -> bytes:
        """The file's payload."""
        return pack(NAME, self.fingerprint, self.meta, self.arrays)


def fingerprint(learner: Learner) -> str:
    """Of what a checkpoint has to fit: the model on its inputs, and the optimiser."""
    text = f"{learner.model.fingerprint} {learner.optimizer!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def take(learner: Learner) -> Checkpoint:
    """Copy the state. What is pending is left out: the shards still hold it."""
    table = learner.weights.table
    return Checkpoint(
        fingerprint=fingerprint(learner),
        meta={
            "version": str(learner.version),
            "total_steps": learner.trained.total_steps,
            "newest_event_ms": learner.newest_event_ms,
            "applied": {str(one): list(cut) for one, cut in learner.applied.items()},
            "quarantined": [
                [one.span.partition, list(one.span.begin), list(one.span.end), one.reason]
                for one in learner.incidents.quarantined
            ],
            "watch": learner.watch.meta(),
        },
        arrays={
            "dense": learner.trained.dense_state.copy(),
            "keys": table.keys.copy(),
            "rows": table.rows.copy(),
            "stamps": table.stamps.copy(),
            **learner.validation.arrays(),
            **learner.watch.arrays(),
        },
        applied=dict(learner.applied),
    )


def restore(learner: Learner, store: SnapshotStore) -> bool:
    """Put a fresh `learner` where the newest readable checkpoint left off, one epoch later.

    False when there is none. Raises DefinitionChanged when it was made for another model or
    optimiser, and SnapshotError when there are files and none can be read.
    """
    payloads = store.candidates(NAME)
    refused: list[str] = []
    for payload in payloads:
        try:
            meta, arrays = unpack(NAME, fingerprint(learner), payload)
        except DefinitionChanged:
            raise
        except SnapshotError as error:
            refused.append(str(error))
            continue
        _fill(learner, meta, arrays)
        return True
    if refused:
        raise SnapshotError(f"none of {len(refused)} checkpoints can be read: {'; '.join(refused)}")
    return False


def _fill(learner: Learner, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    learner.trained.dense_state[:] = arrays["dense"]
    learner.weights.table.put(arrays["keys"], arrays["rows"], arrays["stamps"])
    learner.weights.version = Version(Version.parse(meta["version"]).epoch + 1, 0)
    learner.trained.total_steps = meta["total_steps"]
    learner.newest_event_ms = meta["newest_event_ms"]
    learner.applied = {int(one): tuple(cut) for one, cut in meta["applied"].items()}
    learner.accepted.cuts = dict(learner.applied)
    learner.durable = dict(learner.applied)
    learner.incidents.quarantined = [
        Quarantined(Span(partition, tuple(begin), tuple(end)), reason)
        for partition, begin, end, reason in meta["quarantined"]
    ]
    learner.watch.restore(meta["watch"], arrays)
    learner.validation = ProgressiveValidation.restore(arrays)
