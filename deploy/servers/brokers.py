"""A Kafka broker behind a bootstrap address: started here in one of two ways, or given.

=================  ==========================================================================
``embedded``       in memory, inside `confluent-kafka`: no Java, forgets everything at the end
``apache``         a real Apache Kafka, fetched and started here
``host:port,...``  one that is running already
=================  ==========================================================================
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

from freshrank.actors.errors import ConfigError, DependencyLost, Unavailable
from freshrank.deploy.servers.apache_kafka import ApacheKafka
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.probing import listens
from freshrank.deploy.servers.processes.server import Server
from freshrank.feature_actors.connectors.kafka.security import OPEN, KafkaSecurity

# Seconds for Python, its imports and the broker: 0.2 s on an idle machine.
_EMBEDDED_TIMEOUT_S = 30.0

# Begins the line that the embedded broker prints when it is up.
_ANNOUNCEMENT = "listening on "

# Seconds for a TCP connection: a broker far away answers in tenths of a second.
_GIVEN_TIMEOUT_S = 5.0


class Broker(Protocol):
    """A broker, started by this process or by others."""

    @property
    def bootstrap(self) -> str:
        """``host:port[,host:port]``; raises Unavailable before `start`."""
        ...

    @property
    def security(self) -> KafkaSecurity:
        """What its clients need, from `start` on."""
        ...

    def start(self) -> None:
        """Start it, or check that it answers. Raises Unavailable or ConfigError."""
        ...

    def stop(self) -> None:
        """Stop it, if this process has started it; safe to call twice."""
        ...

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs, and for a broker that others run."""
        ...

    def start_again(self) -> None:
        """Start it at the same address, after it has ended. Raises Unavailable, DependencyLost."""
        ...

    def __enter__(self) -> Self:
        """Start."""
        ...

    def __exit__(self, *error: object) -> None:
        """Stop."""
        ...


class GivenBroker(Server):
    """A broker that others run: checked, never started or stopped."""

    def __init__(self, bootstrap: str, security: KafkaSecurity = OPEN) -> None:
        self._addresses = [_address(address) for address in bootstrap.split(",")]
        self.bootstrap = bootstrap
        self.security = security

    def start(self) -> None:
        """Check that one of the addresses accepts connections. Raises Unavailable if none does."""
        if not any(listens(host, port, _GIVEN_TIMEOUT_S) for host, port in self._addresses):
            raise Unavailable("kafka", f"nothing listens at {self.bootstrap}")

    def stop(self) -> None:
        """Do nothing: others run it."""


class EmbeddedBroker(Server):
    """The in-memory broker of librdkafka in a child process. It cannot ask for a password.

    Parameters
    ----------
    topics
        Name → number of partitions. The broker has no admin interface: it creates any other topic
        with 4 partitions when a client first asks for it. A partition keeps its newest 5 MB.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self.security = OPEN
        self._bootstrap: str | None = None
        self._child: Child | None = None
        self._log: Path | None = None

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:port``. Raises Unavailable before `start`."""
        if self._bootstrap is None:
            raise Unavailable("kafka", "has not been started")
        return self._bootstrap

    def start(self) -> None:
        """Start it. Raises ConfigError without confluent-kafka, Unavailable when it fails."""
        if importlib.util.find_spec("confluent_kafka") is None:
            raise ConfigError(
                "kafka",
                "the embedded broker is part of confluent-kafka, which is not installed",
                "pip install 'freshrank[demo]', or give the address of a running broker.",
            )
        with tempfile.TemporaryDirectory(prefix="freshrank-broker-") as folder:
            topics = [f"{name}={partitions}" for name, partitions in self._topics.items()]
            module = "freshrank.deploy.servers.mock_broker"
            child = Child(
                "kafka", [sys.executable, "-m", module, *topics], Path(folder) / "broker.log"
            )
            child.wait_until(lambda: "\n" in _announced(child), _EMBEDDED_TIMEOUT_S)
            self._bootstrap = _announced(child).splitlines()[0]
            self._child = child

    def stop(self) -> None:
        """Stop it; its records are lost."""
        if self._child is not None:
            # It keeps nothing on disk.
            self._child.stop(grace_s=0)
        self._child = self._bootstrap = None

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs."""
        return None if self._child is None else self._child.ended

    def start_again(self) -> None:
        """Raise DependencyLost: another broker would have another log, and all state is of this."""
        raise DependencyLost(
            f"kafka: the embedded broker has ended ({self.ended}), and with it all records, which "
            "it kept in memory. Start again: the run begins from nothing. `--kafka apache` keeps "
            "its records on disk."
        )


def open_broker(
    kind: str,
    *,
    topics: Mapping[str, int],
    folder: Path,
    port: int = 0,
    security: KafkaSecurity = OPEN,
    log: Callable[[str], None] = lambda line: None,
) -> Broker:
    """Make the broker that a setting names, not started yet.

    Parameters
    ----------
    kind
        ``embedded``, ``apache`` or an address.
    topics
        Name → number of partitions, for the embedded broker, which cannot create them later.
    folder
        For the data of Apache Kafka.
    port
        Of Apache Kafka; 0: that of its last start in `folder`, if it is free, else any.
    security
        What clients of a given broker need.
    log
        Called with a line of progress before anything that takes seconds.

    Raises ConfigError for a malformed address.
    """
    if kind == "embedded":
        return EmbeddedBroker(topics)
    if kind == "apache":
        return ApacheKafka(folder, port, log=log)
    return GivenBroker(kind, security)


def _announced(child: Child) -> str:
    return child.output().partition(_ANNOUNCEMENT)[2]


def _address(text: str) -> tuple[str, int]:
    """Split an address into host and port.

    >>> _address("broker-1.shop:9092"), _address("[::1]:9092")
    (('broker-1.shop', 9092), ('::1', 9092))
    """
    host, colon, port = text.strip().rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65_536):
        raise ConfigError(
            "kafka",
            f"{text!r} is not the address of a broker",
            "Say `embedded`, `apache` or host:port.",
        )
    return host.strip("[]"), int(port)
