"""`freshrank plan`: what differs from the state, and whether a start goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from changing_songs import (
    ANOTHER_WINDOW,
    CATALOGUE,
    CLEANED,
    CROSS,
    FEWER,
    ITEMS,
    MORE,
    OTHER_OPTIMIZER,
    RENAMED,
    VISITS,
    Replaced,
    songs_with,
    text_with,
)
from made_state import make_files, snapshots

from freshrank.actors.errors import ConfigError
from freshrank.actors.records import TopicIdentity
from freshrank.deploy import cli
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.state.state_folder import FILLING, StateFolder
from freshrank.deploy.wiring import start_checks
from freshrank.feature_actors.settings import ShardSettings
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
        Path("songs.py").write_text(text_with())

    def make_state(self, bootstrap: str = "kafka:9092", *changes: Replaced) -> None:
        STATE.mkdir(parents=True, exist_ok=True)
        pipeline = songs_with(*changes)
        StateFolder(STATE, bootstrap).begin(print, TOPICS, pipeline)
        make_files(STATE, pipeline)

    def of(self, *changes: tuple[str, str], kafka: str = "kafka:9092") -> tuple[object, str]:
        """Exit status, and what was said, after changes of the pipeline's file."""
        Path("songs.py").write_text(text_with(changes))
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
    assert f"a model of 0 ids\n{SAME}A start goes on from this state" in said
    assert "A start goes on from this state" in said
    assert sorted(STATE.rglob("*")) == before


