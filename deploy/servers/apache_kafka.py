"""Runs a single node of Apache Kafka on this machine, for clients that know its password."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import make_private_folder
from freshrank.deploy.servers.java import find_java
from freshrank.deploy.servers.kafka_libraries import (
    KAFKA_VERSION,
    kafka_libraries,
    missing_libraries,
)
from freshrank.deploy.servers.kafka_login import (
    CLIENT_FILE,
    SERVER_FILE,
    Listeners,
    Ports,
    add_clients,
    write_settings,
)
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import listens
from freshrank.deploy.servers.processes.server import Server
from freshrank.feature_actors.connectors.kafka.security import OPEN
from freshrank.feature_actors.connectors.kafka.topics import check_brokers

# The port of clients in the settings of a node.
_ADVERTISED = re.compile(r"^advertised\.listeners=.*:(\d+)$", re.MULTILINE)

# The file that a run locks for as long as its broker has the folder.
_LOCK = "lock"

# Any valid id: the cluster has no other node.
_CLUSTER_ID = "ZnJlc2hyYW5rLWxvY2FsLg"

# Maximum heap of the JVM. It suffices for tens of partitions and a million events a minute, because
# records are in the page cache of the machine and not in the heap.
_HEAP = "-Xmx512m"

# Kafka logs warnings and errors only. Without a format, its log shows ms since the start.
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)

# Seconds. Kafka answers after 3.5 s on an idle machine with two cores and 13 s on a busy machine.
_START_TIMEOUT_S = 90.0


class ApacheKafka(Server):
    """A node of Apache Kafka that keeps its data in `folder`.

    Parameters
    ----------
    folder
        The folder of its data, its settings, its password and ``kafka.log``. A later start in the
        same folder finds the same topics and the same password.
    port
        The port to listen on, at 127.0.0.1 only. 0: that of the last start in `folder`, where it
        is free, else any.
    with_password
        Whether clients have to log in, as `security` says. False: any user of this machine is a
        client; for tests and benches, whose records are nobody's.
    log
        Called with a line of progress before each step that takes seconds.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        with_password: bool = True,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder = folder
        self._wanted_port = port
        self._with_password = with_password
        self._log = log
        self.security = OPEN
        """What its clients need, from `start` on."""
        self._port: int | None = None
        self._child: Child | None = None
        # Not of one thread: each start of the same object may run in another.
        self._lock = FileLock(
            folder / _LOCK,
            mode=0o600,
            blocking=False,
            fallback_to_soft=False,
            thread_local=False,
        )

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:port``. Raises Unavailable before `start`."""
        if self._port is None:
            raise Unavailable("kafka", "has not been started")
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start Kafka and wait until it answers; first fetch missing jars and format new storage.

        Raises ConfigError if Java or jgo is missing or another run has the folder, Unavailable if
        the download or the start fails.
        """
        java = find_java()
        libraries = kafka_libraries(self._log)
        make_private_folder(self._folder)
        self._hold_folder()
        properties = self._folder / SERVER_FILE
        port = self._wanted_port or _last_port(properties) or free_port()
        if listens("127.0.0.1", port):
            raise Unavailable("kafka", f"another program listens on port {port}; give another one")
        ports = _ports(port)
        listeners = write_settings(self._folder, ports, with_password=self._with_password)
        run = [java, "-cp", f"{libraries}/*", *_LOGGING]
        if not (self._folder / "data" / "meta.properties").exists():
            self._format_storage(run, properties)
        clients = f"; clients log in by {self._folder / CLIENT_FILE}" if self._with_password else ""
        self._log(f"starting Apache Kafka {KAFKA_VERSION} on 127.0.0.1:{port}{clients}")
        child = self._child = Child(
            "kafka",
            [*run, _HEAP, "kafka.Kafka", str(properties)],
            self._folder / "kafka.log",
        )
        child.wait_until(lambda: self._answers(child, ports, listeners), _START_TIMEOUT_S)
        self._port = self._wanted_port = port
        self.security = listeners.clients.security

    def stop(self) -> None:
        """Stop Kafka and wait for its process to end."""
        if self._child is not None:
            self._child.stop()
        self._child = self._port = None
        self._lock.release()

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs."""
        return None if self._child is None else self._child.ended

    def _answers(self, child: Child, ports: Ports, listeners: Listeners) -> bool:
        """Whether the broker lists itself to a client, as it does once it serves them."""
        # The node's own port opens no later; no other program may get the password for it.
        if not (listens("127.0.0.1", ports.clients) and child.listens_at(ports.node)):
            return False
        try:
            if self._with_password:
                asyncio.run(add_clients(listeners))
            asyncio.run(check_brokers(listeners.clients))
        except Unavailable:
            return False
        return True

    def _hold_folder(self) -> None:
        """Hold the folder until `stop`, or the end of this process. Raises ConfigError."""
        if self._lock.is_locked:
            return  # it is started again
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"kafka.folder {self._folder}",
                "the Apache Kafka of another run keeps its records there",
                "Stop that run, give another folder (FRESHRANK_KAFKA__FOLDER), or use its broker "
                "(--kafka host:port).",
            ) from error

    def _format_storage(self, run: list[str], properties: Path) -> None:
        # The tool runs for a second, too short for more than the first tier of the compiler.
        tool = [*run, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*tool, "-t", _CLUSTER_ID, "-c", str(properties)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unavailable("kafka", f"its storage tool failed:\n{done.stdout}{done.stderr}")


def _ports(port: int) -> Ports:
    """Choose ports beside that of clients. Raises Unavailable when none is free."""
    ports = [port]
    while len(ports) < len(Ports._fields):
        ports += {free_port()} - {*ports}
    return Ports(*ports)


def _last_port(properties: Path) -> int | None:
    """Return the port of the last start with these settings, if nothing listens there now."""
    if not properties.exists():
        return None
    found = _ADVERTISED.search(properties.read_text(encoding="utf-8"))
    port = int(found[1]) if found else None
    return None if port is None or listens("127.0.0.1", port) else port


def kafka_available() -> str | None:
    """Return what is missing to start Apache Kafka on this machine; None if it can start."""
    try:
        find_java()
    except ConfigError as error:
        return str(error)
    return missing_libraries()
