"""`freshrank state`, on the files that a shard and a learner write."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning import NO_DENSE
from small_shop import batch, event, impression, spec
from source_offsets import upto
from typer.testing import CliRunner

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.crashes.recorded_stream import users_of
from freshrank.deploy.commands.state import state_app
from freshrank.deploy.state.inspect import inspect_state
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.settings import LearnerSettings

# As a pipeline's, which fit into a column.
MADE = replace(spec(), made_for=MadeFor("0123456789abcdef"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder: two snapshots of one partition, one checkpoint, and other things."""
    shards = FileSnapshots(tmp_path / "shards")
    state, users = PartitionState(MADE, 3, 4), users_of(3, 4, 2)
    for offset in range(2):
        value = event(offset, users[offset], "view", 7, 1_000)
        state.process(batch("events", [value], offset, stamps_ms=[1_000], partition=3))
        shown = [impression(MADE, users[1], [7, 8], 1_000)]
        state.process(batch("shown", shown, offset, stamps_ms=[1_000], partition=3))
        snapshot = state.snapshot()
        snapshot.copy_rows(None)
        shards.save("partition-3", snapshot.pieces())
    learner = Learner(LogisticRegression().bind(NO_DENSE), SGD(0.1), LearnerSettings())
    learner.applied = learner.accepted.offsets = {3: upto(812, 40)}
    FileSnapshots(tmp_path / "learner").save("learner", checkpoints.take(learner).pieces())
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out").write_bytes(b"curves")
    return tmp_path


def newest(folder: Path) -> Path:
    return folder / "shards" / "partition-3.000000000002.snapshot"


def damage(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[-20] ^= 1  # within the arrays
    path.write_bytes(payload)


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(state_app, arguments)
    return done.exit_code, done.output


def test_inspect_shows_what_each_file_holds(folder: Path) -> None:
    code, shown = run("inspect", str(folder))
    assert code == 0
    checkpoint, last, first = shown.splitlines()[1:]
    assert "version 1.0 of 1 partitions" in checkpoint
    assert "events 2, shown 2" in last
    assert "events 1, shown 1" in first
    for line in (checkpoint, last, first):
        assert line.rstrip().endswith("ok")


def test_the_json_has_all_figures(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    assert run("inspect", str(folder), "--json", str(file))[0] == 0
    checkpoint, last, first = json.loads(file.read_text())
    assert last == {
        "path": str(newest(folder)),
        "bytes": newest(folder).stat().st_size,
        "age_s": last["age_s"],
        "newest": True,
        "problem": None,
        "kind": "partition",
        "format": 4,
        "fingerprint": MADE.made_for.fingerprint,
        "partition": 3,
        "version": None,
        "offsets": {"events": 2, "shown": 2},
        "applied": None,
        "rows": 2,
        "examples": 0,
        "pending": 4,
    }
    assert (first["newest"], first["rows"]) == (False, 1)
    assert (checkpoint["kind"], checkpoint["applied"]) == (
        "learner",
        {"3": {"events": 812, "shown": 40}},
    )


def test_the_age_is_that_of_the_file(folder: Path) -> None:
    os.utime(newest(folder), (1_000.0, 1_000.0))
    ages = {one.path: one.age_s for one in inspect_state(folder, now_s=1_060.0)}
    assert ages[newest(folder)] == 60.0


def test_verify_is_content_with_whole_files(folder: Path) -> None:
    assert run("verify", str(folder)) == (0, "3 of 3 files are whole\n")


def test_verify_fails_when_a_newest_file_is_bad_and_names_it(folder: Path) -> None:
    damage(newest(folder))
    code, shown = run("verify", str(folder))
    assert code == 1
    assert f"{newest(folder)}: truncated or damaged: the checksum does not fit" in shown
    assert "2 of 3 files are whole" in shown
    assert run("verify", str(newest(folder)))[0] == 1


def test_inspect_ends_as_verify_does(folder: Path) -> None:
    foreign = folder / "tensorboard" / "events.out"
    assert run("inspect", str(foreign))[0] == run("verify", str(foreign))[0] == 1
    damage(newest(folder).with_name("partition-3.000000000001.snapshot"))
    assert run("inspect", str(folder))[0] == run("verify", str(folder))[0] == 0
    damage(newest(folder))
    code, shown = run("inspect", str(folder))
    assert (code, shown.count("truncated or damaged")) == (1, 2)


def test_an_older_file_that_is_bad_is_named_only(folder: Path) -> None:
    older = newest(folder).with_name("partition-3.000000000001.snapshot")
    older.write_bytes(older.read_bytes()[:-1])
    code, shown = run("verify", str(folder))
    assert code == 0
    assert f"{older}: truncated or damaged" in shown


def test_a_foreign_file_is_reported(tmp_path: Path) -> None:
    np.save(tmp_path / "a.1.snapshot", np.arange(3))
    (tmp_path / "a.1.snapshot.npy").rename(tmp_path / "a.1.snapshot")
    code, shown = run("verify", str(tmp_path))
    assert code == 1
    assert "not a Freshrank file" in shown


@pytest.mark.parametrize("place", ["missing", "tensorboard"])
def test_nothing_to_look_at_is_a_mistake_of_the_caller(folder: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        inspect_state(folder / place, 0.0)


def test_the_commands_explain_themselves() -> None:
    code, shown = run("verify", "--help")
    assert code == 0
    assert "exit code" in shown
    assert run("verify")[0] == 2