SAME = """\
features of 'listener' from 'plays':
  keep  finished_10m, finished_1d, listened_1h, taste, recent
inputs of the model:
  keep  finished_10m, finished_1d, listened_1h, taste_match, recent_match, listener, song, genre, \
taste, recent
"""
OLDEST = "of the oldest records of a new topic"
OF_VISITS = "features of 'listener' from 'visits'"
OF_SONGS = "features of 'song' from 'plays'"
OF_CATALOGUE = "features of 'song' from 'songs'"
CHANGES: dict[str, tuple[Replaced, Replaced, tuple[int, int, int, int, int], list[str]]] = {
    "nothing": ((), (), (15, 0, 0, 0, 0), []),
    "another feature": (
        (),
        MORE,
        (15, 2, 0, 0, 0),
        [
            "  add   likes_1h: Count(windows=['1h']), begins empty",
            "  add   likes_1h: learned from now ",
        ],
    ),
    "another window": (
        (),
        (('windows=["10m", "1d"]', 'windows=["10m", "2d"]'),),
        (13, 2, 0, 0, 2),
        [
            "  keep  finished_10m, listened_1h, taste, recent",
            "  add   finished_2d: Count(where=(kind == 'finish'), windows=['2d']), begins empty",
            "  drop  finished_1d: Count(where=(kind == 'finish'), windows=['1d']), is declared no",
            "  add   finished_2d: learned from now on",
            "  drop  finished_1d: it is no input any more",
        ],
    ),
    "a feature that is gone": (
        (),
        FEWER,
        (12, 0, 0, 0, 3),
        [
            "  drop  recent: LastK('song', k=10), is declared no more",
            "  drop  recent_match: it is no input any more",
        ],
    ),
    "a feature of another name": (
        (),
        RENAMED,
        (14, 1, 0, 0, 1),
        [
            "  keep  finished_10m, finished_1d, heard_1h (it was called listened_1h), taste, ",
            "  add   heard_1h: learned from now on",
            "  drop  listened_1h: it is no input any more",
        ],
    ),
    "another half-life": (
        (),
        ANOTHER_WINDOW,
        (12, 0, 0, 3, 0),
        [
            "  keep  finished_10m, finished_1d, listened_1h, recent",
            "  renew taste: DecayedCount(by='genre', half_life='3d'), begins empty; it was "
            "DecayedCount(by='genre', half_life='2d')\n",
            "  renew taste: learned from now on, as 8 ids of listener of plays: "
            "DecayedCount(by='genre', half_life='3d'); it was 8 ids of listener of plays: "
            "DecayedCount(by='genre', half_life='2d')\n",
        ],
    ),
    "another type of a field": (
        (),
        (("    genre: str\n", "    genre: int\n"),),
        (11, 0, 0, 4, 0),
        [
            "  renew taste: DecayedCount(by='genre', half_life='2d') with genre: int, begins "
            "empty; it was DecayedCount(by='genre', half_life='2d') with genre: str\n",
            "  renew genre: learned from now on, as a field of requests (int); it was a "
            "field of requests (str)\n",
        ],
    ),
    "another cross": (
        (),
        CROSS,
        (15, 1, 0, 0, 0),
        ["  add   listener_x_genre: learned from now on"],
    ),
    "a cross that is gone": (
        CROSS,
        (),
        (15, 0, 0, 0, 1),
        ["  drop  listener_x_genre: it is no input any more"],
    ),
    "another cleaning": (
        (),
        CLEANED,
        (14, 0, 0, 1, 0),
        [
            "  renew listened_1h: learned from now on, as listener of plays: "
            "Sum('seconds', windows=['1h']), Clipped(name='listened_1h', low=0.01, high=0.9, ",
            "; it was listener of plays: Sum('seconds', windows=['1h'])\n",
        ],
    ),
    "another stream": (
        (),
        VISITS,
        (15, 1, 1, 0, 0),
        [
            f"{OF_VISITS}:\n  fill  pages: LastK('page', k=3), {OLDEST}",
            "  add   pages: learned from now on",
        ],
    ),
    "a stream that is gone": (
        VISITS,
        (),
        (15, 0, 0, 0, 2),
        [f"{OF_VISITS}:\n  drop  pages: LastK('page', k=3), is declared no more"],
    ),
    "features of songs": (
        (),
        ITEMS,
        (15, 1, 1, 0, 0),
        [f"{OF_SONGS}:\n  fill  starts_5m: Count(windows=['5m']), {OLDEST}"],
    ),
    "features of songs that are gone": (
        ITEMS,
        (),
        (15, 0, 0, 0, 2),
        [f"{OF_SONGS}:\n  drop  starts_5m: Count(windows=['5m']), is declared no more"],
    ),
    "a table": (
        (),
        CATALOGUE,
        (15, 1, 1, 0, 0),
        [f"{OF_CATALOGUE}:\n  fill  artist: str, {OLDEST}"],
    ),
    "another field of a table": (
        CATALOGUE,
        (*CATALOGUE, ("    artist: str\n", "    artist: str\n    label: str\n")),
        (17, 0, 1, 0, 0),
        [
            f"{OF_CATALOGUE}:\n  keep  artist\n"
            "  fill  label: str, of the topic, which is read again",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_start_keeps_adds_fills_and_drops(plan: Plan, change: str) -> None:
    was, now, counts, lines = CHANGES[change]
    plan.make_state("kafka:9092", was)
    before = sorted(STATE.rglob("*"))
    status, said = plan.of(*now)
    assert status == 0
    for line in lines:
        assert line in said
    keep, add, fill, renew, drop = counts
    assert said.endswith(
        f"it keeps {keep} of the features and inputs, adds {add}, fills {fill}, renews {renew} and "
        f"drops {drop}.\n"
    )
    for fate, count in zip(("add", "fill", "renew", "drop"), counts[1:], strict=True):
        assert said.count(f"\n  {fate:<5} ") == count
    assert sorted(STATE.rglob("*")) == before


def test_of_a_refused_start_nothing_is_told_but_why(plan: Plan) -> None:
    plan.make_state()
    status, said = plan.of(*MORE, *OTHER_OPTIMIZER)
    assert status == 2
    present, _, refused = said.partition("A start is refused: ")
    assert len(present.splitlines()) == 1 and "a model of 0 ids" in present
    assert "likes" not in said
    assert "cannot be carried over: the optimizer is Adagrad with rate=0.2" in refused
    assert "A start goes on" not in said


def test_features_are_told_as_a_file_declares_them(plan: Plan) -> None:
    plan.make_state()
    said = plan.of(
        ('where=col.kind == "finish", windows=["10m", "1d"]', 'windows=["10m", "2d"]'),
        ('windows=["1h"]', 'windows=["60m"]'),
    )[1]
    assert "  add   finished_2d: Count(windows=['2d']), begins empty\n" in said
    was = "Count(where=(kind == 'finish'), windows=['10m'])"
    assert f"  renew finished_10m: Count(windows=['10m']), begins empty; it was {was}\n" in said
    was = "Count(where=(kind == 'finish'), windows=['1d'])"
    assert f"  drop  finished_1d: {was}, is declared no more\n" in said
    kept = "  keep  listened_60m (it was called listened_1h), taste, recent\n"
    assert kept in said, "60m is what 1h means"


def test_features_of_which_no_declaration_is_recorded_are_told_by_definition(plan: Plan) -> None:
    plan.make_state()
    (STATE / "definitions.json").unlink()
    status, said = plan.of(*FEWER)
    assert status == 0
    assert "  drop  recent: last_k(song; 10; None) of song str, is declared no more\n" in said


def test_a_partition_that_was_carried_over_already_hides_no_other(plan: Plan) -> None:
    """A crash may come between the first snapshots of other definitions."""
    plan.make_state()
    snapshots(STATE / SHARDS, songs_with(MORE).spec(ShardSettings()), [1])
    assert "  add   likes_1h: " in plan.of(*MORE)[1]


def test_files_of_what_is_declared_no_more_are_told_and_stay(plan: Plan) -> None:
    plan.make_state("kafka:9092", ITEMS)
    before = sorted(STATE.rglob("*"))
    size = sum(file.stat().st_size for file in (STATE / ENTITIES).rglob("*.snapshot"))
    status, said = plan.of()
    assert status == 0
    removed = f"A start removes what is declared no more: entities/song (1 file, {size:,} bytes).\n"
    assert f"{removed}A start goes on from this state" in said
    assert sorted(STATE.rglob("*")) == before
    assert "removes" not in plan.of(*ITEMS)[1]


def test_a_link_in_place_of_what_a_start_would_remove_is_refused_as_a_start_does(
    plan: Plan, tmp_path: Path
) -> None:
    plan.make_state("kafka:9092", ITEMS)
    (STATE / ENTITIES / "song").rename(tmp_path / "song")
    (STATE / ENTITIES / "song").symlink_to(tmp_path / "song")
    status, said = plan.of()
    assert status == 2
    place = (STATE / ENTITIES / "song").absolute()
    assert f"A start is refused: {place}: a start removes what is declared no more" in said


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
    assert "Give what it was made with (--kafka apache, --config, " in said


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
            assert "until it has ended a start is refused.\n" in said
            assert "\nAfter its end, a start goes on from this state" in said
            assert status == 0, "what a start does after the end of the run"
    said = plan.of()[1]
    assert "holds the folder" not in said and "\nA start goes on from this state" in said


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
