"""The weights that arms of experiments are pinned to, kept in the state folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.actors.snapshots.file_format import unpack
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.actors.snapshots.store import StoredSnapshot
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import LEARNER, PINNED
from freshrank.learner import checkpoints
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.pinned import pinned_of, pinned_weights


def keep_pinned(folder: Path, pipeline: Pipeline, disk: Disk) -> None:
    """Keep the weights of all versions that arms are pinned to, out of the learner's checkpoints.

    Those that are kept already stay, however long their checkpoints are gone. Raises ConfigError
    where no checkpoint has such weights, and where they are of another model or other inputs.
    """
    for place, version in _pinned(pipeline):
        kept = folder / PINNED
        if not _stored(kept, version):
            pieces = _made(folder, pipeline, version, place)
            try:
                FileSnapshots(kept, keep=1, disk=disk).save(version, pieces)
            except SnapshotError as error:
                raise _unusable(place, version, error) from error
        _read(_stored(kept, version), version, pipeline, place)


def check_pinned(folder: Path, pipeline: Pipeline) -> None:
    """Raise ConfigError where `keep_pinned` would; nothing is written."""
    for place, version in _pinned(pipeline):
        stored = _stored(folder / PINNED, version)
        if not stored:
            pieces = _made(folder, pipeline, version, place)
            stored = [StoredSnapshot(str(folder / LEARNER), partial(b"".join, pieces))]
        _read(stored, version, pipeline, place)


def load_pinned(folder: Path, pipeline: Pipeline) -> Mapping[str, ModelWeights]:
    """By version, the weights that `keep_pinned` has kept in `folder`. Raises ConfigError."""
    kept = folder / PINNED
    return {
        version: _read(_stored(kept, version), version, pipeline, place)
        for place, version in _pinned(pipeline)
    }


def _stored(folder: Path, name: str) -> list[StoredSnapshot]:
    """The files of `name` in a folder, which is not made where there is none."""
    return FileSnapshots(folder).candidates(name) if folder.is_dir() else []


def _pinned(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Place and version of each pinned arm, each version once."""
    seen = set[str]()
    for number, experiment in enumerate(pipeline.experiments):
        for index, arm in enumerate(experiment.arms):
            if arm.pinned is not None and arm.pinned not in seen:
                seen.add(arm.pinned)
                place = f"Pipeline({pipeline.name!r}).experiments[{number}].arms[{index}].pinned"
                yield place, arm.pinned


def _made(folder: Path, pipeline: Pipeline, version: str, place: str) -> Iterator[Piece]:
    """The contents of the file of a version, of its newest checkpoint. Raises ConfigError."""
    checkpoint = _checkpoint(folder, version, place)
    try:
        return pinned_of(checkpoint, pipeline.bound_model, pipeline.optimizer)
    except SnapshotError as error:
        raise _unusable(place, version, error) from error


def _checkpoint(folder: Path, version: str, place: str) -> bytes | bytearray:
    """The newest checkpoint of a version."""
    found = dict[str, None]()  # several checkpoints may be of one version
    for kept in _stored(folder / LEARNER, checkpoints.NAME):
        try:
            payload = kept.read()
            held = str(unpack(payload).meta["version"])
        except SnapshotError:
            continue  # the learner passes it over, too, and says so
        if held == version:
            return payload
        found[held] = None
    raise ConfigError(
        place,
        f"no checkpoint in {folder / LEARNER} has the weights of version {version}",
        f"There are {', '.join(found)}." if found else "Let the learner write one first.",
    )


def _read(
    stored: list[StoredSnapshot], version: str, pipeline: Pipeline, place: str
) -> ModelWeights:
    problem = SnapshotError("it is gone")
    for kept in stored:
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
