"""What a client of an Apache Kafka that is started here reads from the files in its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.security import KafkaSecurity


def properties(file: Path) -> Mapping[str, str]:
    """The settings in a file of Java's."""
    lines = file.read_text(encoding="utf-8").splitlines()
    settings = [line.partition("=") for line in lines if not line.startswith("#")]
    return {name: value for name, _, value in settings}


def as_client(folder: Path) -> KafkaAccess:
    """What is needed to be a client of the broker in `folder`."""
    settings = properties(folder / "client.properties")
    protocol, mechanism = settings["security.protocol"], settings["sasl.mechanism"]
    user, password = _login(settings["sasl.jaas.config"])
    security = KafkaSecurity(protocol, mechanism, user, password)
    return KafkaAccess(settings["bootstrap.servers"], security)


def as_node(folder: Path) -> KafkaAccess:
    """What the broker in `folder` needs to be a client of itself."""
    settings = properties(folder / "server.properties")
    user, password = _login(settings["listener.name.node.plain.sasl.jaas.config"])
    security = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", user, password)
    return KafkaAccess(f"127.0.0.1:{ports(folder)['NODE']}", security)


def ports(folder: Path) -> Mapping[str, int]:
    """The port of each listener."""
    listeners = properties(folder / "server.properties")["listeners"]
    return {name: int(port) for name, port in re.findall(r"(\w+)://127\.0\.0\.1:(\d+)", listeners)}


def _login(text: str) -> tuple[str, str]:
    found = re.search(r'username="(.+?)" password="(.+?)"', text)
    assert found is not None
    return found[1], found[2]
