"""`freshrank plan`: what differs from the state, and whether a start goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from mistakes import RIGHT

from freshrank.actors.errors import ConfigError
from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy import cli
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.folders import LEARNER, SHARDS
from freshrank.deploy.state.state_folder import FILLING, StateFolder
from freshrank.deploy.wiring import assembly, start_checks
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner import checkpoints
from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.scoring.service import ScoringService

STATE = Path(".freshrank/songs")
TOPICS = {"plays": TopicIdentity("a", 1)}


class Plan:
    """`freshrank plan` in a folder with the state of a pipeline."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch
        self.errors = ""
        """What was said last on the standard error."""
        Path("songs.py").write_text(RIGHT)

    def make_state(self, bootstrap: str = "kafka:9092") -> None:
        pipeline, settings = PipelineFile.read(Path("songs.py")).load(), Settings()
        STATE.mkdir(parents=True, exist_ok=True)
        StateFolder(STATE, bootstrap).begin(print, TOPICS, pipeline)
        snapshot = PartitionState(pipeline.spec(settings.shards), 0).snapshot()
        snapshot.copy_rows(None)
        FileSnapshots(STATE / SHARDS).save("partition-0", snapshot.pieces())
        taken = checkpoints.take(assembly.learner(pipeline, settings.learner))
        FileSnapshots(STATE / LEARNER).save(checkpoints.NAME, taken.pieces())

    def of(self, *changes: tuple[str, str], kafka: str = "kafka:9092") -> tuple[object, str]:
        """Exit status, and what was said, after changes of the pipeline's file."""
        text = RIGHT
        for was, now in changes:
            assert was in text
            text = text.replace(was, now)
        Path("songs.py").write_text(text)
        argv = ["freshrank", "plan", "songs.py", "--kafka", kafka]
        self._patch.setattr(sys, "argv", argv)
        status: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code
        said, self.errors = self._capsys.readouterr()
        return status, said


@pytest.fixture
def plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Plan:
    monkeypatch.chdir(tmp_path)
    return Plan(capsys, monkeypatch)


def test_without_a_state_a_start_begins_anew(plan: Plan) -> None:
    status, said = plan.of()
    assert status == 0
    assert "holds no state: a start begins with the topics' oldest records" in said
    assert "What was deleted before is in files only (freshrank backfill)" in said
    assert not STATE.exists()


def test_a_start_that_would_leave_a_backfill_out_is_refused(plan: Plan) -> None:
    draft = STATE.with_name("songs.draft")
    draft.mkdir(parents=True)
    status, said = plan.of()
    assert status == 2
    assert f"A start is refused: {draft.absolute()}: a backfill was interrupted" in said
    assert "Run the same `freshrank backfill` again" in said
    plan.make_state()
    assert plan.of()[0] == 0, "what is left beside a state of its own is not missed"


def test_an_unchanged_pipeline_goes_on(plan: Plan) -> None:
    plan.make_state()
    before = sorted(STATE.rglob("*"))
    status, said = plan.of()
    assert status == 0
    assert "0 rows in 1 partitions; a model of 0 ids" in said
    assert "  features of 'listener' from 'plays': 4 as they were\n  inputs" in said
    assert "A start goes on from this state" in said
    assert sorted(STATE.rglob("*")) == before


def test_what_was_added_dropped_and_changed_is_named_and_a_start_refused(plan: Plan) -> None:
    plan.make_state()
    status, said = plan.of(
        ('listened = Sum("seconds", windows=["1h"])', 'heard = Sum("seconds", windows=["1h"])'),
        ('half_life="2d"', 'half_life="3d"'),
        ("Adagrad(0.1)", "SGD(0.2)"),
    )
    assert status == 2
    assert "from 'plays': 2 as they were" in said
    assert "    + Listening.heard = Sum('seconds', windows=['1h'])\n" in said
    assert "    - Listening.listened = " in said
    (changed,) = [line for line in said.splitlines() if "~ Listening.taste" in line]
    now, _, was = changed.partition(", was ")
    assert now.endswith(" = DecayedCount(by='genre', half_life='3d')")
    assert was == "DecayedCount(by='genre', half_life='2d')"
    assert "    + heard_1h = number" in said
    assert "    ~ optimizer = SGD(" in said
    assert "A start is refused: " in said
    assert "the definitions of pipeline 'songs'" in said


def test_features_are_told_as_a_file_declares_them(plan: Plan) -> None:
    plan.make_state()
    said = plan.of(
        ('where=col.kind == "finish", windows=["10m", "1d"]', 'windows=["10m", "2d"]'),
        ('windows=["1h"]', 'windows=["60m"]'),
    )[1]
    (changed,) = [line for line in said.splitlines() if "~ Listening" in line]
    now, _, was = changed.partition(", was ")
    assert now.endswith("Listening.finished = Count(windows=['10m', '2d'])")
    assert was == "Count(where=(kind == 'finish'), windows=['10m', '1d'])"


def test_numbers_that_are_cleaned_otherwise_need_a_new_model(plan: Plan) -> None:
    plan.make_state()
    status, said = plan.of(
        ("    SGD, Adagrad", "    Clipped, SGD, Adagrad"),
        ("(0.1),", '(0.1),\n    cleaning=[Clipped("listened_1h", high=0.9)],'),
    )
    assert status == 2
    assert "    + Clipped('listened_1h') = Clipped(name='listened_1h', low=0.01, high=0.9" in said
    assert "    - " not in said
    assert "A start is refused: " in said


