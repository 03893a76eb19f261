"""Runs a single node of Apache Kafka on this machine, for local clients only."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import make_private_folder, write_private
from freshrank.deploy.servers.java import find_java
from freshrank.deploy.servers.kafka_libraries import (
    KAFKA_VERSION,
    kafka_libraries,
    missing_libraries,
)
from freshrank.deploy.servers.processes import Child, Server, ask, free_port, listens

# The node is both broker and controller, so every replication factor is 1. An admin client creates
# topics, with the partitions that they need. A consumer group does not wait for further members.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable={auto_create}
"""

# The port in it.
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

# Kafka's Metadata request, version 1, for no topic: its response starts with the known brokers.
_METADATA_REQUEST = struct.pack(">ihhihi", 14, 3, 1, 7, -1, 0)


class ApacheKafka(Server):
    """A node of Apache Kafka that keeps its data in `folder`.

    Parameters
    ----------
    folder
        The folder of its data, its settings and ``kafka.log``. A later start in the same folder
        finds the same topics.
    port
        The port to listen on, at 127.0.0.1 only. 0: that of the last start in `folder`, where it
        is free, else any.
    auto_create
        Whether the broker creates a topic when a client first asks for it.
    log
        Called with a line of progress before each step that takes seconds.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        auto_create: bool = False,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder = folder
        self._wanted_port = port
        self._auto_create = auto_create
        self._log = log
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
        properties = self._folder / "server.properties"
        port = self._wanted_port or _last_port(properties) or free_port()
        if listens("127.0.0.1", port):
            raise Unavailable("kafka", f"another program listens on port {port}; give another one")
        write_private(properties, self.properties(port))
        run = [java, "-cp", f"{libraries}/*", *_LOGGING]
        if not (self._folder / "data" / "meta.properties").exists():
            self._format_storage(run, properties)
        self._log(f"starting Apache Kafka {KAFKA_VERSION} on 127.0.0.1:{port}")
        self._child = Child(
            "kafka",
            [*run, _HEAP, "kafka.Kafka", str(properties)],
            self._folder / "kafka.log",
        )
        self._child.wait_until(lambda: self.answers(port), _START_TIMEOUT_S)
        self._port = self._wanted_port = port

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

    def properties(self, port: int) -> str:
        """Return the text of ``server.properties``; a subclass may change it."""
        return _PROPERTIES.format(
            port=port,
            controller_port=free_port(),
            data=(self._folder / "data").absolute(),
            auto_create=str(self._auto_create).lower(),
        )

    def answers(self, port: int) -> bool:
        """Return whether the broker lists itself, as it does once it serves clients."""
        response = ask("127.0.0.1", port, _METADATA_REQUEST)
        # The response starts with three int32: size, correlation id, number of brokers.
        return len(response) >= 12 and struct.unpack_from(">i", response, 8)[0] > 0

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
