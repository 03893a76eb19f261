"""What a replay says of records that it cannot use."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import call
from mistakes import RIGHT

from freshrank.actors.errors import ConfigError
from freshrank.deploy import cli

PLAY = {
    "play_id": "p1", "listener": "ann", "song": "x", "genre": "y", "kind": "like",
    "seconds": 1.0, "at": 1_700_000_000_000,
}  # fmt: skip
RECORD = (b"ann", msgspec.json.encode(PLAY), 1_700_000_000_000)
FIX = "Yield (key, value, event time in ms): bytes, bytes (the event as in its topic) and an int."


JOINED = 'label=Joined(positive=col.kind == "like", on="song", within="30m")'
LABELLED = RIGHT.replace(JOINED, 'label=Labelled(positive=col.kind == "like")')
OF_NUMBERS = (
    RIGHT.replace(JOINED, 'label=Labelled(target="seconds")')
    .replace("LogisticRegression()", "LinearRegression(3.0, loss=QuantileLoss(0.9))")
    .replace("LogisticRegression,", "LinearRegression, QuantileLoss,")
)
OF_CLASSES = RIGHT.replace(
    JOINED, 'label=Labelled(target="kind", classes=["start", "like"])'
).replace("LogisticRegression", "SoftmaxRegression")
SECOND = """

class Visit(msgspec.Struct):
    visit_id: str
    listener: str
    at: int


visits = Stream("visits", id="visit_id", time="at", key=listener, schema=Visit)


class Visiting(FeatureView):
    entity, source = listener, visits
    visited = Count(windows=["1h"])


pipeline = Pipeline("""
TWO_STREAMS = LABELLED.replace("\n\npipeline = Pipeline(", SECOND).replace(
    "stream=plays,\n    features=[Listening]",
    "streams=[plays, visits],\n    features=[Listening, Visiting]",
)


class Replays:
    """`freshrank replay` of whatever records a file gives."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def of(
        self, given: str, pipeline: str = LABELLED, options: Sequence[str] = ()
    ) -> tuple[object, str]:
        """Exit status, and what was said of an error."""
        Path("songs.py").write_text(f"{pipeline}\n\ndef records(path):\n    {given}\n")
        Path("data").write_text("")
        arguments = ["replay", "songs.py", "data", "--json", "out.json", *options]
        return call(arguments, self._capsys, self._patch)


@pytest.fixture
def replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Replays:
    monkeypatch.chdir(tmp_path)
    return Replays(capsys, monkeypatch)


WRONG = {
    "a value that is a dictionary": (
        f"yield (b'ann', {PLAY!r}, 1)",
        "0 of records: its value is of type dict.",
    ),
    "a bare dictionary": (f"yield {PLAY!r}", "0 of records: it is of type dict."),
    "too few parts": (f"yield {RECORD[:2]!r}", "0 of records: it has 2 parts."),
    "a key that is text": (f"yield ('ann', {RECORD[1]!r}, 1)", "its key is of type str."),
    "a time that is none": (f"yield (*{RECORD[:2]!r}, 1.5)", "its event time is 1.5."),
    "a time beyond all": (f"yield (*{RECORD[:2]!r}, 2**63)", "its event time is 92233"),
    "a later record": (f"yield {RECORD!r}\n    yield 7", "record 1 of records: it is of type int."),
    "no records": ("return None", "songs.py: records: what it returns is of type NoneType."),
}


@pytest.mark.parametrize(("given", "place"), WRONG.values(), ids=WRONG)
def test_a_record_of_another_kind_is_named(replays: Replays, given: str, place: str) -> None:
    status, said = replays.of(given)
    assert status == 2
    assert place in said
    assert said.rstrip().endswith(FIX)


