"""Each mistake that a person would make is one line: the place and the fix, and exit status 2."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from made_state import make_files
from mistakes import MISTAKES, RIGHT, Mistake
from small_disk import CannotMount, fill, free, small_disk

from freshrank.actors.errors import PartFailed, Unavailable
from freshrank.deploy import cli, topology
from freshrank.deploy.cluster import ray_connection
from freshrank.deploy.commands.running import start
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask
from freshrank.deploy.servers.redis_server import find_redis
from freshrank.deploy.state.folders import LEARNER, SHARDS
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

PASSWORD = "hunter2-and-more"

Mount: TypeAlias = Callable[[str], Path]
"""Makes a small file system with these options of `mount`."""


@pytest.fixture(autouse=True)
def clean_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a folder of its own, that must not come to the point where Ray is started."""

    def refuse(address: str | None) -> None:
        pytest.fail("Ray is started")

    monkeypatch.setattr(ray_connection, "connect", refuse)
    # Nor may it leave the Ray that other tests share.
    monkeypatch.setattr(topology, "disconnect", partial(pytest.fail, "Ray is left"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESHRANK_SERVE__PORT", "0")
    Path("pipeline.py").write_text(RIGHT)


class CommandLine:
    """Types a command, and gives the line that it ends with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def fails(self, *words: str, status: int = 2, **settings: str) -> str:
        for name, value in settings.items():
            self._monkeypatch.setenv(f"FRESHRANK_{name}", value)
        self._monkeypatch.setattr(sys, "argv", ["freshrank", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = self._capsys.readouterr().err
        assert caught.value.code == status, shown
        assert "Traceback" not in shown
        assert shown.count("\n") == 1, shown
        return shown.removeprefix("error: ").strip()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system until the end of the test; skips it where that is refused."""
    with contextlib.ExitStack() as stack:

        def mount(options: str) -> Path:
            try:
                return stack.enter_context(small_disk(tmp_path / "disk", options))
            except CannotMount as reason:
                pytest.skip(f"no file system can be mounted here: {reason}")

        yield mount


@pytest.fixture
def freshrank(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_pipelines_file(freshrank: CommandLine, mistake: Mistake) -> None:
    Path("pipeline.py").write_text(mistake.text)
    said = freshrank.fails("run", "pipeline.py")
    assert said.startswith("pipeline.py")
    assert mistake.place in said
    assert mistake.fix in said


def test_a_file_that_is_not_there_or_is_no_text(freshrank: CommandLine, tmp_path: Path) -> None:
    assert "absent.py: cannot be read: No such file" in freshrank.fails("run", "absent.py")
    assert "cannot be read: Is a directory" in freshrank.fails("run", str(tmp_path))
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    assert "binary.py: cannot be read: 'utf-8' codec" in freshrank.fails("run", "binary.py")


TOML = {
    "bad TOML": ("[kafka", "shop.toml: is not TOML", "Correct that line."),
    "a key given twice": (
        "state = 'a'\nstate = 'b'", "shop.toml: is not TOML", "Correct that line."
    ),
    "an unknown key": ("[kafka]\nboostrap = 'a:1'", "toml: kafka.boostrap", "mean 'bootstrap'?"),
    "an unknown section": ("[kafak]\nx = 1", "shop.toml: kafak", "Did you mean 'kafka'?"),
    "a key outside its section": ("partitions = 3", "toml: partitions", "mean kafka.partitions?"),
    "a value for a section": ("kafka = 'a:1'", "shop.toml: kafka", "valid dictionary"),
    "a wrong type": ("[shards]\ncount = 'two'", "shop.toml: shards.count", "valid integer"),
    "a value too small": ("[kafka]\npartitions = 0", "kafka.partitions", "greater than or equal"),
    "a value too large": ("[kafka]\npartitions = 10001", "kafka.partitions", "less than or equal"),
    "a choice that is none": ("[learner]\ndevice = 'gpu'", "learner.device", "'auto', 'cpu' or"),
    "no time": ("[shards]\nsnapshot_interval_s = 0", "snapshot_interval_s", "greater than 0"),
    "infinity": ("[shards]\nsnapshot_interval_s = inf", "shards.snapshot_interval_s", "finite"),
    "nan": ("[shards]\npush_timeout_s = nan", "shards.push_timeout_s", "number"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "fix"), TOML.values(), ids=TOML)
def test_a_mistake_in_the_settings(freshrank: CommandLine, text: str, place: str, fix: str) -> None:
    Path("shop.toml").write_text(text)
    said = freshrank.fails("run", "pipeline.py", "--config", "shop.toml")
    assert place in said
    assert fix in said


def test_a_settings_file_that_is_not_there(freshrank: CommandLine) -> None:
    said = freshrank.fails("run", "pipeline.py", "--config", "absent.toml")
    assert said == "absent.toml: cannot be read: No such file or directory. Give a TOML file."


def test_an_unknown_variable(freshrank: CommandLine) -> None:
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTAP="a:1")
    assert said.startswith("FRESHRANK_KAFKA__BOOTSTAP: kafka.bootstap")


def closed() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    "bootstrap", ["kafka", ":9092", "kafka:port", "kafka:99999", "", "a:1,,b:2"]
)
def test_an_address_of_a_broker_that_is_none(freshrank: CommandLine, bootstrap: str) -> None:
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=bootstrap)
    assert "is not the address of a broker. Say `embedded`, `apache` or host:port." in said


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://a/", "redis://a:99999/0", "redis://a:b/0", "", "redis://[::1"]
)
def test_a_url_of_a_redis_that_is_none(freshrank: CommandLine, url: str) -> None:
    said = freshrank.fails("run", "pipeline.py", REDIS__URL=url, KAFKA__BOOTSTRAP=closed())
    assert "is not a URL of a Redis. Say redis://host:port/db" in said


