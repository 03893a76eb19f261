"""Weights that arms are pinned to: kept before their checkpoint goes, and read by replicas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freshrank import Arm, Experiment, LogisticRegression, Pipeline
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Inputs, Version
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.folders import LEARNER, PINNED
from freshrank.deploy.state.inspect import inspect_state
from freshrank.deploy.state.pinned_weights import check_pinned, keep_pinned, load_pinned
from freshrank.deploy.wiring import assembly
from freshrank.learner.checkpoints import NAME, take
from freshrank.learner.core import Learner
from freshrank.learner.settings import LearnerSettings

PLAIN = PipelineFile.read(Path(__file__).parents[4] / "examples" / "recommend.py").load()


def pinned(*versions: str) -> Pipeline:
    arms = [Arm("live", 0.1), *(Arm(f"v{n}", 0.1, pinned=one) for n, one in enumerate(versions))]
    return replace(PLAIN, experiments=[Experiment("weights", arms)])


def learner(step: int) -> Learner:
    made = assembly.learner(PLAIN, LearnerSettings())
    made.weights.version = Version(1, step)
    made.weights.dense[:] = step / 100
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = FileSnapshots(tmp_path / LEARNER)
    for step in (5, 7, 7):
        store.save(NAME, take(learner(step)).pieces())
    return tmp_path


def some_inputs() -> Inputs:
    layout = PLAIN.encoder.layout
    return Inputs(
        np.ones((3, len(layout.dense)), np.float32), np.ones((3, layout.id_width), np.int64)
    )


def test_weights_are_kept_when_their_checkpoint_is_gone(folder: Path) -> None:
    pipeline = pinned("1.5", "1.7")
    keep_pinned(folder, pipeline, Disk())
    for file in (folder / LEARNER).iterdir():
        file.unlink()
    keep_pinned(folder, pipeline, Disk())
    found = load_pinned(folder, pipeline)
    assert {version: str(one.version) for version, one in found.items()} == {
        "1.5": "1.5", "1.7": "1.7",
    }  # fmt: skip
    for step in (5, 7):
        scores = found[f"1.{step}"].score(some_inputs())
        np.testing.assert_array_equal(scores, learner(step).weights.score(some_inputs()))
    files = [one for one in inspect_state(folder, 0.0) if one.path.parent.name == PINNED]
    assert sorted(str(one.version) for one in files) == ["1.5", "1.7"]
    assert {one.kind for one in files} == {"pinned"}
    assert all(one.problem is None for one in files)


def test_nothing_is_made_without_pinned_arms(folder: Path) -> None:
    keep_pinned(folder, PLAIN, Disk())
    assert load_pinned(folder, PLAIN) == {}
    assert not (folder / PINNED).exists()


def test_a_version_without_a_checkpoint_is_refused_with_those_that_there_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"has the weights of version 1\.6") as caught:
        keep_pinned(folder, pinned("1.6"), Disk())
    assert caught.value.place == "Pipeline('recommend').experiments[0].arms[1].pinned"
    assert caught.value.fix == "There are 1.7, 1.5."


def test_without_any_checkpoint_the_fix_is_to_wait_for_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Let the learner write one first"):
        keep_pinned(tmp_path, pinned("1.5"), Disk())


def test_a_checkpoint_that_is_damaged_is_passed_over(folder: Path) -> None:
    for newest in sorted((folder / LEARNER).iterdir())[1:]:
        newest.write_bytes(newest.read_bytes()[:-20])
    keep_pinned(folder, pinned("1.5"), Disk())
    with pytest.raises(ConfigError, match=r"There are 1\.5"):
        keep_pinned(folder, pinned("1.7"), Disk())


def test_weights_of_another_model_are_refused_at_the_start(folder: Path) -> None:
    keep_pinned(folder, pinned("1.5"), Disk())
    other = replace(pinned("1.5"), context=["item_id"], model=LogisticRegression())
    for use in (
        lambda: keep_pinned(folder, other, Disk()),
        lambda: check_pinned(folder, other),
        lambda: load_pinned(folder, other),
    ):
        with pytest.raises(ConfigError, match="Pin weights of the same model and inputs"):
            use()


def test_weights_that_are_gone_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="it is gone"):
        load_pinned(folder, pinned("1.5"))
