"""Real servers that ask for a password: who knows it works with them, and nobody else learns it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import confluent_kafka
import httpx
import pytest
from kafka_files import as_client, as_node, ports
from sockets import command_lines, open_sockets_until, processes_of
from whole_system import START_S

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import temporary_folder
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.servers.apache_kafka import ApacheKafka
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.servers.java import find_java
from freshrank.deploy.servers.kafka_libraries import kafka_libraries
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask
from freshrank.deploy.servers.processes.server import Server
from freshrank.deploy.servers.redis_server import RedisServer, find_redis
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.security import OPEN, KafkaSecurity
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics, partition_count
from freshrank.feature_actors.connectors.redis.online_store import RedisStore

SECRET, WRONG = "zaunkoenig-right", "zaunkoenig-wrong"
# What no text may contain.
TOLD = "zaunkoenig"

# Kafka's requests ApiVersions, which is answered before a login, and DescribeCluster, which brokers
# and controllers answer.
_API_VERSIONS = bytes.fromhex("0000000a 0012 0000 00000007 ffff")
_DESCRIBE_CLUSTER = bytes.fromhex("0000000e 003c 0001 00000007 ffff 00 00 02 00")

# Some of what a whole system consists of, as the kernel calls it.
_PROGRAMS = {"raylet", "haproxy", "ray::LearnerHos", "ray::ShardHost"}

# Seconds for a whole system to stop, on a busy machine.
_STOP_S = 60.0

# Seconds for one answer of it while it is starting.
_ANSWER_S = 60.0


@pytest.fixture(scope="module")
def guarded_kafka(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a broker; `kafka` is asked for, so that it is skipped with that."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "password").write_text(f"{SECRET}\n")
    with ApacheKafka(folder):
        yield folder


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis with a password."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    configuration = folder / "redis.conf"
    configuration.write_text(
        f'bind 127.0.0.1\nport {port}\ndir {folder}\nsave ""\nrequirepass {SECRET}\n'
    )
    child = Child("redis", [find_redis(), str(configuration)], folder / "redis.log")
    child.wait_until(lambda: b"NOAUTH" in ask("127.0.0.1", port, b"PING\r\n"), 20.0)
    yield port
    child.stop()


def told(error: BaseException) -> str:
    """All that a log would show of an error but the lines of source, which are a test's here."""
    parts, one = [repr(error)], error
    while True:
        parts += traceback.format_exception_only(one)
        above = one.__cause__ or one.__context__
        if above is None:
            return "".join(parts)
        one = above


def redis_address(port: int, password: str) -> str:
    variables = {
        "FRESHRANK_REDIS__URL": f"redis://127.0.0.1:{port}/0",
        "FRESHRANK_REDIS__PASSWORD": password,
    }
    return load_settings(None, variables).redis.address()


def access(address: str, password: str) -> KafkaAccess:
    return KafkaAccess(address, KafkaSecurity("SASL_PLAINTEXT", username="shop", password=password))


def without_password(kafka: KafkaAccess) -> KafkaAccess:
    return KafkaAccess(kafka.bootstrap, deadline_s=5.0)


def with_wrong_password(kafka: KafkaAccess) -> KafkaAccess:
    return replace(kafka, security=replace(kafka.security, password=WRONG))


def test_a_redis_is_used_with_its_password(guarded_redis: int) -> None:
    async def use() -> None:
        url = redis_address(guarded_redis, SECRET)
        await ExternalServers(_Nothing(), RedisServer(url)).start()
        store = RedisStore(url, "secrets")
        assert await store.claim(0, 1) is None
        assert (await store.read([b"nothing"])).rows == [None]
        await store.close()

    asyncio.run(use())


