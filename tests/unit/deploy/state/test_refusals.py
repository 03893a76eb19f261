"""Which changes of definitions a start carries over, and which it is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest
from changing_songs import (
    ANOTHER_INPUT,
    ANOTHER_WINDOW,
    CATALOGUE,
    CLEANED,
    CROSS,
    FEWER,
    ITEMS,
    MORE,
    OTHER_LABEL,
    OTHER_OPTIMIZER,
    RENAMED,
    VISITS,
    Replaced,
    songs_with,
)
from made_state import make_files

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.file_format import MadeFor, pack
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.made_for import candidates_made_for
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.learner import checkpoints


def made(folder: Path, pipeline: Pipeline) -> StateFolder:
    """The state that a pipeline begins with."""
    state = StateFolder(folder, "apache")
    state.begin(pytest.fail, {}, pipeline)
    make_files(folder, pipeline)
    return state


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(state: StateFolder, now: Pipeline) -> ConfigError:
    before = files(state.path)
    with pytest.raises(ConfigError) as caught:
        state.check(now)
    assert caught.value.place == str(state.path)
    assert files(state.path) == before
    return caught.value


WIDER_CATALOGUE: Replaced = (
    *CATALOGUE,
    ("    artist: str\n", "    artist: str\n    year: int = 0\n"),
)
HOURLY_ITEMS: Replaced = (*ITEMS, ('windows=["5m"]', 'windows=["1h"]'))


@pytest.mark.parametrize(
    ("was", "now"),
    {
        "nothing": ((), ()),
        "another input": ((), ANOTHER_INPUT),
        "an input that is gone": (ANOTHER_INPUT, ()),
        "a cross": ((), CROSS),
        "a cross that is gone": (CROSS, ()),
        "cleaning": ((), CLEANED),
        "another feature": ((), MORE),
        "a feature that is gone": ((), FEWER),
        "a feature of another name": ((), RENAMED),
        "another window": ((), ANOTHER_WINDOW),
        "another stream": ((), VISITS),
        "a stream that is gone": (VISITS, ()),
        "features of songs": ((), ITEMS),
        "features of songs that are gone": (ITEMS, ()),
        "other features of songs": (ITEMS, HOURLY_ITEMS),
        "a table": ((), CATALOGUE),
        "another field of a table": (CATALOGUE, WIDER_CATALOGUE),
        "several at once": ((), (*MORE, *CROSS, *VISITS)),
    }.values(),
)
def test_a_change_that_is_carried_over_is_accepted(
    tmp_path: Path, was: Replaced, now: Replaced
) -> None:
    made(tmp_path, songs_with(was)).check(songs_with(now))


BOTH = "remove the folders shards and learner in it to learn again from what the topics still hold"
OTHER_KEY: Replaced = (*ITEMS, ('Entity("song", key="song")', 'Entity("song", key="genre")'))


@pytest.mark.parametrize(
    ("was", "now", "what", "fix"),
    {
        "optimizer": (
            (),
            OTHER_OPTIMIZER,
            "the optimizer is Adagrad with rate=0.2, and was with rate=0.1.",
            BOTH,
        ),
        "model": (
            (),
            (("model=LogisticRegression()", "model=DeepFM()"),),
            "the model is DeepFM, and was LogisticRegression.",
            BOTH,
        ),
        "label": ((), OTHER_LABEL, "the label is Joined with ", BOTH),
        "time of the first stream": (
            (),
            (('time="at"', 'time="at", time_unit="s"'),),
            "the rows of listener/plays are made of entity listener (key listener), topic plays, "
            "id play_id, time at, partitioner murmur2, and would now be of entity listener (key "
            "listener), topic plays, id play_id, time at in s, partitioner murmur2: these have ",
            BOTH,
        ),
        "id of the first stream": (
            (),
            (('id="play_id"', 'id="song"'),),
            "the rows of listener/plays are made of entity listener (key listener), topic plays, "
            "id play_id, time at, partitioner murmur2, and would now be of entity listener (key "
            "listener), topic plays, id song, ",
            BOTH,
        ),
        "topic of the first stream": (
            (),
            (('Stream("plays"', 'Stream("played"'),),
            "the first stream is topic 'played' keyed by 'listener', and was topic 'plays' keyed "
            "by 'listener'.",
            BOTH,
        ),
        "partitioner of another stream": (
            VISITS,
            (*VISITS, ('Stream("visits"', 'Stream("visits", partitioner="crc32"')),
            "the rows of listener/visits are made of ",
            BOTH,
        ),
        "key of songs": (
            ITEMS,
            OTHER_KEY,
            "the rows of song/plays are made of entity song (key song), topic plays, id play_id, ",
            "remove the folder entities/song in it to read them again.",
        ),
    }.values(),
)
def test_a_change_that_cannot_be_carried_over_is_named_with_what_to_do(
    tmp_path: Path, was: Replaced, now: Replaced, what: str, fix: str
) -> None:
    refused = refusal(made(tmp_path, songs_with(was)), songs_with(now))
    begin = "the definitions of pipeline 'songs' have changed since this state was made, in what "
    assert f"{refused.problem}.".startswith(f"{begin}cannot be carried over: {what}")
    assert refused.fix.startswith("Change them back, give the pipeline another name, set another ")
    assert fix in refused.fix


@pytest.mark.parametrize("now", [ANOTHER_WINDOW, CLEANED, MORE, CROSS])
def test_other_inputs_of_an_optimizer_that_cannot_follow_are_refused_before_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: Replaced
) -> None:
    monkeypatch.setattr(checkpoints, "has_state_by_weight", lambda _: False)
    state = made(tmp_path, songs_with())
    state.check(songs_with())
    refused = refusal(state, songs_with(now))
    assert "the inputs of a model of which it is not known what its weights, or " in refused.problem
    assert BOTH in refused.fix


def test_all_folders_to_remove_are_named_at_once(tmp_path: Path) -> None:
    refused = refusal(made(tmp_path, songs_with(ITEMS)), songs_with(OTHER_KEY, OTHER_OPTIMIZER))
    assert "the optimizer is " in refused.problem
    assert "; the rows of song/plays" in refused.problem
    assert "remove the folders shards, learner and entities/song in it" in refused.fix


def test_a_label_of_which_nothing_is_recorded_is_named_all_the_same(tmp_path: Path) -> None:
    state = made(tmp_path, songs_with())
    (tmp_path / "definitions.json").unlink()
    assert "over: the label" in refusal(state, songs_with(OTHER_LABEL)).problem
    assert "over: the model or the optimizer" in refusal(state, songs_with(OTHER_OPTIMIZER)).problem


def test_state_of_an_earlier_version_is_gone_on_with_as_it_is_and_not_otherwise(
    tmp_path: Path,
) -> None:
    state, pipeline = StateFolder(tmp_path, "apache"), songs_with(ITEMS)
    state.begin(pytest.fail, {}, pipeline)
    learner = checkpoints.made_for(pipeline.bound_model, pipeline.optimizer)
    (of_songs,) = pipeline.candidate_plans
    for below, name, kind, made_for in (
        (SHARDS, "partition-0", SNAPSHOT_KIND, pipeline.made_for),
        (f"{ENTITIES}/song", "partition-0", SNAPSHOT_KIND, candidates_made_for(of_songs)),
        (LEARNER, checkpoints.NAME, checkpoints.NAME, learner),
    ):
        without_basis = MadeFor(made_for.fingerprint)
        FileSnapshots(tmp_path / below).save(name, pack(kind, without_basis, {}, {}))
    state.check(pipeline)
    refused = refusal(state, songs_with(HOURLY_ITEMS, MORE))
    for what in ("snapshots in shards", "snapshots in song", "checkpoint"):
        earlier = f"an earlier version of Freshrank wrote the {what}: definitions can change once"
        assert earlier in refused.problem


def test_the_definitions_are_those_of_the_newest_whole_file(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, "apache")
    state.begin(pytest.fail, {}, songs_with())
    make_files(tmp_path, songs_with(OTHER_LABEL), range(2))
    make_files(tmp_path, songs_with(), range(2))
    state.check(songs_with())
    for damage in (b"", b"\xff" * 1_000):
        newest = tmp_path / SHARDS / "partition-1.000000000002.snapshot"
        newest.write_bytes(damage)
        assert "over: the label" in refusal(state, songs_with()).problem
    newest.with_name("partition-1.000000000001.snapshot").unlink()
    state.check(songs_with())
