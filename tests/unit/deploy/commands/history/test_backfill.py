"""`freshrank backfill`: what it refuses, and the state that it puts in place."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import call
from fake_clock import FakeClock
from mistakes import RIGHT

from freshrank.actors.clock import Clock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_format import unpack
from freshrank.deploy.commands.history import backfill
from freshrank.deploy.history import file_values
from freshrank.deploy.history.arrivals import Arrivals
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import TopicPartitions
from freshrank.deploy.state.inspect import inspect_state
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring.backfill import Backfill
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.kafka.security import OPEN

START_MS = 1_700_000_000_000
PARTITIONS = 2
BEGIN = {START_MS + 9: 5, None: 8, 0: 1, START_MS + 60_000: 7}
"""By the time that is asked for: the offset of each partition."""
STATE = Path(".freshrank/songs")


class Broker:
    """Stands in for a broker that others run."""

    bootstrap, security = "kafka:9092", OPEN

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Servers:
    broker = Broker()


class Command:
    """`freshrank backfill` in a folder with a pipeline and a history."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch
        self.asked: list[int | None] = []
        Path("songs.py").write_text(RIGHT)
        play = {"listener": "ann", "song": "x", "genre": "y", "kind": "like", "seconds": 1.5}
        plays = [play | {"play_id": f"p{n}", "at": START_MS + n} for n in range(10)]
        Path("plays.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, plays)))

        async def prepared(*_: object) -> TopicPartitions:
            return TopicPartitions(PARTITIONS, {})

        async def identities(*_: object) -> dict[str, TopicIdentity]:
            return {"plays": TopicIdentity("a", PARTITIONS)}

        async def offsets(
            _: object, topics: Sequence[str], at_ms: int | None
        ) -> dict[str, list[int]]:
            self.asked.append(at_ms)
            return {topic: [BEGIN.get(at_ms, 5)] * PARTITIONS for topic in topics}

        patch.setattr(backfill, "external_servers", lambda *_: Servers)
        patch.setattr(backfill, "prepare_topics", prepared)
        patch.setattr(backfill, "topic_identities", identities)
        patch.setattr(backfill, "next_offsets", offsets)

    def __call__(self, *options: str) -> tuple[object, str]:
        """Exit status, and what was said."""
        return self.run(["backfill", "songs.py", "plays.jsonl", *options])

    def run(self, arguments: Sequence[str]) -> tuple[object, str]:
        """The same, of a whole command line."""
        return call(list(arguments), self._capsys, self._patch)


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys, monkeypatch)


@pytest.mark.parametrize(
    ("begin", "at_ms", "said"),
    [
        ("history", START_MS + 9, "from 2023-11-14 22:13:20.009+00:00 on"),
        ("end", None, "after this"),
        ("beginning", 0, "from their beginning on"),
        ("2023-11-14T22:14:20Z", START_MS + 60_000, "from 2023-11-14 22:14:20.000+00:00 on"),
    ],
)
def test_a_run_accepts_the_state_and_goes_on_where_it_was_told(
    begin: str, at_ms: int | None, said: str, command: Command
) -> None:
    status, shown = command("--kafka", "kafka:9092", "--from", begin)
    assert status == 0, shown
    assert "the state of 1 entities and 0 learned examples, from 10 records" in shown
    assert said in shown
    assert command.asked[0] == at_ms
    files = {one.path.name.split(".")[0]: one for one in inspect_state(STATE, 0.0)}
    assert all(one.problem is None for one in files.values())
    wanted = {"plays": BEGIN[at_ms], "songs.impressions": BEGIN[at_ms]}
    assert files["partition-0"].offsets == files["partition-1"].offsets == wanted
    assert files["learner"].applied == {"0": wanted, "1": wanted}
    assert sum(files[f"partition-{number}"].rows or 0 for number in range(2)) == 1
    pipeline = PipelineFile.read(Path("songs.py")).load()
    folder = StateFolder(STATE.absolute(), "other:9092")  # an address may change
    folder.check(pipeline)
    folder.check_topics({"plays": TopicIdentity("a", PARTITIONS)})
    before = (STATE / "origin.json").read_bytes()
    assert folder.begin(print, {}, pipeline).copies in before.decode(), "the origin of its copies"


