"""What a start does to the state of the last one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from made_state import make_files
from power_loss import PowerLossDisk

from freshrank import Count, FeatureView
from freshrank.actors.errors import ConfigError
from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_format import MadeFor, pack
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state.folders import KAFKA, LEARNER, SHARDS
from freshrank.deploy.state.records import RECORDS, origin_recorded
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.state.state_id import Origins, rows_made_for
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.learner.optimizers.adagrad import Adagrad

EXAMPLES = Path(__file__).parents[4] / "examples"
PIPELINE = PipelineFile.read(EXAMPLES / "recommend.py").load()
LEARNED = f"{SHARDS}/partition-0.000000000001.snapshot"


def run(folder: Path, bootstrap: str, learned: str) -> list[str]:
    """A run that learns something; gives what it said."""
    state, said = StateFolder(folder, bootstrap), list[str]()
    with state.held():
        state.check(PIPELINE)
        (folder / KAFKA).mkdir(exist_ok=True)
        state.begin(said.append, {}, PIPELINE)
        (folder / LEARNED).parent.mkdir(exist_ok=True)
        (folder / LEARNED).write_text(learned)
    return said


def contents(folder: Path) -> dict[str, str]:
    """All that lies there but for the name of the last holder and what the state is made of."""
    records = {"lock", *(record.name for record in RECORDS)}
    files = [one for one in folder.rglob("*") if one.is_file() and one.name not in records]
    return {
        one.relative_to(folder).as_posix(): one.read_bytes().decode(errors="replace")
        for one in files
    }


TOPICS = {"clicks": TopicIdentity("a1", 4), "shown": TopicIdentity("a2", 4)}


@pytest.mark.parametrize(
    ("now", "problem"),
    [
        (TOPICS, None),
        ({**TOPICS, "orders": TopicIdentity("a3", 9)}, None),
        ({"shown": TOPICS["shown"]}, None),
        ({**TOPICS, "shown": TopicIdentity("", 4)}, None),
        ({**TOPICS, "shown": TopicIdentity("b2", 4)}, r"'shown': it was created again"),
        ({**TOPICS, "clicks": TopicIdentity("a1", 6)}, r"'clicks': it has 6 partitions and had 4"),
    ],
)
def test_state_is_refused_to_topics_that_are_others_than_those_it_was_made_of(
    tmp_path: Path, now: Mapping[str, TopicIdentity], problem: str | None
) -> None:
    folder = tmp_path / "shop"
    state = StateFolder(folder, "a:9092")
    with state.held():
        state.check_topics(TOPICS)
        state.begin(pytest.fail, TOPICS, PIPELINE)
        state.check_topics(now)  # nothing has been learned yet
        (folder / LEARNED).parent.mkdir()
        (folder / LEARNED).write_text("kept")
    if problem is None:
        state.check_topics(now)
        return
    with pytest.raises(ConfigError, match=problem):
        state.check_topics(now)
    assert contents(folder)[LEARNED] == "kept"


def test_a_damaged_record_of_the_topics_is_named_with_what_to_do(tmp_path: Path) -> None:
    run(tmp_path / "shop", "a:9092", "kept")
    (tmp_path / "shop" / "topics.json").write_text('{"clicks": 7')
    with pytest.raises(ConfigError, match=r"shop/topics\.json: it is damaged .* Remove it if"):
        StateFolder(tmp_path / "shop", "a:9092").check_topics(TOPICS)


def test_state_of_a_version_that_recorded_no_topics_is_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path / "shop", "a:9092", "kept")
    (tmp_path / "shop" / "topics.json").unlink()
    StateFolder(tmp_path / "shop", "a:9092").check_topics(TOPICS)


@pytest.mark.parametrize(
    ("first", "second"), [("apache", "apache"), ("a:9092", "a:9092"), ("a:9092", "b:9092,c:9092")]
)
def test_state_over_a_lasting_broker_is_gone_on_with(
    tmp_path: Path, first: str, second: str
) -> None:
    assert run(tmp_path / "shop", first, "kept") == []
    state = StateFolder(tmp_path / "shop", second)
    state.check(PIPELINE)
    state.begin(pytest.fail, {}, PIPELINE)
    assert contents(tmp_path / "shop") == {LEARNED: "kept", "broker": second}
    assert not (tmp_path / "shop.previous").exists()


@pytest.mark.parametrize(
    ("made_with", "now"),
    [
        ("apache", "embedded"),
        ("apache", "b:9092"),
        ("a:9092", "embedded"),
        ("a:9092", "apache"),
    ],
)
def test_state_over_a_lasting_broker_is_refused_to_another_and_not_touched(
    tmp_path: Path, made_with: str, now: str
) -> None:
    folder = tmp_path / "shop"
    run(folder, made_with, "kept")
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            run(folder, now, "overwritten")
        assert caught.value.place == str(folder)
        assert f"{made_with!r}, and now it is {now!r}" in caught.value.problem
        assert "--config, FRESHRANK_KAFKA__BOOTSTRAP" in caught.value.fix
        assert "another `state` (FRESHRANK_STATE)" in caught.value.fix
    assert contents(tmp_path) == before


def test_state_of_an_unknown_broker_is_not_touched(tmp_path: Path) -> None:
    run(tmp_path, "apache", "kept")
    (tmp_path / "broker").unlink()
    for now in ("apache", "embedded"):
        with pytest.raises(ConfigError, match="bootstrap = 'unknown'"):
            run(tmp_path, now, "overwritten")
    assert (tmp_path / LEARNED).read_text() == "kept"


@pytest.mark.parametrize("then", ["embedded", "apache", "broker:9092"])
def test_state_over_a_broker_that_forgot_its_topics_is_put_aside_and_said(
    tmp_path: Path, then: str
) -> None:
    folder, aside = tmp_path / "shop", tmp_path / "shop.previous"
    for number in range(3):  # the one aside is replaced each time
        run(folder, "embedded", str(number))
    (said,) = run(folder, then, "new")
    assert said.startswith("starting from nothing")
    assert f"kept in {aside} until the next such start" in said
    assert contents(folder) == {LEARNED: "new", "broker": then}
    assert contents(aside) == {LEARNED: "2", "broker": "embedded"}


def test_the_log_of_apache_kafka_is_never_moved(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    run(folder, "embedded", "of the embedded broker")
    (folder / KAFKA / "log").write_text("records")
    run(folder, "apache", "of Apache Kafka")
    assert (folder / KAFKA / "log").read_text() == "records"


def test_what_lies_aside_and_is_not_of_an_embedded_broker_is_not_overwritten(
    tmp_path: Path,
) -> None:
    folder, aside = tmp_path / "shop", tmp_path / "shop.previous"
    run(aside, "apache", "years of work")
    run(folder, "embedded", "1")
    with pytest.raises(ConfigError, match=r"there is another \(kafka.bootstrap = 'apache'\)"):
        run(folder, "embedded", "2")
    assert (aside / LEARNED).read_text() == "years of work"
    assert (folder / LEARNED).read_text() == "1"


def test_nothing_is_moved_or_noted_before_the_run_begins(tmp_path: Path) -> None:
    folder, aside = tmp_path / "shop", tmp_path / "shop.previous"
    for number in range(2):
        run(folder, "embedded", str(number))
    before = contents(tmp_path)
    state = StateFolder(folder, "apache")
    with state.held():
        state.check(PIPELINE)
    assert contents(tmp_path) == before
    assert (aside / LEARNED).read_text() == "0"


def test_state_of_a_run_that_learned_nothing_fits_any_broker(tmp_path: Path) -> None:
    for bootstrap in ("typing-error:9092", "embedded", "apache", "b:9092"):
        state = StateFolder(tmp_path, bootstrap)
        with state.held():
            state.check(PIPELINE)
            state.begin(pytest.fail, {}, PIPELINE)


RETYPED = """
import msgspec
from freshrank import (
    Adagrad, Entity, FeatureView, Labelled, LastK, LogisticRegression, Pipeline, Stream, col,
)

