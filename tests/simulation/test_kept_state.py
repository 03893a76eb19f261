"""State of the version before: it is read, and a system goes on from it to where that one went."""

from __future__ import annotations

import asyncio
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_clock import ManualClock
from typer.testing import CliRunner

from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.commands.state import state_app
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.folders import LEARNER, SHARDS
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring import assembly
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner

DATA = Path(__file__).parent.parent / "data" / "state_format_3"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
SETTINGS = Settings.model_validate(EXPECTED["settings"])
PARTITIONS = 2


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return PipelineFile.read(DATA / "pipeline.py").load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder, as it was left behind."""
    # Not by `extractall`: Python before 3.11.4 has no filter for it, later ones warn without.
    with tarfile.open(DATA / "state.tar.xz") as packed:
        for member in packed.getmembers():
            place = tmp_path / member.name
            if (file := packed.extractfile(member)) is not None:
                place.parent.mkdir(0o700, parents=True, exist_ok=True)
                place.write_bytes(file.read())
    return tmp_path


def recorded() -> MemoryLog:
    log = MemoryLog(PARTITIONS)
    records = msgspec.msgpack.decode(lzma.decompress((DATA / "log.msgpack.xz").read_bytes()))
    for topic, partitions in records.items():
        for partition, found in enumerate(partitions):
            stamps_ms = np.array([stamp_ms for stamp_ms, _ in found], dtype=np.int64)
            log.extend(topic, partition, [value for _, value in found], stamps_ms)
    return log


def check_partition(
    pipeline: Pipeline, state: PartitionState, expected: dict[str, Any], at_ms: int
) -> None:
    """That the state is what the version before found at `at_ms`."""
    (table,) = state.tables
    assert dict(state.offsets) == expected["offsets"]
    counters = {name: getattr(state.counters, name) for name in expected["counters"]}
    assert counters == expected["counters"]
    for entity, features in expected["features"].items():
        row = table.row(entity)
        assert (row is None) == (features is None), entity
        if row is not None:
            name = pipeline.stream.key.name
            described = pipeline.online_features.describe(name, [row.tobytes()], at_ms)
            told = json.loads(json.dumps(described, default=float))
            assert without_values_of_bags(told) == features, entity
    assert len(table) == expected["entities"]
    assert sorted(table.entities(table.dirty.peek())) == expected["dirty"]
    assert sorted(table.evicted) == expected["evicted"]
    assert state.joiner is not None
    waiting = (state.joiner.pending, state.joiner.labels, state.example_queue.examples)
    assert waiting == (expected["pending"], expected["label_events"], expected["examples"])
    kept = state.example_queue.freeze()()
    columns = [dict(zip(pipeline.topics, one, strict=True)) for one in kept["ends"].tolist()]
    spans = [[end, count] for end, count in zip(columns, kept["counts"].tolist(), strict=True)]
    assert spans == [[end, count] for _, end, count in expected["spans"]]
    assert len(state.snapshot().parts["dedup/kept-behaviour"]()["ids"]) == expected["event_ids"]


def without_values_of_bags(features: dict[str, Any]) -> dict[str, Any]:
    """`features` as the version before described them: its bags had ids and weights only."""
    return {
        name: [{key: entry[key] for key in ("id", "weight")} for entry in value]
        if isinstance(value, list)
        else value
        for name, value in features.items()
    }


def check_learner(core: Learner, expected: dict[str, Any]) -> None:
    """That the learner is where that of the version before was."""
    applied = {str(partition): dict(offsets) for partition, offsets in core.applied.items()}
    assert applied == expected["applied"]
    assert str(core.version) == expected["version"]
    assert core.trained.total_steps == expected["total_steps"]
    first = core.quarantine.quarantined[0].offset_range
    assert len(core.quarantine.quarantined) == expected["quarantined"]
    quarantined = [first.partition, dict(first.begin), dict(first.end)]
    assert quarantined == expected["first_quarantined"]
    status = core.status(monotonic=0.0)
    assert status["examples"] == expected["examples"]
    assert [status["auc"], status["log_loss"]] == pytest.approx(
        [expected["auc"], expected["log_loss"]], rel=1e-6
    )
    table = core.weights.table
    assert len(table) == expected["rows"]
    assert core.weights.dense[:6] == pytest.approx(expected["dense"], rel=1e-5)
    rows = dict(zip(table.keys.tolist(), table.rows, strict=True))
    for key, row in expected["row"].items():
        assert rows[int(key)] == pytest.approx(row, rel=1e-5), key


def test_the_snapshots_of_the_version_before_are_restored(pipeline: Pipeline, folder: Path) -> None:
    store = FileSnapshots(folder / SHARDS)
    spec = pipeline.spec(SETTINGS.shards)
    for partition in range(PARTITIONS):
        newest = store.candidates(f"partition-{partition}")[0]
        state = PartitionState.restore(spec, partition, newest.read())
        expected = EXPECTED["restored"]["partitions"][str(partition)]
        check_partition(pipeline, state, expected, EXPECTED["at_ms"])


def test_the_checkpoint_of_the_version_before_is_restored(pipeline: Pipeline, folder: Path) -> None:
    core = assembly.learner(pipeline, SETTINGS.learner)
    found = checkpoints.restore(core, FileSnapshots(folder / LEARNER))
    assert found.problems == []
    check_learner(core, EXPECTED["restored"]["learner"])


def go_on(pipeline: Pipeline, folder: Path) -> dict[int, PartitionState]:
    """Read the rest of the log with what is in `folder`; gives the state of each partition."""
    world = World(
        recorded(),
        ManualClock(EXPECTED["end_ms"]),
        snapshots=FileSnapshots(folder / SHARDS),
        checkpoints=FileSnapshots(folder / LEARNER),
    )

    async def play() -> dict[int, PartitionState]:
        system = LocalSystem(pipeline, SETTINGS, world)
        await system.start()
        await system.drain()
        assert (await system.status())["version"] == EXPECTED["end"]["learner"]["version"]
        await system.learner.stop()
        return {one: state for shard in system.shards for one, state in shard.states.items()}

    return asyncio.run(play())


def check_learned(pipeline: Pipeline, folder: Path) -> None:
    """That the newest checkpoint is what the version before came to at the end of the log."""
    core = assembly.learner(pipeline, SETTINGS.learner)
    assert checkpoints.restore(core, FileSnapshots(folder / LEARNER)).place is not None
    check_learner(core, {**EXPECTED["end"]["learner"], "version": "5.0"})


def test_a_system_goes_on_from_it_to_where_the_version_before_went(
    pipeline: Pipeline, folder: Path
) -> None:
    states = go_on(pipeline, folder)
    assert sorted(states) == list(range(PARTITIONS))
    for partition, state in states.items():
        expected = EXPECTED["end"]["partitions"][str(partition)]
        check_partition(pipeline, state, expected, EXPECTED["end_ms"])
    check_learned(pipeline, folder)


def test_a_damaged_newest_snapshot_leads_to_the_same_weights_by_way_of_the_one_before(
    pipeline: Pipeline, folder: Path
) -> None:
    (folder / SHARDS / "partition-0.000000000004.snapshot").write_bytes(b"")
    go_on(pipeline, folder)
    check_learned(pipeline, folder)


def test_its_files_are_inspected_and_verified(folder: Path) -> None:
    run = CliRunner()
    shown = run.invoke(state_app, ["inspect", str(folder)])
    assert (shown.exit_code, shown.output.count(" ok")) == (0, 6)
    assert "offset 768 and 190" in shown.output
    assert "version 4.0" not in shown.output  # the next epoch begins with the next start
    verified = run.invoke(state_app, ["verify", str(folder)])
    assert (verified.exit_code, verified.output) == (0, "6 of 6 files are whole\n")


def test_a_run_may_go_on_with_it(pipeline: Pipeline, folder: Path) -> None:
    StateFolder(folder, "kafka.example:9092").check(pipeline)