def test_a_state_that_is_there_is_never_touched(command: Command) -> None:
    (STATE / "learner").mkdir(parents=True)
    status, said = command("--kafka", "kafka:9092")
    assert status == 2
    assert "there is a state already (learner). Remove" in said
    assert sorted(one.name for one in STATE.iterdir()) == ["learner", "lock"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "kafka.bootstrap: the embedded broker forgets its topics"),
        (["--kafka", "kafka:9092", "--from", "soon"], "'soon' is no time of ISO 8601"),
    ],
)
def test_mistakes_are_told_before_the_work(options: list[str], said: str, command: Command) -> None:
    status, shown = command(*options)
    assert status == 2
    assert said in shown
    assert not STATE.exists()


def test_a_file_that_cannot_be_read_is_told_before_a_broker_starts(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("a broker was started")

    monkeypatch.setattr(backfill, "external_servers", started)
    Path("plays.jsonl").unlink()
    status, said = command("--kafka", "kafka:9092")
    assert status == 2
    assert "plays.jsonl" in said


def test_what_fails_on_the_way_leaves_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> dict[str, list[int]]:
        raise Unavailable("kafka", "went away")

    monkeypatch.setattr(backfill, "next_offsets", away)
    status, said = command("--kafka", "kafka:9092")
    assert status == 1
    assert "kafka: went away" in said
    assert [one.name for one in STATE.iterdir()] == ["lock"]
    assert [one.name for one in STATE.parent.iterdir()] == ["songs"]


@pytest.mark.parametrize("last", ["topics.json", "shards", "learner", "broker"])
def test_a_state_that_was_moved_in_part_is_refused_until_it_is_made_again(
    last: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Disk.rename

    def ends(disk: Disk, old: Path, new: Path) -> None:
        if new == STATE.absolute() / last:
            raise Unavailable("power", "is off")
        rename(disk, old, new)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "rename", ends)
        assert command("--kafka", "kafka:9092")[0] == 1
    pipeline = PipelineFile.read(Path("songs.py")).load()
    folder = StateFolder(STATE.absolute(), "kafka:9092")
    with pytest.raises(ConfigError, match="a backfill ended before all of its state was there"):
        folder.check(pipeline)
    assert command("--kafka", "kafka:9092")[0] == 0
    folder.check(pipeline)
    assert all(one.problem is None for one in inspect_state(STATE, 0.0))


LABELLED = RIGHT.replace(
    'label=Joined(positive=col.kind == "like", on="song", within="30m")',
    'label=Labelled(positive=col.kind == "like")',
)


def write_long_history() -> None:
    """Two files whose records alternate, some late, some broken: more than are read at once."""
    Path("songs.py").write_text(LABELLED)
    random = np.random.default_rng(2)
    for name, records in (("plays.jsonl", 9_000), ("more.jsonl", 6_000)):
        lines = []
        for number in range(records):
            at_ms = START_MS + number * 1_000 - int(random.choice([0, 0, 30_000]))
            who, kind = f"l{random.integers(50)}", str(random.choice(["start", "finish", "like"]))
            play: dict[str, object] = {"listener": who, "genre": "y", "kind": kind}
            play |= {"song": f"s{random.integers(9)}"}
            play |= {"play_id": f"{name}{number}", "seconds": 1.5, "at": at_ms}
            lines.append(msgspec.json.encode(play) if number % 97 else b"{")
        Path(name).write_bytes(b"\n".join(lines))


def arrays_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """By state file, but its number: its arrays."""
    found = {}
    for path in sorted(folder.rglob("*.snapshot")):
        arrays = unpack(path.read_bytes()).arrays
        found[path.name.split(".")[0]] = {one: arrays[one].tobytes() for one in arrays}
    return found


class PlugPulled(BaseException):
    """The process ends."""


@pytest.mark.parametrize(
    ("call_of", "lives"),
    [("take", [1]), ("take", [3]), ("take", [4]), ("take", [3, 1, 2]), ("keep", [1, 2])],
)
def test_a_backfill_that_ends_on_the_way_goes_on_to_the_same_state(
    call_of: str, lives: Sequence[int], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_long_history()
    monkeypatch.setattr(file_values, "CHUNK", 4_096)
    monkeypatch.setattr(backfill, "KEPT_EVERY", 3_000)
    options = ["more.jsonl", "--kafka", "kafka:9092"]
    assert command(*options)[0] == 0
    whole = arrays_of(STATE)
    shutil.rmtree(STATE)
    told = ""
    for life in lives:
        calls, original = count(1), getattr(Backfill, call_of)

        def ends(
            *arguments: Any, at: int = life, calls: Any = calls, original: Any = original
        ) -> None:
            original(*arguments)
            if next(calls) == at:
                raise PlugPulled

        with monkeypatch.context() as patch:
            patch.setattr(Backfill, call_of, ends)
            with pytest.raises(PlugPulled):
                command(*options)
    status, told = command(*options)
    assert status == 0
    kept_something = ((call_of, lives) != ("take", [1]) and call_of != "keep") or len(lives) > 1
    assert ("going on after" in told) == kept_something
    assert "from 15,000 records" in told
    assert "155 of 15,000 records are left out:\n  155, the first at line 1 of " in told
    assert arrays_of(STATE) == whole
    assert sorted(one.name for one in STATE.parent.iterdir()) == ["songs"]


def test_an_interrupt_says_how_to_go_on_and_another_history_is_read_from_its_beginning(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_long_history()
    monkeypatch.setattr(file_values, "CHUNK", 4_096)
    monkeypatch.setattr(backfill, "KEPT_EVERY", 3_000)
    take, calls = Backfill.take, count(1)

    def interrupted(made: Backfill, arrivals: Arrivals) -> None:
        if next(calls) == 4:
            raise KeyboardInterrupt
        take(made, arrivals)

    with monkeypatch.context() as patch:
        patch.setattr(Backfill, "take", interrupted)
        _, said = command("more.jsonl", "--kafka", "kafka:9092")
    assert "records is kept: the same command goes on from there" in said
    with Path("more.jsonl").open("ab") as file:
        file.write(b"\n{")
    status, said = command("more.jsonl", "--kafka", "kafka:9092")
    assert status == 0
    assert "going on" not in said
    assert "from 15,001 records" in said


def test_an_interrupt_before_anything_is_kept_says_that_the_command_begins_anew(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_long_history()

    def interrupted(made: Backfill, arrivals: Arrivals) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Backfill, "take", interrupted)
    _, said = command("more.jsonl", "--kafka", "kafka:9092")
    assert "interrupted before 2,000,000 records" in said
    assert "the same command begins anew" in said


CATALOGUE = """

class Song(msgspec.Struct):
    song: str
    mood: str | None = None


songs = Table("songs_known", key=Entity("song", key="song"), schema=Song)
"""
SHOP = (
    RIGHT.replace("TimeSince, col,", "TimeSince, col, Newest, Table,")
    .replace("\n\nclass Listening", f"{CATALOGUE}\n\nclass Listening")
    .replace('context=["song", "genre"]', 'context=["song", songs.mood]')
    .replace("    features=", "    tables=[songs],\n    candidates=[Newest()],\n    features=")
)


class Catalogue:
    """The broker of a catalogue's topic, in memory."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.log = MemoryLog(PARTITIONS)
        self.away = False
        clock = FakeClock(START_MS)

        async def prepared(*_: object) -> TopicPartitions:
            return TopicPartitions(PARTITIONS, {"song": PARTITIONS})

        patch.setattr(backfill, "prepare_topics", prepared)
        patch.setattr(backfill, "KafkaSource", lambda _: MemorySource(self.log))
        patch.setattr(backfill, "KafkaSink", lambda *_: CatalogueSink(self, clock))

    def items(self) -> dict[str, object]:
        """By item that the topic has a record of: its mood; None: it is gone."""
        found: dict[str, object] = {}
        for number in range(PARTITIONS):
            records = self.log.read("songs_known", number, 0, 1_000)
            for key, value in zip(records.keys or [], records.values, strict=True):
                row = None if value is None else msgspec.json.decode(value)["mood"]
                found[(key or b"").decode()] = row
        return found


class CatalogueSink(MemorySink):
    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        super().__init__(catalogue.log, clock)
        self._catalogue = catalogue

    async def start(self) -> None:
        if self._catalogue.away:
            raise Unavailable("kafka", "not authorised")

    async def stop(self) -> None:
        pass


@pytest.fixture
def catalogue(command: Command, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    Path("songs.py").write_text(SHOP)
    rows = [{"song": f"s{number}", "mood": "old"} for number in range(6)]
    rows.append({"song": "s2", "mood": "new"})
    Path("songs_known.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return Catalogue(monkeypatch)


def test_items_of_a_file_are_written_where_replicas_read_them(
    command: Command, catalogue: Catalogue
) -> None:
    row = msgspec.json.encode({"song": "s1", "mood": "live"})
    stamps = np.full(2, START_MS)
    catalogue.log.distribute("songs_known", [b"s1", b"s4"], [row, None], stamps)
    status, said = command("songs_known.jsonl", "--kafka", "kafka:9092")
    assert status == 0, said
    assert "4 rows of items were written to topic 'songs_known'" in said
    assert "2 items had a record there, which counts" in said
    old = dict.fromkeys(["s0", "s3", "s5"], "old")
    assert catalogue.items() == {**old, "s2": "new", "s1": "live", "s4": None}


def test_a_state_is_put_in_place_though_its_items_cannot_be_written(
    command: Command, catalogue: Catalogue
) -> None:
    catalogue.away = True
    status, said = command("songs_known.jsonl", "--kafka", "kafka:9092")
    assert status == 0, said
    assert "warning: the rows of 6 items are not known to be written to topic" in said
    assert "(not authorised)" in said and "write them to it" in said
    assert (STATE / "shards").exists()


def test_items_beyond_those_that_a_replica_keeps_are_told(
    command: Command, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHRANK_SERVE__MOST_ITEMS", "4")
    status, said = command("songs_known.jsonl", "--kafka", "kafka:9092")
    assert status == 0, said
    assert "warning: 2 rows are of more items than the 4 that a replica keeps" in said
    assert sorted(catalogue.items()) == ["s0", "s1", "s2", "s3"]


def test_items_that_were_read_before_an_interruption_are_written_after_it(
    command: Command, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_values, "CHUNK", 4)
    monkeypatch.setattr(backfill, "KEPT_EVERY", 10)
    take, calls = Backfill.take, count(1)

    def ends(made: Backfill, arrivals: Arrivals) -> None:
        take(made, arrivals)
        if next(calls) == 4:
            raise PlugPulled

    with monkeypatch.context() as patch:
        patch.setattr(Backfill, "take", ends)
        with pytest.raises(PlugPulled):
            command("songs_known.jsonl", "--kafka", "kafka:9092")
    assert catalogue.items() == {}
    status, said = command("songs_known.jsonl", "--kafka", "kafka:9092")
    assert status == 0, said
    assert "going on after" in said
    assert catalogue.items() == {**{f"s{number}": "old" for number in range(6)}, "s2": "new"}


def test_records_that_are_left_out_are_told_by_reason(command: Command) -> None:
    lines = Path("plays.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    names = list(rows[0])
    cells = [[str(row[name]) for name in names] for row in rows]
    cells[2].append("more")
    cells[4][names.index("at")] = "noon"
    del cells[6][-1:], cells[7][-1:]
    Path("plays.csv").write_text("\n".join(map(",".join, [names, *cells])))
    arguments = ["backfill", "songs.py", "plays.csv", "--kafka", "kafka:9092"]
    status, said = command.run(arguments)
    assert status == 0, said
    assert "4 of 10 records are left out:\n  3, the first at line 4 of plays.csv: it has 8" in said
    assert "\n  1, the first at line 6 of plays.csv: " in said
    assert "from 10 records" in said