class Visit(msgspec.Struct):
    visit_id: str
    user_id: str
    at: int
    page: int | None = None
    unused: int = 0


user = Entity("user", key="user_id")
visits = Stream("visits", id="visit_id", time="at", key=user, schema=Visit)


class Activity(FeatureView):
    entity, source = user, visits
    pages = LastK("page", k=3)


pipeline = Pipeline(
    "visits", stream=visits, features=[Activity], context=["page"],
    label=Labelled(positive=col.user_id == "ann"), model=LogisticRegression(), optimizer=Adagrad(),
)
"""


def retyped(was: str, now: str) -> Pipeline:
    text = RETYPED.replace(was, now) if was else RETYPED
    return PipelineFile("visits.py", text).load()


def test_a_field_of_features_has_another_type_where_files_tell_what_they_are_made_of(
    tmp_path: Path,
) -> None:
    state, before = StateFolder(tmp_path, "apache"), retyped("", "")
    after = retyped("page: int | None", "page: str | None")
    with state.held():
        state.begin(pytest.fail, {}, before)
        make_files(tmp_path, before)
        state.check(after)
        assert after.made_for.fingerprint != before.made_for.fingerprint
        assert after.encoder.fingerprint != before.encoder.fingerprint
        state.check(retyped("unused: int = 0", 'unused: str = ""'))
        numbered = retyped("visit_id: str", "visit_id: int")
        with pytest.raises(
            ConfigError, match="the field 'visit_id' of 'visits' is int, and was"
        ) as refused:
            state.check(numbered)
        assert "or remove the folders shards, learner in it to learn again" in refused.value.fix
        for name in ("shards", "learner"):
            shutil.rmtree(tmp_path / name)
        state.check(numbered)


def test_a_field_of_features_keeps_its_type_where_an_earlier_version_wrote_the_files(
    tmp_path: Path,
) -> None:
    state, before = StateFolder(tmp_path, "apache"), retyped("", "")
    with state.held():
        state.begin(pytest.fail, {}, before)
        earlier = MadeFor(before.made_for.former)
        FileSnapshots(tmp_path / SHARDS).save("partition-0", pack(SNAPSHOT_KIND, earlier, {}, {}))
        state.check(before)
        state.check(retyped("page: int | None = None", "page: int"))
        after = retyped("page: int | None", "page: str | None")
        assert after.made_for.former == before.made_for.former
        with pytest.raises(ConfigError, match="the field 'page' of 'visits' is str, and was int"):
            state.check(after)
        (tmp_path / "fields.json").unlink()  # a state of the version before
        state.check(after)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_a_pipeline_of_every_kind_goes_on_with_its_own_state(tmp_path: Path, file: Path) -> None:
    found = vars(PipelineFile.read(file).load_module())
    pipelines = {name: one for name, one in found.items() if isinstance(one, Pipeline)}
    assert pipelines
    for name, pipeline in pipelines.items():
        state = StateFolder(tmp_path / name, "apache")
        with state.held():
            state.begin(pytest.fail, {}, pipeline)
            (tmp_path / name / SHARDS).mkdir()
            state.check(pipeline)


def test_a_field_that_says_which_events_are_learned_from_keeps_its_type(tmp_path: Path) -> None:
    given = "unused: int = 0"
    among = RETYPED.replace('== "ann")', '== "ann", among=~col.unused.is_null())')
    among = among.replace(given, "unused: int | None = None")
    state = StateFolder(tmp_path, "apache")
    with state.held():
        state.begin(pytest.fail, {}, PipelineFile("visits.py", among).load())
        (tmp_path / SHARDS).mkdir()
        after = PipelineFile("visits.py", among.replace("unused: int", "unused: str")).load()
        with pytest.raises(ConfigError, match="the field 'unused' of 'visits' is str, and was int"):
            state.check(after)


def test_a_second_run_on_a_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path, "apache"), StateFolder(tmp_path, "embedded")
    told = f"another run keeps its state there (process {os.getpid()} of {os.uname().nodename})"
    with first.held():
        for _ in range(2):
            with pytest.raises(ConfigError, match=re.escape(told)), second.held():
                pytest.fail("two runs on one folder")
    with second.held():
        pass


def test_a_run_that_failed_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, "embedded")
    with pytest.raises(ConfigError, match="wrong"), state.held():
        raise ConfigError("a", "wrong", "Mend it.")
    with state.held():
        pass


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        state = StateFolder(folder, "embedded")
        with pytest.raises(ConfigError, match="the state cannot be kept there"), state.held():
            pytest.fail("held")


def test_state_that_will_be_put_aside_may_be_of_other_definitions(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    run(folder, "embedded", "old")
    make_files(folder, replace(PIPELINE, optimizer=Adagrad(0.07)))
    run(folder, "embedded", "new")


@pytest.mark.parametrize("names_early", [False, True], ids=["late", "early"])
def test_the_broker_of_the_state_survives_the_loss_of_power(
    tmp_path: Path, names_early: bool
) -> None:
    disk = PowerLossDisk(tmp_path, names_early=names_early)
    state = StateFolder(tmp_path / "states" / "shop", "apache", disk)
    with state.held():
        state.check(PIPELINE)
        state.begin(pytest.fail, {}, PIPELINE)
    disk.lose_power()
    assert (state.path / "broker").read_text() == "apache"


@pytest.mark.parametrize("duty", ["write", "sync", "rename"])
def test_a_full_disk_refuses_the_start_and_keeps_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duty: str
) -> None:
    def refuse(*of: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "shop"
    run(folder, "apache", "kept")
    before = contents(folder)
    with monkeypatch.context() as full:
        full.setattr(Disk, duty, refuse)
        with pytest.raises(ConfigError) as caught:
            run(folder, "apache", "lost")
    assert str(caught.value) == (
        f"{folder}: the state cannot be kept there: No space left on device. "
        "Make space there, or give another folder (FRESHRANK_STATE)."
    )
    assert contents(folder) == before
    assert run(folder, "apache", "kept") == []


@pytest.mark.parametrize("name", ["lock", ".room", ".broker.draft"])
def test_a_symbolic_link_at_a_name_of_ours_is_refused_and_its_target_kept(
    tmp_path: Path, name: str
) -> None:
    folder, target = tmp_path / "shop", tmp_path / "precious"
    folder.mkdir()
    target.write_text("kept")
    (folder / name).symlink_to(target)
    with pytest.raises(ConfigError, match=rf"{re.escape(name)} is a symbolic link"):
        run(folder, "a:9092", "learned")
    assert target.read_text() == "kept"


def test_state_of_an_older_version_is_tightened(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for one in (folder, folder / SHARDS, folder / LEARNER, folder / KAFKA):
        one.mkdir()
        one.chmod(0o755)
    for file in ("lock", "broker"):
        (folder / file).write_text("apache")
        (folder / file).chmod(0o644)
    run(folder, "apache", "learned")
    assert {mode(one) for one in (folder, *folder.iterdir()) if one.is_dir()} == {0o700}
    assert mode(folder / "lock") == mode(folder / "broker") == 0o600


def test_a_folder_with_other_things_in_it_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "notes").touch()
    run(tmp_path, "apache", "learned")
    run(tmp_path, "apache", "learned")
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / SHARDS) == 0o700


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("bootstrap", "removed", "same"),
    [("broker:9092", None, True), ("broker:9092", SHARDS, False), ("embedded", None, False)],
)
def test_a_state_keeps_its_origin_and_a_new_one_has_another(
    tmp_path: Path, bootstrap: str, removed: str | None, same: bool
) -> None:
    def begin() -> Origins:
        state = StateFolder(tmp_path / "state", bootstrap)
        with state.held():
            state.check(PIPELINE)
            origins = state.begin(lambda line: None, TOPICS, PIPELINE)
            (tmp_path / "state" / SHARDS).mkdir(exist_ok=True)
            return origins

    before = begin()
    if removed is not None:
        shutil.rmtree(tmp_path / "state" / removed)
    after = begin()
    assert ((after.copies == before.copies), (after.rows == before.rows)) == (same, same)


def test_a_state_keeps_its_origin_when_topics_come_and_go(tmp_path: Path) -> None:
    """Copies that were made for it are still its own."""
    one = {"plays": TopicIdentity("a", 4)}
    both = {**one, "visits": TopicIdentity("b", 4)}
    state = StateFolder(tmp_path, "broker:9092")
    (tmp_path / SHARDS).mkdir()

    def origin(topics: dict[str, TopicIdentity]) -> str:
        return state.begin(pytest.fail, topics, PIPELINE).copies

    first = origin(one)
    assert origin(both) == origin(one) == first == origin_recorded(tmp_path)
    with pytest.raises(ConfigError, match="created again"):
        state.check_topics({**one, "visits": TopicIdentity("c", 4)})


def test_a_state_of_a_version_without_origins_keeps_that_of_its_topics(tmp_path: Path) -> None:
    one = {"plays": TopicIdentity("a", 4)}
    state = StateFolder(tmp_path, "broker:9092")
    (tmp_path / SHARDS).mkdir()
    first = state.begin(pytest.fail, one, PIPELINE).copies
    (tmp_path / "origin.json").unlink()
    both = {**one, "visits": TopicIdentity("b", 4)}
    assert origin_recorded(tmp_path) == first == state.begin(pytest.fail, both, PIPELINE).copies


def test_rows_of_other_features_have_another_origin() -> None:
    plans = list(PIPELINE.plans.values())

    class Fewer(FeatureView):
        entity, source = PIPELINE.stream.key, PIPELINE.stream
        seen = Count(windows=["1m"])

    made = rows_made_for("1f", plans)
    assert made == rows_made_for("1f", replace(PIPELINE, optimizer=Adagrad(0.07)).plans.values()), (
        "of the same features"
    )
    others = rows_made_for("2f", plans), rows_made_for("1f", [FeaturePlan([Fewer]), *plans[1:]])
    assert len({made, *others}) == 3


def test_features_that_come_back_do_not_find_the_rows_that_they_left(tmp_path: Path) -> None:
    state, said = StateFolder(tmp_path, "broker:9092"), list[str]()
    (tmp_path / SHARDS).mkdir()
    both = [PIPELINE, retyped("", "")]
    found = [state.begin(said.append, {}, both[number]).rows for number in (0, 0, 1, 1, 0, 0)]
    assert found[0] == found[1] and found[2] == found[3] and found[4] == found[5]
    assert len(set(found)) == 3
    assert len({state.begin(said.append, {}, PIPELINE).copies for _ in range(2)}) == 1
    (tmp_path / "rows_origin.json").unlink()  # a state of the version before
    assert state.begin(said.append, {}, PIPELINE).rows not in found