def test_the_state_of_an_embedded_broker_is_not_gone_on_with(plan: Plan) -> None:
    plan.make_state("embedded")
    status, said = plan.of(kafka="embedded")
    assert status == 0
    assert "A start begins anew: the embedded broker of the state ends" in said


def test_state_of_another_broker_is_refused(plan: Plan) -> None:
    plan.make_state("apache")
    status, said = plan.of()
    assert status == 2
    assert "A start is refused: " in said
    assert "made with kafka.bootstrap = 'apache'" in said


def test_a_state_without_the_record_says_so(plan: Plan) -> None:
    plan.make_state()
    (STATE / "definitions.json").unlink()
    status, said = plan.of()
    assert status == 0
    assert "an older version began it" in said


def pinned(version: str) -> tuple[tuple[str, str], ...]:
    """Changes that give the pipeline an arm with the weights of a version."""
    arms = f'[Arm("live", 0.5), Arm("before", 0.5, pinned="{version}")]'
    return (
        ("    SGD, Adagrad", "    Arm, Experiment, SGD, Adagrad"),
        ("(0.1),", f'(0.1),\n    experiments=[Experiment("weights", {arms})],'),
    )


def test_an_arm_with_weights_that_there_are_not_is_refused_as_a_start_does(plan: Plan) -> None:
    status, said = plan.of(*pinned("1.0"))
    assert status == 2
    assert "Let the learner write one first" in said
    assert not STATE.exists()
    plan.make_state()
    before = sorted(STATE.rglob("*"))
    assert plan.of(*pinned("1.0"))[0] == 0
    status, said = plan.of(*pinned("1.99"))
    assert status == 2
    assert "A start is refused: Pipeline('songs').experiments[0].arms[1].pinned: " in said
    assert "There are 1.0." in said
    assert sorted(STATE.rglob("*")) == before


def test_a_folder_that_a_run_holds_is_told_with_the_run(plan: Plan) -> None:
    plan.make_state()
    with StateFolder(STATE, "kafka:9092").held():
        for _ in range(2):
            status, said = plan.of()
            assert f"A run holds the folder (process {os.getpid()} of" in said
            assert "A start goes on from this state" in said
            assert status == 0, "what a start does after the end of the run"
    assert "holds the folder" not in plan.of()[1]


def test_settings_with_which_the_endpoint_does_not_start_are_refused_as_a_start_does(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHRANK_SERVE__HOST", "0.0.0.0")
    status, said = plan.of()
    assert (status, said) == (2, "")
    assert "there is no API key. Make one (`freshrank keys create" in plan.errors
    monkeypatch.setenv("FRESHRANK_SERVE__INSECURE", "true")
    assert plan.of()[0] == 0


def test_a_pipeline_of_which_no_routes_can_be_made_is_refused(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(service: ScoringService, guard: RequestGuard) -> None:
        raise ConfigError(service.pipeline.name, "two types have one name", "Rename one.")

    monkeypatch.setattr(start_checks, "routes_of", refuse)
    assert plan.of() == (2, "")
    assert "songs: two types have one name. Rename one." in plan.errors


def test_times_that_would_be_rejected_for_want_of_a_zone_are_told(plan: Plan) -> None:
    note = "Stream('plays').time: a text without an offset, as 2024-05-17T11:30:00, is rejected"
    assert note not in plan.of()[1]
    text = ("    at: int", "    at: str")
    status, said = plan.of(text)
    assert status == 0
    assert note in said
    assert "written to 'plays.dead'" in said
    assert note not in plan.of(text, ('time="at"', 'time="at", time_zone="Europe/Berlin"'))[1]


def test_a_damaged_newest_file_is_told(plan: Plan) -> None:
    plan.make_state()
    plan.make_state()
    newest = max((STATE / SHARDS).iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    status, said = plan.of()
    assert status == 0
    assert f"{newest.absolute()} is passed over: truncated" in said
    assert "0 rows in 1 partitions" in said, "of the file before, which a start takes"


def damage(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir())
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    return files


def test_a_partition_of_which_every_snapshot_is_damaged_is_told_to_begin_anew(plan: Plan) -> None:
    plan.make_state()
    plan.make_state()
    files = damage(STATE / SHARDS)
    assert len(files) == 2
    status, said = plan.of()
    assert status == 0
    for file in files:
        assert f"{file.absolute()} is passed over: truncated" in said
    lost = (STATE / SHARDS / "partition-0").absolute()
    assert f"no snapshot of {lost} can be read: a start makes its rows anew" in said


def test_a_start_that_no_checkpoint_of_the_learner_can_be_read_for_is_refused(plan: Plan) -> None:
    plan.make_state()
    (file,) = damage(STATE / LEARNER)
    status, said = plan.of()
    assert status == 2
    refused = said.partition("A start is refused: ")[2]
    assert f"no checkpoint can be read: {file.absolute()} is passed over: truncated" in refused
    assert "A start goes on" not in said


def test_a_state_that_was_not_put_there_whole_is_refused(plan: Plan) -> None:
    STATE.mkdir(parents=True)
    (STATE / FILLING).touch()
    status, said = plan.of()
    assert status == 2
    assert "a backfill ended before all of its state was there" in said