def test_a_file_that_reads_no_history_is_told_what_to_write(
    replays: Replays, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("songs.py").write_text(LABELLED)
    status, said = call(["replay", "songs.py", "data"], capsys, monkeypatch)
    assert status == 2
    assert "songs.py: it cannot read history. Write a function records(path)." in said


def test_what_the_files_own_code_raises_is_told_with_its_line(replays: Replays) -> None:
    status, said = replays.of('yield path.rsplit("-")')
    assert status == 2
    assert "songs.py:" in said
    assert "AttributeError: 'PosixPath' object has no attribute 'rsplit'" in said
    assert "called with the pathlib.Path of the data" in said
    assert "mistake of ours" not in said


def test_records_of_which_none_is_an_event_are_no_success(replays: Replays) -> None:
    status, said = replays.of("yield from [(b'ann', b'{\"play_id\": 7}', 1)] * 3")
    assert status == 2
    assert "record 0 of records: its value is no event of 'plays', and no other is: " in said
    assert "play_id" in said


def test_predictions_before_any_label_was_known_are_told(replays: Replays) -> None:
    week = LABELLED.replace('== "like")', '== "like", known_after="7d")').replace(
        '    finished = Count(where=col.kind == "finish", windows=["10m", "1d"])\n', ""
    )
    status, said = replays.of(f"yield {RECORD!r}", week)
    assert status == 0, said
    assert "warning: the predictions of the first 7d are of a model that knew no label yet" in said
    _, said = replays.of(f"yield {RECORD!r}")
    assert "knew no label" not in said


def test_some_that_are_none_are_counted(replays: Replays) -> None:
    status, said = replays.of(f"yield {RECORD!r}\n    yield (b'ann', b'?', {RECORD[2]})")
    assert status == 0
    assert "warning: 1 of 2 records are no events:\n  1, the first at record 1 of 'plays': " in said
    summary = json.loads(Path("out.json").read_text())
    assert (summary["records"], summary["dead"], summary["late"]) == (2, 1, 0)
    assert [one["examples"] for one in summary["calibration"]] == [1]
    assert summary["base_rate"] == 1.0


@pytest.mark.parametrize(
    ("factor", "fix"),
    [
        (10**-3, "seconds. Yield milliseconds: multiply by 1000."),
        (10**3, "microseconds. Yield milliseconds: divide by 1000."),
        (10**6, "nanoseconds. Yield milliseconds: divide by 1000000."),
    ],
)
def test_times_in_another_unit_are_named(replays: Replays, factor: float, fix: str) -> None:
    at = int(1_700_000_000_000 * factor)
    status, said = replays.of(f"yield from [(*{RECORD[:2]!r}, {at})] * 2")
    assert status == 2
    assert "songs.py: records: the third part of each" in said
    assert fix in said


def test_arguments_in_the_wrong_order_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = call(["replay", "plays.jsonl", "songs.py"], capsys, monkeypatch)
    assert status == 2
    assert "Give the pipeline's first: songs.py plays.jsonl." in said


def test_it_warns_of_records_that_are_not_in_order(replays: Replays) -> None:
    status, said = replays.of(
        "import json\n"
        f"    play = {PLAY!r}\n"
        "    for n in range(9):\n"
        "        event = json.dumps(play | {'play_id': f'p{n}'}).encode()\n"
        "        yield b'ann', event, 1_700_000_000_000 - n"
    )
    assert status == 0
    assert "8 of 9 records are older than the one before them" in said


def test_it_warns_where_no_event_is_an_example(replays: Replays) -> None:
    given = f"yield from [(*{RECORD[:2]!r}, 1_700_000_000_000)]"
    status, said = replays.of(given, OF_CLASSES.replace('"like"])', '"finish"])'))
    assert status == 0
    assert "no event is an example" in said
    assert "1 none of its classes" in said


def test_a_share_of_the_negatives_gives_the_quality_of_all_the_traffic(replays: Replays) -> None:
    """One of seven is liked; a quarter of the others is learned."""
    given = """
    for number in range(2_100):
        kind, at = ("finish", "like")[number % 7 == 0], 1_700_000_000_000 + number
        play = {**PLAY, "play_id": str(number), "kind": kind, "at": at}
        yield b"ann", msgspec.json.encode(play), at
    """
    sampled = LABELLED.replace('== "like")', '== "like", negatives_kept=0.25)')
    found = []
    for pipeline in (LABELLED, sampled):
        assert replays.of(f"PLAY = {PLAY}\n{given}", pipeline) == (0, "")
        found.append(json.loads(Path("out.json").read_text()))
    every, some = found
    assert (every["examples"], every["negatives_left_out"]) == (2_100, 0)
    assert some["examples"] + some["negatives_left_out"] == 2_100
    assert some["examples"] == pytest.approx(300 + 450, abs=60)
    assert some["base_rate"] == pytest.approx(1 / 7, rel=0.1)
    assert some["log_loss"] == pytest.approx(every["log_loss"], rel=0.15)
    assert some["calibration_error"] < every["calibration_error"] + 0.03


def test_the_settings_give_the_size_of_a_step(replays: Replays) -> None:
    Path("small.toml").write_text("[learner]\nbatch_examples = 20\n")
    given = f"yield from [(b'ann', b'%s' % {RECORD[1]!r}.replace(b'p1', b'p%d' % n), {RECORD[2]}) "
    given += "for n in range(200)]"
    versions = []
    for config in ([], ["--config", "small.toml"]):
        assert replays.of(given, options=config)[0] == 0
        versions.append(json.loads(Path("out.json").read_text())["versions"])
    assert versions == [4, 10]


def test_a_setting_that_is_none_is_named(replays: Replays) -> None:
    Path("wrong.toml").write_text("[learner]\nbatch_example = 50\n")
    status, said = replays.of(f"yield {RECORD!r}", options=["--config", "wrong.toml"])
    assert status == 2
    assert "batch_example" in said and "wrong.toml" in said


def test_of_numbers_the_error_is_printed_in_place_of_the_auc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = f"yield {RECORD!r}"
    Path("songs.py").write_text(f"{OF_NUMBERS}\n\ndef records(path):\n    {given}\n")
    Path("data").write_text("")
    argv = ["freshrank", "replay", "songs.py", "data", "--json", "out.json"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    summary = json.loads(Path("out.json").read_text())
    assert summary["mean_absolute_error"] == pytest.approx(2.0), "a label of 1, predicted as 3"
    assert summary["quantile_loss"] == pytest.approx(0.2)
    assert summary["coverage"] == 1.0
    assert not {"auc", "base_rate", "average_precision", "calibration_error"} & set(summary)
    shown = capsys.readouterr().out
    assert "mean_absolute_error" in shown and "2.0000" in shown


def test_of_classes_there_is_a_report_on_each(replays: Replays) -> None:
    status, said = replays.of(
        "import json\n"
        f"    play = {PLAY!r}\n"
        "    for n in range(600):\n"
        "        kind = ['start', 'like', 'finish'][n % 3]\n"
        "        event = play | {'play_id': f'p{n}', 'song': kind, 'kind': kind}\n"
        "        yield b'ann', json.dumps(event).encode(), 1_700_000_000_000 + n",
        OF_CLASSES,
    )
    assert status == 0, said
    summary = json.loads(Path("out.json").read_text())
    assert (summary["examples"], summary["examples_of_no_class"]) == (400, 200)
    assert summary["accuracy"] > 0.8 and summary["accuracy_frozen"] > 0.8 and summary["auc"] > 0.9
    assert 0.0 < summary["log_loss"] < 0.5
    first, second = summary["classes"]
    assert [first["name"], second["name"]] == ["start", "like"]
    assert [first["support"], second["support"]] == [200, 200]
    hits = first["recall"] * 200 + second["recall"] * 200
    assert hits / 400 == pytest.approx(summary["accuracy"])
    assert sum(one["examples"] for one in summary["calibration"]) == 400


def test_events_count_by_their_weight_and_those_without_one_are_counted(replays: Replays) -> None:
    given = (
        "import json\n"
        f"    play = {PLAY!r}\n"
        "    for n in range(400):\n"
        "        kind, rating = ('like', 3) if n % 2 else ('start', 1)\n"
        "        event = play | {'play_id': f'p{n}', 'kind': kind, 'rating': rating}\n"
        "        if n % 8 > 5: event['rating'] = [None, -1][n % 8 - 6]\n"
        "        yield b'ann', json.dumps(event).encode(), 1_700_000_000_000 + n"
    )
    weighted = LABELLED.replace('col.kind == "like")', 'col.kind == "like", weight="rating")')
    status, said = replays.of(given, weighted)
    assert status == 0, said
    summary = json.loads(Path("out.json").read_text())
    assert summary["examples_of_no_target"] == 0
    assert (summary["examples"], summary["examples_of_bad_weight"]) == (300, 100)
    assert summary["base_rate"] == pytest.approx(3 / 4)
    assert 0.5 < summary["log_loss"] < 0.69, "the entropy of three quarters, and some learning"


def test_a_label_that_needs_impressions_is_no_success(replays: Replays) -> None:
    status, said = replays.of(f"yield {RECORD!r}", pipeline=RIGHT)
    assert status == 2
    assert "songs.py: Pipeline('songs').label: Joined learns from impressions" in said
    assert not Path("out.json").exists()


def test_it_warns_of_a_stream_without_records(replays: Replays) -> None:
    status, said = replays.of(f"yield {RECORD!r}", pipeline=TWO_STREAMS)
    assert (status, said.count("\n")) == (0, 1)
    assert "there is no record of 'visits', whose features stay empty" in said


def test_the_records_of_all_streams_are_played(replays: Replays) -> None:
    visit = (b"ann", b'{"visit_id": "%d", "listener": "ann", "at": 1}', 1, "visits")
    play = (b"ann", RECORD[1], RECORD[2])
    given = f"yield from [({visit[0]!r}, {visit[1]!r} % n, n, 'visits') for n in range(3)]\n"
    given += f"    yield (b'ann', b'?', 9, 'visits')\n    yield {play!r}"
    status, said = replays.of(given, pipeline=TWO_STREAMS)
    assert (status, said.count("\n")) == (0, 2)
    assert (
        "1 of 5 records are no events:\n  1, the first at record 3 of 'visits': JSON is malformed"
        in said
    )
    summary = json.loads(Path("out.json").read_text())
    assert (summary["records"], summary["dead"], summary["examples"]) == (5, 1, 1)


def test_a_record_of_an_unknown_topic_is_named(replays: Replays) -> None:
    status, said = replays.of(f"yield (*{RECORD!r}, 'visit')", pipeline=TWO_STREAMS)
    assert status == 2
    assert "record 0 of records: its topic is 'visit'. The streams of the pipeline have " in said
    assert "'plays', 'visits'." in said


def test_examples_that_the_guard_refused_are_counted(replays: Replays) -> None:
    replays.of(f"yield {RECORD!r}")
    assert json.loads(Path("out.json").read_text())["examples_quarantined"] == 0


def test_times_may_be_those_of_numpy(replays: Replays) -> None:
    stamp = np.int64(RECORD[2])
    given = f"import numpy as np; yield (*{RECORD[:2]!r}, np.int64({stamp}))"
    assert replays.of(given) == (0, "")


def test_a_file_without_records_gets_an_error_that_says_what_to_write(replays: Replays) -> None:
    status, said = replays.of("pass\nrecords = None")
    assert status == 2
    assert f"Write a function records(path). {FIX}" in said
    assert ConfigError.__name__ not in said


def test_a_history_of_a_stream_that_is_re_keyed_is_replayed_as_it_is(replays: Replays) -> None:
    anywhere = LABELLED.replace("schema=Play)", 'schema=Play, partitioner="any")')
    given = f"yield {RECORD!r}\n    yield (b'ann', b'?', {RECORD[2]})"
    assert anywhere != LABELLED
    assert replays.of(given, anywhere)[0] == 0
    summary = json.loads(Path("out.json").read_text())
    assert (summary["records"], summary["dead"], summary["late"]) == (2, 1, 0)
