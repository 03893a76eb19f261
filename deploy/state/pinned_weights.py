"""The weights that arms of experiments are pinned to, kept in the state folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_format import unpack
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.state_folder import LEARNER, PINNED
from freshrank.learner import checkpoints
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.pinned import pinned_of, pinned_weights


def keep_pinned(folder: Path, pipeline: Pipeline, disk: Disk) -> None:
    """Keep the weights of all versions that arms are pinned to, out of the learner's checkpoints.

    Those that are kept already stay, however long their checkpoints are gone. Raises ConfigError
    where no checkpoint has such weights, and where they are of another model or other inputs.
    """
    for place, version in _pinned(pipeline):
        store = FileSnapshots(folder / PINNED, keep=1, disk=disk)
        if not store.candidates(version):
            checkpoint = _checkpoint(folder, version, place, disk)
            try:
                store.save(version, pinned_of(checkpoint, pipeline.bound_model, pipeline.optimizer))
            except SnapshotError as error:
                raise _unusable(place, version, error) from error
        _read(store, version, pipeline, place)


def load_pinned(folder: Path, pipeline: Pipeline) -> Mapping[str, ModelWeights]:
    """By version, the weights that `keep_pinned` has kept in `folder`. Raises ConfigError."""
    pinned = list(_pinned(pipeline))
    if not pinned:
        return {}
    store = FileSnapshots(folder / PINNED, keep=1)
    return {version: _read(store, version, pipeline, place) for place, version in pinned}


def _pinned(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Place and version of each pinned arm, each version once."""
    seen = set[str]()
    for number, experiment in enumerate(pipeline.experiments):
        for index, arm in enumerate(experiment.arms):
            if arm.pinned is not None and arm.pinned not in seen:
                seen.add(arm.pinned)
                place = f"Pipeline({pipeline.name!r}).experiments[{number}].arms[{index}].pinned"
                yield place, arm.pinned


def _checkpoint(folder: Path, version: str, place: str, disk: Disk) -> bytes | bytearray:
    """The newest checkpoint of a version."""
    found = list[str]()
    store = FileSnapshots(folder / LEARNER, disk=disk)
    for kept in store.candidates(checkpoints.NAME):
        try:
            payload = kept.read()
            held = str(unpack(payload).meta["version"])
        except SnapshotError:
            continue  # the learner passes it over, too, and says so
        if held == version:
            return payload
        found.append(held)
    raise ConfigError(
        place,
        f"no checkpoint in {folder / LEARNER} has the weights of version {version}",
        f"There are {', '.join(found)}." if found else "Let the learner write one first.",
    )


def _read(store: FileSnapshots, version: str, pipeline: Pipeline, place: str) -> ModelWeights:
    problem = SnapshotError("it is gone")
    for kept in store.candidates(version):
        try:
            return pinned_weights(kept.read(), pipeline.bound_model)
        except SnapshotError as error:
            problem = error
    raise _unusable(place, version, problem)


def _unusable(place: str, version: str, error: SnapshotError) -> ConfigError:
    return ConfigError(
        place,
        f"the weights of version {version} cannot be used: {error}",
        "Pin weights of the same model and inputs, or leave `pinned` out.",
    )
