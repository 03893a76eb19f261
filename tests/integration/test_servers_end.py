"""What a run has started itself is killed: it comes back, or the run ends and says so."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_files import as_client, as_node
from sockets import command_lines
from whole_system import SHOW, WholeSystem, busy, until

from freshrank.actors.errors import Unavailable
from freshrank.actors.snapshots.private_files import temporary_folder
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import partition_count

# Seconds, on an idle machine: within which an end has to be told, and for a run to end.
TOLD_S, ENDED_S = 10.0, 15.0

EMBEDDED_REDIS = {"FRESHRANK_REDIS__URL": "embedded"}

REDIS, KAFKA = "valkey-server", "kafka.Kafka"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `own_servers`."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def ray_folder() -> Path:
    """The logs of the Ray of `own_servers`; its path is short, for the sockets of Ray."""
    return temporary_folder("freshrank-test-")


@pytest.fixture(scope="module")
def own_servers(
    kafka_available_here: None, own_folder: Path, ray_folder: Path
) -> Iterator[WholeSystem]:
    """A system that has started its own Apache Kafka and its own Redis."""
    settings = {**EMBEDDED_REDIS, "RAY_TMPDIR": str(ray_folder)}
    name = f"own-{os.getpid()}"
    system = WholeSystem("apache", own_folder, name, state=own_folder / "state", settings=settings)
    try:
        yield system
    finally:
        system.kill()


@pytest.fixture
def running(own_servers: WholeSystem) -> WholeSystem:
    """That system, running and ready when a test begins."""
    if not own_servers.running:
        own_servers.start()
    until(lambda: own_servers.readiness() == {})
    own_servers.until_filled()
    return own_servers


def test_the_redis_of_a_run_is_started_again_and_filled(running: WholeSystem) -> None:
    _, offset = running.event("known")
    running.features_with("known", offset)
    before, printed = running.server(REDIS), len(running.log())
    os.kill(before, signal.SIGKILL)
    assert running.score("known")["features"]["offset"] == offset
    until(lambda: "redis is up again" in running.log()[printed:], TOLD_S * busy())
    ended = "alert of driver: server ended: redis has ended (killed by SIGKILL)"
    until(lambda: running.log()[printed:].count(ended) == 1)
    until(lambda: running.readiness() == {})
    assert running.server(REDIS) != before
    _, newer = running.event("known")
    assert running.features_with("known", newer)["source"] == "online"


def test_the_kafka_of_a_run_is_started_again_and_no_event_is_lost_or_doubled(
    running: WholeSystem,
) -> None:
    for _ in range(3):
        _, offset = running.event("buyer", "order")
    spent = running.features_with("buyer", offset)["features"]["spend_7d"]
    running.score("buyer", show=SHOW)
    learned = running.learn_all()
    assert learned >= SHOW
    before, printed = running.server(KAFKA), len(running.log())
    os.kill(before, signal.SIGKILL)
    until(
        lambda: "kafka: killed" in str((running.readiness() or {}).get("driver")), TOLD_S * busy()
    )
    assert running.score("buyer")["features"]["offset"] == offset
    until(lambda: "kafka is up again" in running.log()[printed:])
    until(lambda: running.readiness() == {})
    assert running.server(KAFKA) != before
    for _ in range(3):
        _, newer = running.event("buyer", "order")
    after = running.features_with("buyer", newer)["features"]["spend_7d"]
    assert after == spent + 3.0
    running.score("buyer", show=SHOW)
    assert running.learn_all() == learned + SHOW


def test_the_kafka_of_a_run_wants_a_password_that_is_shown_nowhere(
    running: WholeSystem, own_folder: Path, ray_folder: Path
) -> None:
    kafka_folder = own_folder / "state" / "kafka"
    kafka, node = as_client(kafka_folder), as_node(kafka_folder)
    assert asyncio.run(partition_count(kafka, running.topic)) == 2
    with pytest.raises(Unavailable):
        asyncio.run(partition_count(KafkaAccess(kafka.bootstrap, deadline_s=5.0), running.topic))
    running.event("writer")
    texts = [running.text(path) for path in ("/", "/v1/status", "/metrics", "/openapi.json")]
    commands = list(command_lines([running.server(KAFKA), *running.processes("")]))
    assert len(commands) > 5
    logs = [one for one in (ray_folder / "ray").glob("session_*/logs/**/*") if one.is_file()]
    ours = [one for one in own_folder.rglob("*") if "data" not in one.parts and one.is_file()]
    assert len(logs) > 5
    for secret in (kafka.security.password, node.security.password):
        assert secret and len(secret) == 64
        assert not [one for one in (*texts, *commands) if secret in one]
        holding = [one for one in (*logs, *ours) if secret.encode() in contents(one)]
        assert holding and {one.parent for one in holding} == {kafka_folder}
        assert {stat.S_IMODE(one.stat().st_mode) for one in holding} == {0o600}


def contents(file: Path) -> bytes:
    """The bytes of a file; none where it was replaced meanwhile."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.parametrize("title", ["ray::ServeController", "ray::HAProxyManager"])
def test_processes_of_serve_are_started_again(running: WholeSystem, title: str) -> None:
    (before,) = running.processes(title)
    running.kill_process(title)
    until(lambda: set(running.processes(title)) - {before})
    until(lambda: running.ready() and running.readiness() == {})
    assert running.score("reader")["scores"]


def test_without_the_raylet_the_run_ends_and_leaves_nothing(running: WholeSystem) -> None:
    _, offset = running.event("loyal", "order")
    spent = running.features_with("loyal", offset)["features"]["spend_7d"]
    end_by_kill_of(running, "raylet")
    running.start()
    assert running.features_with("loyal", offset)["features"]["spend_7d"] == spent


@pytest.mark.stops_the_system
def test_without_the_gcs_server_the_run_ends_and_leaves_nothing(running: WholeSystem) -> None:
    end_by_kill_of(running, "gcs_server")


def end_by_kill_of(running: WholeSystem, program: str) -> None:
    """SIGKILL a process that Ray needs, and see the run end, with its reason and status 1."""
    (process,) = [one for one in running.processes(f"/{program} ") if named(one, program)]
    printed, killed_s = len(running.log()), time.monotonic()
    os.kill(process, signal.SIGKILL)
    until(lambda: not running.ready(), TOLD_S * busy())
    assert running.end(ENDED_S) == 1, running.log()[printed:]
    assert time.monotonic() - killed_s < ENDED_S * busy()
    assert running.processes("") == []
    # Ray's own processes write of errors, too, within their lines.
    (error,) = [one for one in running.log()[printed:].splitlines() if one.startswith("error:")]
    assert f"ray: its process {program} has ended" in error


def named(process: int, program: str) -> bool:
    """Whether it is that program itself, and not one with its name among the arguments."""
    return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].endswith(program.encode())