@pytest.mark.parametrize("password", [WRONG, None])
def test_a_redis_that_refuses_the_password_is_reported_without_it(
    guarded_redis: int, password: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://127.0.0.1:{guarded_redis}/0"
    if password is not None:
        url = redis_address(guarded_redis, password)
    with pytest.raises(ConfigError, match="FRESHRANK_REDIS__PASSWORD_FILE") as at_start:
        asyncio.run(ExternalServers(_Nothing(), RedisServer(url)).start())
    with pytest.raises(Unavailable) as later:
        asyncio.run(RedisStore(url, "secrets").read([b"key"]))
    assert TOLD not in told(at_start.value) + told(later.value) + caplog.text


def test_servers_that_are_not_there_are_reported_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url, address = redis_address(free_port(), SECRET), f"127.0.0.1:{free_port()}"
    errors = []
    for attempt in (
        lambda: asyncio.run(RedisStore(url, "secrets").read([b"key"])),
        lambda: asyncio.run(partition_count(access(address, SECRET), "t")),
        lambda: RedisServer(url).start(),
        lambda: RedisServer(url.replace("127.0.0.1", "nobody.invalid")).start(),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt()
        errors.append(told(caught.value))
    assert TOLD not in "".join(errors) + caplog.text


@pytest.mark.parametrize("login", [as_client, as_node])
def test_a_kafka_with_sasl_accepts_only_clients_with_the_password(
    guarded_kafka: Path,
    login: Callable[[Path], KafkaAccess],
    fresh_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By SCRAM, and by PLAIN as the broker's own listener wants it."""
    caplog.set_level(logging.DEBUG)
    right = login(guarded_kafka)
    password = str(right.security.password)

    async def round_trip(kafka: KafkaAccess) -> list[bytes | None]:
        await ensure_topics(kafka, [fresh_name], 1)
        sink, source = KafkaSink(kafka), KafkaSource(kafka)
        await sink.start()
        await source.start({(fresh_name, 0): None})
        try:
            await sink.send(fresh_name, None, b"one")
            (batch,) = await source.poll(10, 10.0)
            return list(batch.values)
        finally:
            await sink.stop()
            await source.stop()

    assert asyncio.run(round_trip(right)) == [b"one"]
    for refused in (with_wrong_password(right), without_password(right)):
        for attempt in (
            round_trip(refused),
            KafkaSink(refused).start(),
            KafkaSource(refused).start({(fresh_name, 0): None}),
        ):
            with pytest.raises(Unavailable) as caught:
                asyncio.run(attempt)
            assert TOLD not in told(caught.value)
            assert password not in told(caught.value)
    assert TOLD not in caplog.text
    assert password not in caplog.text


def test_each_port_of_a_kafka_that_is_started_here_wants_a_login(
    guarded_kafka: Path, kafka: Broker
) -> None:
    open_port = int(kafka.bootstrap.rpartition(":")[2])
    assert ask("127.0.0.1", open_port, _DESCRIBE_CLUSTER)
    found = ports(guarded_kafka)
    assert set(found) == {"CLIENTS", "NODE", "CONTROLLER"}
    for port in found.values():
        assert ask("127.0.0.1", port, _API_VERSIONS)
        assert not ask("127.0.0.1", port, _DESCRIBE_CLUSTER)


def test_the_password_of_a_kafka_that_is_started_here_is_for_its_user_alone(
    guarded_kafka: Path,
) -> None:
    assert as_client(guarded_kafka).security.password == SECRET
    assert stat.S_IMODE(guarded_kafka.stat().st_mode) == 0o700
    for file in ("password", "client.properties", "server.properties", "kafka.log"):
        assert stat.S_IMODE((guarded_kafka / file).stat().st_mode) == 0o600
    written = {one for one in guarded_kafka.rglob("*") if one.is_file()}
    holding = {one.name for one in written if TOLD.encode() in one.read_bytes()}
    assert holding == {"password", "client.properties"}


def test_programs_of_others_log_in_by_the_files_for_clients(guarded_kafka: Path) -> None:
    bootstrap = as_client(guarded_kafka).bootstrap
    tool = [find_java(), "-cp", f"{kafka_libraries()}/*", "kafka.admin.ConfigCommand"]
    asked = ["--bootstrap-server", bootstrap, "--describe", "--entity-type", "users"]
    login = ["--command-config", str(guarded_kafka / "client.properties")]
    done = subprocess.run([*tool, *asked, *login], capture_output=True, text=True, check=True)
    assert "user-principal 'freshrank' are SCRAM-SHA-512=iterations=4096" in done.stdout
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "freshrank",
            "sasl.password": (guarded_kafka / "password").read_text(),
        }
    )
    assert producer.list_topics(timeout=30.0).brokers


def test_a_whole_run_shows_no_secret_and_listens_on_loopback(
    guarded_kafka: Path, guarded_redis: int, tmp_path: Path
) -> None:
    file, kafka = guarded_kafka / "password", as_client(guarded_kafka)
    # The run keeps Ray's logs where the user wants them; a folder of its own is gone at its end.
    port, ray_folder = free_port(), temporary_folder("freshrank-test-")
    command = [
        "demo",
        "--kafka",
        kafka.bootstrap,
        "--redis",
        f"redis://127.0.0.1:{guarded_redis}/0",
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "freshrank.deploy.cli", *command, "--port", str(port)],
        cwd=tmp_path, env={**_environment(file), "RAY_TMPDIR": str(ray_folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        pages = _pages(f"http://127.0.0.1:{port}", run)
        tree = partial(processes_of, run.pid, "FRESHRANK_REDIS__PASSWORD", SECRET)
        found = open_sockets_until(lambda seen: {one.program for one in seen} >= _PROGRAMS, tree)
        commands = list(command_lines(tree()))
    finally:
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=_STOP_S)
    sessions = (ray_folder / "ray").glob(f"session_*_{run.pid}/logs/**/*")
    logs = [one for one in sessions if one.is_file()]
    written = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert [one for one in found if not one.on_loopback] == []
    assert f"Kafka is at {kafka.bootstrap}" in output
    assert len(logs) > 5 and written
    for name, text in {"output": output, "commands": "\n".join(commands), **pages}.items():
        assert text and TOLD not in text, name
    assert [one for one in (*logs, *written) if TOLD.encode() in one.read_bytes()] == []


def _environment(password_file: Path) -> Mapping[str, str]:
    """Of a run of its own: nothing of this process's Ray, and the password of both servers."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return ours | {
        "FRESHRANK_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "FRESHRANK_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "FRESHRANK_KAFKA__USERNAME": "freshrank",
        "FRESHRANK_KAFKA__PASSWORD_FILE": str(password_file),
        "FRESHRANK_REDIS__PASSWORD": SECRET,
    }


def _pages(url: str, run: subprocess.Popen[str]) -> Mapping[str, str]:
    """What the endpoint of a run shows, once all parts have posted their figures."""
    deadline = time.monotonic() + START_S
    while True:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, "the run was not up in time"
        try:
            status = httpx.get(f"{url}/v1/status", timeout=_ANSWER_S)
            if status.status_code == 200 and len(status.json()) >= 3:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    paths = ("/", "/v1/status", "/metrics", "/readyz", "/openapi.json")
    return {path: httpx.get(url + path, timeout=_ANSWER_S).text for path in paths}


class _Nothing(Server):
    """Stands where a broker is not looked at."""

    bootstrap, security = "127.0.0.1:9", OPEN

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: object) -> None: ...
