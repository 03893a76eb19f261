"""The settings of a node of Apache Kafka, and the logins to it.

Clients prove by SCRAM that they know the password, and see proof that the node knows it: a program
of another user that listens at the port of a node that has ended learns nothing, and is sent
nothing. The node keeps such logins among its records, so that it needs another one to reach itself.
"""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from freshrank.actors.snapshots.private_files import write_private
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.scram_login import add_scram_login
from freshrank.feature_actors.connectors.kafka.security import OPEN, KafkaSecurity

SERVER_FILE = "server.properties"
PASSWORD_FILE = "password"
CLIENT_FILE = "client.properties"

# The node is both broker and controller, so every replication factor is 1. An admin client creates
# topics, with the partitions that they need. A consumer group does not wait for further members.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{ports.controller}
listeners=NODE://127.0.0.1:{ports.node},CONTROLLER://127.0.0.1:{ports.controller},\
CLIENTS://127.0.0.1:{ports.clients}
advertised.listeners=NODE://127.0.0.1:{ports.node},CLIENTS://127.0.0.1:{ports.clients}
listener.security.protocol.map=NODE:{login.protocol},CONTROLLER:{login.protocol},\
CLIENTS:{login.protocol}
controller.listener.names=CONTROLLER
inter.broker.listener.name=NODE
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""

# Added where clients log in.
_NODE_LOGIN = """\
org.apache.kafka.common.security.plain.PlainLoginModule required \
username="{login.username}" password="{login.password}" user_{login.username}="{login.password}";"""
_LOGINS = f"""\
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.node.plain.sasl.jaas.config={_NODE_LOGIN}
listener.name.controller.plain.sasl.jaas.config={_NODE_LOGIN}
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""

_CLIENT_PROPERTIES = f"""\
# For Kafka's own tools (--command-config) and all clients in Java. Others take the same values, and
# the password from the file {PASSWORD_FILE} beside this one.
bootstrap.servers=127.0.0.1:{{ports.clients}}
security.protocol={{login.protocol}}
sasl.mechanism={{login.mechanism}}
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{{login.username}}" password="{{login.password}}";
"""

_BOOTSTRAP = re.compile(r"^bootstrap\.servers=(\S+)$", re.MULTILINE)


class Ports(NamedTuple):
    """The ports at 127.0.0.1 where a node listens."""

    clients: int
    node: int
    """For the node, as a client of itself."""
    controller: int


@dataclass(frozen=True, slots=True)
class Listeners:
    """Two of the places where a node listens, and what it takes to be a client there."""

    clients: KafkaAccess
    node: KafkaAccess
    """For the node, as a client of itself, with a password of one start."""


def write_settings(folder: Path, ports: Ports, *, with_password: bool) -> Listeners:
    """Write the settings of a node into its folder, and those of its clients if they log in.

    The clients' password stays the same from the first start on. Raises OSError.
    """
    template, clients, node = _PROPERTIES, OPEN, OPEN
    if with_password:
        password = _kept_password(folder / PASSWORD_FILE)
        clients = _clients(password)
        node = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "node", secrets.token_hex(32))
        text = _CLIENT_PROPERTIES.format(ports=ports, login=clients)
        write_private(folder / CLIENT_FILE, text)
        template += _LOGINS
    text = template.format(ports=ports, data=(folder / "data").absolute(), login=node)
    write_private(folder / SERVER_FILE, text)
    return Listeners(
        KafkaAccess(f"127.0.0.1:{ports.clients}", clients),
        KafkaAccess(f"127.0.0.1:{ports.node}", node),
    )


def known_clients(folder: Path) -> KafkaAccess | None:
    """The access of clients to the node of `folder`, as of its last start; None: there was none.

    Raises OSError.
    """
    file, password = folder / CLIENT_FILE, folder / PASSWORD_FILE
    if not (file.exists() and password.exists()):
        return None
    found = _BOOTSTRAP.search(file.read_text(encoding="utf-8"))
    return found and KafkaAccess(found[1], _clients(_kept_password(password)))


def _clients(password: str) -> KafkaSecurity:
    return KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-512", "freshrank", password)


def _kept_password(file: Path) -> str:
    """Return the password in `file`, where a random one is put if there is none."""
    known = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    password = known or secrets.token_hex(32)
    write_private(file, password)
    return password


async def add_clients(listeners: Listeners) -> None:
    """Let the node accept its clients; it keeps their login. Raises Unavailable."""
    log = logging.getLogger("aiokafka.conn")
    log.addFilter(_concerns_loopback)
    try:
        await add_scram_login(listeners.node, listeners.clients.security)
    finally:
        log.removeFilter(_concerns_loopback)


def _concerns_loopback(record: logging.LogRecord) -> bool:
    """Whether a line of the client's log matters where no network is between it and the node."""
    return "in the clear" not in record.getMessage()