def test_a_password_in_a_wrong_url_is_not_shown(freshrank: CommandLine) -> None:
    for url in (f"redis://:{PASSWORD}@a:b/0", f"http://user:{PASSWORD}@a/", f"x://{PASSWORD}@["):
        said = freshrank.fails("run", "pipeline.py", REDIS__URL=url, KAFKA__BOOTSTRAP=closed())
        assert "is not a URL of a Redis" in said
        assert PASSWORD not in said


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_broker_that_cannot_be_reached(freshrank: CommandLine, host: str) -> None:
    address = f"{host}:{free_port()}"
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=address)
    assert said.startswith(f"kafka: nothing listens at {address}")
    assert "kafka.bootstrap (FRESHRANK_KAFKA__BOOTSTRAP, --kafka) is its address." in said


def test_a_redis_that_cannot_be_reached(freshrank: CommandLine, kafka: Broker) -> None:
    address = closed()
    said = freshrank.fails(
        "run", "pipeline.py",
        KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=f"redis://:{PASSWORD}@{address}/0",
    )  # fmt: skip
    assert said.startswith(f"redis: nothing listens at {address}")
    assert "redis.url (FRESHRANK_REDIS__URL, --redis) is right" in said
    assert PASSWORD not in said


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis that wants a password."""
    port = free_port()
    child = Child(
        "redis",
        [find_redis(), "--bind", "127.0.0.1", "--port", str(port), "--requirepass", PASSWORD,
         "--save", ""],
        tmp_path / "redis.log",
    )  # fmt: skip
    child.wait_until(lambda: ask("127.0.0.1", port, b"PING\r\n").startswith(b"-NOAUTH"), 20)
    yield port
    child.stop()


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_wrong_password_of_redis(
    freshrank: CommandLine, kafka: Broker, guarded_redis: int, password: str
) -> None:
    url = f"redis://{password}127.0.0.1:{guarded_redis}/0"
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=url)
    assert said.startswith("redis: ")
    assert "the server refuses the user or the password" in said
    assert "Set FRESHRANK_REDIS__PASSWORD_FILE or FRESHRANK_REDIS__PASSWORD." in said


def test_a_broker_in_place_of_a_redis(freshrank: CommandLine, kafka: Broker) -> None:
    url = f"redis://{kafka.bootstrap}/0"
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=url)
    assert said.startswith("redis: ")


def test_a_redis_in_place_of_a_broker(
    freshrank: CommandLine, redis_url: str, guarded_redis: int
) -> None:
    address = f"127.0.0.1:{guarded_redis}"
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=address, REDIS__URL=redis_url)
    assert said.startswith("kafka: ")


def test_a_port_in_use(freshrank: CommandLine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = freshrank.fails("run", "pipeline.py", SERVE__PORT=str(port))
    assert said.startswith(
        f"serve.port {port} of 127.0.0.1: another program listens there already."
    )
    assert "--port, FRESHRANK_SERVE__PORT" in said
    assert "`port` (and `host`) below [serve]" in said


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_one(freshrank: CommandLine, host: str) -> None:
    said = freshrank.fails("run", "pipeline.py", "--insecure", SERVE__HOST=host)
    assert f"of {host}: listening there is not possible" in said
    assert "FRESHRANK_SERVE__HOST" in said


def test_a_folder_that_cannot_keep_the_state(freshrank: CommandLine) -> None:
    Path("taken").write_text("a file")
    for folder in ("taken", "taken/below", "/proc/freshrank"):
        said = freshrank.fails("run", "pipeline.py", STATE=folder)
        assert said.startswith(str(Path(folder).absolute()))
        assert "Give a folder that can be written (FRESHRANK_STATE)." in said


@pytest.mark.parametrize(
    ("options", "problem", "fix"),
    [
        ("size=512k", "No space left on device", "Make space there, or give another folder"),
        ("size=8m,ro", "Read-only file system", "Give a folder that can be written"),
    ],
)
@pytest.mark.parametrize("below", ["", "shop/state"])
def test_a_state_on_a_file_system_that_takes_nothing(
    freshrank: CommandLine, mount: Mount, options: str, problem: str, fix: str, below: str
) -> None:
    disk = mount(options)
    said = freshrank.fails("run", "pipeline.py", STATE=str(disk / below), KAFKA__BOOTSTRAP=closed())
    assert said == (
        f"{disk / below}: the state cannot be kept there: {problem}. {fix} (FRESHRANK_STATE)."
    )
    assert {one.name for one in disk.rglob("*") if one.is_file()} <= {"lock"}


def test_a_state_on_a_disk_that_has_become_full(freshrank: CommandLine, mount: Mount) -> None:
    disk = mount("size=8m")
    kept = learned(disk, "broker:9092")
    fill(disk)
    said = freshrank.fails("run", "pipeline.py", STATE=str(disk), KAFKA__BOOTSTRAP=closed())
    assert said.startswith(f"{disk}: the state cannot be kept there: No space left on device.")
    assert kept.read_text() == "broker:9092"
    free(disk)
    said = freshrank.fails("run", "pipeline.py", STATE=str(disk), KAFKA__BOOTSTRAP=closed())
    assert said.startswith("kafka: nothing listens at")


def learned(folder: Path, bootstrap: str) -> Path:
    """Make the state of an earlier run; gives a file that has to stay."""
    state = StateFolder(folder, bootstrap)
    with state.held():
        state.begin(print, {}, PipelineFile("pipeline.py", RIGHT).load())
    kept = folder / SHARDS / "kept"
    kept.parent.mkdir()
    kept.write_text(bootstrap)
    return kept


def test_a_start_without_the_broker_that_the_state_was_made_with(freshrank: CommandLine) -> None:
    folder = Path(".freshrank/songs")
    kept = learned(folder, "apache")
    for _ in range(2):
        said = freshrank.fails("run", "pipeline.py")
        assert said.startswith(f"{folder.absolute()}: this state was made with kafka.bootstrap = ")
        assert "'apache', and now it is 'embedded'. Give what it was made with" in said
        assert kept.read_text() == "apache"


def test_a_start_that_is_refused_puts_nothing_aside(freshrank: CommandLine) -> None:
    kept = learned(Path(".freshrank/songs"), "embedded")
    before = learned(Path(".freshrank/songs.previous"), "embedded")
    for _ in range(2):
        said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP=closed())
        assert said.startswith("kafka: nothing listens at ")
    assert kept.exists() and before.exists()


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        (
            'within="30m"',
            'within="40m"',
            "the label is Joined with within='40m', and was with within='30m'",
        ),
        (
            "Adagrad(0.1)",
            "Adagrad(0.2)",
            "the optimizer is Adagrad with rate=0.2, and was with rate=0.1",
        ),
    ],
)
def test_a_pipeline_that_has_changed_in_what_cannot_be_carried_over(
    freshrank: CommandLine, was: str, now: str, what: str
) -> None:
    folder = Path(".freshrank/songs")
    learned(folder, "apache")
    make_files(folder, PipelineFile.read(Path("pipeline.py")).load())

    Path("pipeline.py").write_text(RIGHT.replace(was, now))
    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP="apache")
    begin = f"{folder.absolute()}: the definitions of pipeline 'songs' have changed since this "
    assert said.startswith(f"{begin}state was made, in what cannot be carried over: {what}")
    assert ". Change them back, give the pipeline another name, set another `state`" in said


def test_a_state_of_which_no_checkpoint_of_the_learner_can_be_read(freshrank: CommandLine) -> None:
    folder = Path(".freshrank/songs")
    learned(folder, "apache")
    pipeline = PipelineFile.read(Path("pipeline.py")).load()
    make_files(folder, pipeline)
    (checkpoint,) = (folder / LEARNER).glob("*.snapshot")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])

    said = freshrank.fails("run", "pipeline.py", KAFKA__BOOTSTRAP="apache")
    assert said.startswith(f"{(folder / LEARNER).absolute()}: no checkpoint can be read: ")
    assert f"{checkpoint.absolute()} is passed over: truncated" in said
    assert said.endswith("Put a copy of one there, or begin anew in another folder (`state`).")


def test_a_second_run_on_the_state_of_another(freshrank: CommandLine) -> None:
    folder = Path(".freshrank/songs")
    kept = learned(folder, "embedded")
    with StateFolder(folder, "embedded").held():
        said = freshrank.fails("run", "pipeline.py")
    assert said.startswith(f"{folder.absolute()}: another run keeps its state there (process ")
    assert f"(process {os.getpid()} of " in said
    assert said.endswith("Stop it, or set another `state` (FRESHRANK_STATE).")
    assert kept.exists()


def test_a_summary_that_cannot_be_written(freshrank: CommandLine) -> None:
    Path("taken").write_text("a file")
    for command in (
        ("run", "pipeline.py"), ("demo",), ("replay", "pipeline.py", "data"), ("bench", "learner"),
    ):  # fmt: skip
        said = freshrank.fails(*command, "--json", "taken/summary.json")
        assert said.startswith("taken/summary.json: no place for the summary")


def topic_of(name: str) -> str:
    """The pipeline on a topic of its own; gives the topic."""
    text = RIGHT.replace('"plays"', f'"{name}.plays"').replace('"songs"', f'"{name.lower()}"')
    Path("pipeline.py").write_text(text)
    return f"{name}.plays"


def test_more_shards_than_partitions(
    freshrank: CommandLine, kafka: Broker, redis_url: str, fresh_name: str
) -> None:
    topic = topic_of("s" + fresh_name)
    asyncio.run(ensure_topics(KafkaAccess(kafka.bootstrap), [topic], 2))
    said = freshrank.fails(
        "run", "pipeline.py",
        KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=redis_url, SHARDS__COUNT="3",
    )  # fmt: skip
    assert said.startswith(f"shards.count: 3 shards, but topic '{topic}' has 2 partitions.")
    assert "Take 2 or fewer (FRESHRANK_SHARDS__COUNT)" in said


def test_impressions_of_other_partitions(
    freshrank: CommandLine, kafka: Broker, redis_url: str, fresh_name: str
) -> None:
    topic = topic_of("i" + fresh_name)
    shown = topic.lower().replace(".plays", ".impressions")
    asyncio.run(ensure_topics(KafkaAccess(kafka.bootstrap), [topic], 2))
    asyncio.run(ensure_topics(KafkaAccess(kafka.bootstrap), [shown], 3))
    said = freshrank.fails(
        "run", "pipeline.py", KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=redis_url
    )
    assert said.startswith(f"topic '{shown}': it has 3 partitions and '{topic}' has 2.")
    assert "Give both the same number" in said


def test_a_topic_that_cannot_be_made(
    freshrank: CommandLine, kafka: Broker, redis_url: str, fresh_name: str
) -> None:
    # Kafka takes "." and "_" for the same in the names of its metrics: one of them has to go.
    topic = topic_of("t" + fresh_name)
    asyncio.run(ensure_topics(KafkaAccess(kafka.bootstrap), [topic.replace(".", "_")], 1))
    said = freshrank.fails(
        "run", "pipeline.py", KAFKA__BOOTSTRAP=kafka.bootstrap, REDIS__URL=redis_url
    )
    assert said.startswith(f"topic '{topic}': ")
    assert "Make it by hand." in said


def test_commands_with_wrong_words(freshrank: CommandLine) -> None:
    said = freshrank.fails("bench", "ingets")
    assert "there is none of this name. Take one of: ingest, engines, " in said
    assert "needs the folder" in freshrank.fails("bench", "learner")
    said = freshrank.fails("replay", "pipeline.py", "absent.json")
    assert "Joined learns from impressions, and a replay has events only" in said


@pytest.mark.parametrize("address", ["cluster", "127.0.0.1:1", "ray://127.0.0.1:1", "a:port"])
def test_a_cluster_that_is_not_there(freshrank: CommandLine, address: str) -> None:
    said = freshrank.fails("run", "pipeline.py", "--address", address)
    assert said.startswith(f"--address {address}: ")
    assert "Name a cluster that is up: `auto`, `host:6379` or `ray://host:10001`." in said


def test_a_server_that_goes_away_later_is_exit_status_1(
    freshrank: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(run: RunRequest) -> None:
        raise Unavailable("kafka", "connection refused")

    monkeypatch.setattr(start, "start", away)
    said = freshrank.fails("run", "pipeline.py", status=1)
    assert said == "kafka: connection refused"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("division by zero"), PartFailed("shard-0.ping:\n  at x\nOdd: y")]
)
def test_an_unexpected_error_is_one_line_and_a_file_with_the_traceback(
    freshrank: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(run: RunRequest) -> None:
        raise error

    monkeypatch.setattr(start, "start", broken)
    said = freshrank.fails("run", "pipeline.py", status=1)
    assert said.startswith(("unexpected ZeroDivisionError: division by zero (", "shard-0.ping:"))
    trace = Path(said.removesuffix(")").rpartition(" ")[2])
    text = trace.read_text()
    trace.unlink()
    assert "run pipeline.py" in text
    assert str(error) in text
